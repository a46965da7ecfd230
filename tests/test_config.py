"""Layers of configuration, and messages about mistakes in them that help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from midfill import config, config_files
from midfill.config import DEFAULT, Config
from midfill.types import MidfillError


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MIDFILL_CONFIG", raising=False)
    monkeypatch.setenv("MIDFILL_CONFIG_DIR", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    return tmp_path / "user" / "config.toml"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


def layered(workspace: Path, options: dict[str, Any]) -> Config:
    return config.merged(
        config_files.take_workspace(config_files.load_user(), workspace).strict(), options, "initializationOptions"
    )


def test_without_files_the_defaults_hold(user_file: Path, workspace: Path) -> None:
    assert layered(workspace, {}) == DEFAULT


def test_later_layers_win(user_file: Path, workspace: Path) -> None:
    user_file.write_text('max_tokens = 10\nadapter = "a"\nmodel = "owner/name"\norder = "spm"\n')
    (workspace / config_files.WORKSPACE_FILE).write_text(
        'adapter = "b"\nmax_tokens = 20\ndisabled_languages = ["markdown"]\n'
    )
    found = layered(workspace, {"maxTokens": 30, "contextTokens": 500})
    assert (found.max_tokens, found.adapter, found.model, found.order) == (30, "b", "owner/name", "spm")
    assert (found.disabled_languages, found.context_tokens) == (("markdown",), 500)


def test_a_workspace_may_switch_off(user_file: Path, workspace: Path) -> None:
    content = (
        'disabled_files = ["gen/**"]\ndisabled_scopes = ["comment"]\ndisabled_languages = ["go"]\nenabled = false\n'
    )
    (workspace / config_files.WORKSPACE_FILE).write_text(content)
    found = layered(workspace, {})
    assert (found.disabled_files, found.disabled_scopes, found.disabled_languages) == (
        ("gen/**",),
        ("comment",),
        ("go",),
    )
    assert not found.enabled


def test_a_workspace_may_turn_the_knob(user_file: Path, workspace: Path) -> None:
    user_file.write_text('eagerness = "eager"\n')
    (workspace / config_files.WORKSPACE_FILE).write_text('eagerness = "quiet"\nlines = "one"\n')
    found = layered(workspace, {})
    assert (found.eagerness, found.lines, found.quiet_on_battery) == ("quiet", "one", True)
    assert layered(workspace, {"eagerness": "balanced", "quietOnBattery": False}).eagerness == "balanced"


def test_the_environment_names_the_user_file(
    user_file: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("max_tokens = 10\n")
    (tmp_path / "other.toml").write_text("max_tokens = 11\n")
    monkeypatch.setenv("MIDFILL_CONFIG", str(tmp_path / "other.toml"))
    assert layered(workspace, {}).max_tokens == 11


@pytest.mark.parametrize(
    "line",
    [
        'model = "/tmp/evil"', 'device = "cuda"',  "engine_idle_exit_s = 5", 'template = "prefix"', "contextTokens = 4",
        'adapter = "./lora"', 'adapter = "/lora"', 'adapter = "~/lora"', 'adapter = "a\\\\b"', 'adapter = ".."',
        'adapter = "."', 'adapter = ""', "records = false", "ahead = false", "max_debounce_s = 5",
        'engine = "https://evil.example/v1"', 'engine = ["https://evil.example"]', 'engine_key_file = "/etc/passwd"',
        'engine_proxy = "http://evil.example:80"', 'engine_ca_file = "evil.pem"', 'engine_adapters = "evil"',
        'engine_fallback = "./evil"', "engine_deadline_s = 60", 'engine_team = "evil"',
        "quiet_on_battery = false",
    ],
)  # fmt: skip
def test_a_workspace_may_not(user_file: Path, workspace: Path, line: str) -> None:
    (workspace / config_files.WORKSPACE_FILE).write_text(line + "\n")
    with pytest.raises(MidfillError, match="may not") as caught:
        layered(workspace, {})
    assert config_files.WORKSPACE_FILE in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        ("max_token = 1", "unknown setting 'max_token'", "did you mean max_tokens?"),
        ("languages_off = []", "unknown setting 'languages_off'", "did you mean disabled_languages?"),
        ("adapter_by_language = []", "unknown setting 'adapter_by_language'", "did you mean adapters?"),
        ("globsOff = []", "unknown setting 'globsOff'", "did you mean disabledFiles?"),
        ("zzz = 1", "unknown setting 'zzz'", "known: adapter"),
        ('max_tokens = "9"', "max_tokens in .* is not a whole number", "it is of type str"),
        ("max_tokens = true", "is not a whole number", "it is of type bool"),
        ("max_tokens = 1.5", "is not a whole number", "it is of type float"),
        ("enabled = 1", "is not true or false", "it is of type int"),
        ("adapter = []", "is not a string", "it is of type list"),
        ("disabled_languages = 'go'", "is not a list of strings", 'write disabled_languages = ["..."]'),
        ("disabled_languages = [1]", "is not a list of strings", ""),
        ("first_answer_s = true", "is not a number", "it is of type bool"),
        (f"first_answer_s = {'9' * 400}", "is not a number", "it is of type int"),
        ("first_answer_s = nan", "out of range", "use 0.1 to 600"),
        ("engine_idle_exit_s = inf", "out of range", "use 1 to"),
        ("max_tokens = 0", "max_tokens = 0 is out of range", "use 1 to 4096"),
        ("context_tokens = -1", "out of range", "use 0 to"),
        ('order = "mps"', "order = 'mps' is not known", "use one of psm, spm"),
        ('dtype = "int3"', "is not known", "bfloat16"),
        ('log_level = "loud"', "is not known", "debug"),
        ("disabled_scopes = ['strings']", "disabled_scopes: 'strings' is not known", "comment, string, docstring"),
        (f"disabled_files = ['{'*' * 201}']", "disabled_files is too long", "at most 100 globs"),
        (f"disabled_files = {['*'] * 101}", "disabled_files is too long", "at most 100 globs"),
        ("max_debounce_s = 6", "out of range", "use 0 to 5"),
        ('eagerness = "loud"', "eagerness = 'loud' is not known", "use one of quiet, balanced, eager"),
        ("eagerness = 1", "is not a string", "it is of type int"),
        ("lines = 'two'", "lines = 'two' is not known", "use one of one, auto"),
        ("quiet_on_battery = 1", "is not true or false", "it is of type int"),
        ("candidates = 0", "out of range", "use 1 to 8"),
        ("max_tokens = ", "cannot read", "fix the file"),
        ("max_tokens = 1\nmax_tokens = 2", "cannot read", "fix the file"),
        ("\x00", "cannot read", "fix the file"),
        ("x = " + "[" * 5000, "cannot read", "fix the file"),
        ("#" * (64 << 10 | 1), "larger than 64 KiB", "shorten"),
        ('model = "a\\u0000b"', "model in .* contains a control character", "remove it"),
        ('adapter = "./a\\u001bb"', "adapter in .* contains a control character", "remove it"),
    ],
)
def test_wrong_content(user_file: Path, content: str, message: str, remedy: str) -> None:
    user_file.write_text(content)
    with pytest.raises(MidfillError, match=message) as caught:
        config_files.load_user()
    assert str(user_file) in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("values", "held", "named"),
    [
        ({"enabled": False, "settingOfNextVersion": 1}, {"enabled": False}, ["'settingOfNextVersion'"]),
        ({"setting_of_next_version": 1, "enabled": False}, {"enabled": False}, ["'setting_of_next_version'"]),
        ({"modle": "x", "candidates": 2, "adaptr": "y"}, {"candidates": 2}, ["'modle'", "'adaptr'"]),
        ({"max_tokens": -1, "adapter": "a"}, {"adapter": "a"}, ["max_tokens = -1"]),
        ({"adapter": "a", "max_tokens": "many"}, {"adapter": "a"}, ["max_tokens in"]),
        (
            {"disabled_languages": "go", "disabled_files": ["x"], "order": "?"},
            {"disabled_files": ("x",)},
            ["disabled_languages", "order"],
        ),
        ({"enabled": False}, {"enabled": False}, []),
        ({}, {}, []),
    ],
)
def test_what_is_sound_holds(values: dict[str, Any], held: dict[str, Any], named: list[str]) -> None:
    taken = config.take(DEFAULT, values, "the options")
    assert taken.config == Config(**held)
    assert len(taken.problems) == len(named)
    for problem, name in zip(taken.problems, named, strict=True):
        assert name in problem.message
        assert problem.message.endswith("in the options") or "in the options is not" in problem.message
        assert problem.remedy


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        (
            {"disabled_rules": ["balance", "balanse"]},
            "disabled_rules: 'balanse' is not known",
            "use some of balance, close",
        ),
        ({"disabledRules": ["x", "balance", "y"]}, "disabled_rules: 'x', 'y' are not known", "drop_invented"),
        (
            {"disabled_context": ["similar", "all"]},
            "disabled_context: 'all' is not known",
            "use some of imports, names, similar",
        ),
        (
            {"disabled_knowledge": ["pyright", "jedi"]},
            "disabled_knowledge: 'pyright' is",
            "use some of jedi, client, index, usage, diagnostics",
        ),
        (
            {"disabled_scopes": ["comment", "code"]},
            "disabled_scopes: 'code' is not known",
            "use some of comment, string, docs",
        ),
        ({"template": "starcoder"}, "template = 'starcoder' is not known", "use one of auto, prefix, codegemma"),
        ({"disabled_rules": ["\n" * 90]}, "disabled_rules: '", "use some of"),
    ],
)
def test_a_name_that_is_not_known(values: dict[str, Any], message: str, remedy: str) -> None:
    """One line names it and the known names, and every other name and setting is applied."""
    taken = config.take(DEFAULT, {**values, "candidates": 2}, "the options")
    [problem] = taken.problems
    assert problem.message.startswith(message)
    assert problem.message.endswith(" in the options")
    assert remedy in problem.remedy
    assert "\n" not in str(problem)
    [(key, given)] = values.items()
    name = config.snake(key)
    known: Any = (
        tuple(entry for entry in given if entry in config.SETTINGS[name].choices) if type(given) is list else ()
    )
    assert taken.config == Config(candidates=2, **({name: known} if known else {}))
    whole: Any = tuple(given) if type(given) is list else given
    with pytest.raises(MidfillError):
        Config(**{name: whole})


def test_a_list_of_unknown_names_leaves_what_was() -> None:
    taken = config.take(Config(disabled_rules=("balance",)), {"disabled_rules": ["balanse"]}, "the options")
    assert taken.config.disabled_rules == ("balance",)
    assert len(taken.problems) == 1


def test_what_is_sound_in_a_file_holds(user_file: Path, workspace: Path) -> None:
    user_file.write_text('max_tokens = 10\nmodle = "x"\norder = "?"\n')
    user = config_files.take_user()
    assert user.config == Config(max_tokens=10)
    assert [problem.remedy for problem in user.problems] == ["did you mean model?", "use one of psm, spm"]
    (workspace / config_files.WORKSPACE_FILE).write_text('enabled = false\nmodel = "/evil"\nadapter = "./x"\nnew = 1\n')
    there = config_files.take_workspace(user.config, workspace)
    assert there.config == Config(max_tokens=10, enabled=False)
    assert [" may not " in problem.message for problem in there.problems] == [True, True, False]
    user_file.write_text("[[")
    assert config_files.take_user().config == DEFAULT
    assert len(config_files.take_user().problems) == 1


def test_problems_are_told_together() -> None:
    assert config.combined([]) is None
    one = MidfillError("a", "do a")
    assert str(config.combined([one])) == "a (do a)"
    assert str(config.combined([one, MidfillError("b", "do a"), one])) == "a; b (do a)"
    many = config.combined([MidfillError(str(n)) for n in range(9)])
    assert str(many) == "0; 1; 2; 3; 4 and 4 more"


def test_languages_are_known_by_any_name() -> None:
    found = Config(
        disabled_languages=("js", "JavaScript", "c++", "sh", "objc", "unheard-of"),
        adapters=("golang=a", "tsx=./b=c", "x=y"),
    )
    assert found.disabled_languages == ("javascript", "cpp", "shellscript", "objective-c", "unheard-of")
    assert found.adapters == ("go=a", "typescriptreact=./b=c", "x=y")


def test_a_table_of_adapters(user_file: Path, workspace: Path) -> None:
    user_file.write_text('[adapters]\ngolang = "team+mine"\n"services/" = "svc"\n')
    assert config_files.load_user().adapters == ("go=team+mine", "services/**=svc")
    assert layered(workspace, {"adapters": {"python": "none"}}).adapters == ("python=none",)
    with pytest.raises(MidfillError, match="adapters in initializationOptions is not a list of strings"):
        layered(workspace, {"adapters": {"python": 7}})
    with pytest.raises(MidfillError, match="adapters is too long"):
        Config(adapters=tuple(f"folder{n}/*=x" for n in range(101)))


def test_a_file_that_cannot_be_read(user_file: Path) -> None:
    user_file.write_bytes(b"\xff\xfe")
    with pytest.raises(MidfillError, match="cannot read"):
        config_files.load_user()
    user_file.unlink()
    user_file.mkdir()
    with pytest.raises(MidfillError, match="cannot read"):
        config_files.load_user()


def test_a_workspace_file_made_to_hang_or_to_fill_the_memory(user_file: Path, workspace: Path) -> None:
    file = workspace / config_files.WORKSPACE_FILE
    os.mkfifo(file)
    assert layered(workspace, {}) == DEFAULT  # nobody writes into it: empty
    file.unlink()
    for source in ("/dev/zero", None):
        if source is None:
            file.write_text("a." * 50_000 + "b = 1")
        else:
            file.symlink_to(source)
        with pytest.raises(MidfillError, match="larger than 8 KiB"):
            layered(workspace, {})
        file.unlink()


@pytest.mark.parametrize("key", ["firstAnswerS", "first_answer_s"])
def test_numbers_and_keys_as_clients_write_them(key: str) -> None:
    assert config.merged(DEFAULT, {key: 2}, "x").first_answer_s == 2.0


def test_sources_of_context_are_switched_off_by_name(user_file: Path, workspace: Path) -> None:
    (workspace / config_files.WORKSPACE_FILE).write_text('disabled_context = ["similar"]\n')
    assert layered(workspace, {}).disabled_context == ("similar",)
    with pytest.raises(MidfillError, match="'everything'"):
        layered(workspace, {"disabledContext": ["everything"]})
