"""How clients differ: how they count versions, what they call languages and documents, how they keep settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from midfill.types import EngineStatus

from .client import Client as Process
from .client import at
from .conftest import Launch
from .inside import Inside

Client = Inside | Process
URI = "file:///w/a.py"
INLINE = "textDocument/inlineCompletion"


class Start(Protocol):
    """Start a session in this process, with the files of the test's own folders."""

    def __call__(self, script: dict[str, Any] | None = None, **params: Any) -> Inside: ...


@pytest.fixture
def start(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    sessions: list[Inside] = []
    for name, value in environment.items():
        if name != "PYTHONPATH":
            monkeypatch.setenv(name, value)

    def session(script: dict[str, Any] | None = None, **params: Any) -> Inside:
        sessions.append(Inside(None, script))
        sessions[-1].initialize(**params)
        return sessions[-1]

    yield session
    for one in sessions:
        one.close()


@pytest.fixture
def inside(start: Start) -> Inside:
    """A session that has its engine."""
    session = start()
    session.ready()
    return session


def shown(client: Client, uri: str = URI) -> bool:
    """Return whether a suggestion comes when the user asks for one."""
    return bool(client.result(INLINE, at(uri, 0, 1, context={"triggerKind": 1})))


def change(client: Client, version: int | None, text: str = "y", line: int | None = 0, uri: str = URI) -> None:
    """Send didChange: an insertion at a line's start, or the full text."""
    place = {"line": line, "character": 0}
    edit: dict[str, Any] = {"text": text} if line is None else {"text": text, "range": {"start": place, "end": place}}
    params = {"textDocument": {"uri": uri, "version": version}, "contentChanges": [edit]}
    client.notify("textDocument/didChange", params)


def status(client: Client) -> str:
    return str(client.result("midfill/status")["message"])


# ---- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["helix", "Zed", "lsp4ij", "vim-lsp", "Positron", "Emacs", None])
def test_a_version_may_skip_for_every_client(start: Start, name: str | None) -> None:
    client = start(**({} if name is None else {"clientInfo": {"name": name}}))
    client.ready()
    check_versions(client)


def test_a_version_may_skip_over_the_wire(launch: Launch) -> None:
    client = launch(script={"chunks": ["a"]})
    client.initialize(clientInfo={"name": "helix"})
    client.ready()
    check_versions(client)


def check_versions(client: Client) -> None:
    client.open("x = 1\n", version=0)
    for version in (1, 3, 3, 90, None, 91):
        change(client, version)
        assert shown(client), version
    assert status(client) == ""
    change(client, 4)  # a number that falls
    assert not shown(client)
    assert "a.py" in status(client)
    assert client.result("midfill/why", {"textDocument": {"uri": URI}})["off"] == "unknown_document"
    change(client, 5)
    assert not shown(client)
    change(client, 6, "x = 1\n", line=None)
    assert shown(client)
    assert status(client) == ""


@pytest.mark.parametrize("heal", ["full text", "didOpen", "close and open"])
def test_a_line_that_does_not_exist_is_a_lost_edit(inside: Inside, heal: str) -> None:
    client = inside
    client.open("x = 1\n")
    change(client, 2, line=2)  # one past the last: the end
    assert shown(client)
    change(client, 3, line=40)
    assert not shown(client)
    told = client.result("midfill/status")
    assert told["state"] == "ready"
    assert told["message"] == "no suggestions in a.py: an edit names a line that does not exist"
    assert told["remedy"] == "close the file and open it again"
    story = client.result("midfill/explain", {})["story"]
    assert "an edit names a line that does not exist" in story
    other = client.open("x", "file:///w/b.py")
    assert shown(client, other)
    if heal == "full text":
        change(client, 4, "x = 2\n", line=None)
    else:
        if heal == "close and open":
            client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        client.open("x = 2\n", version=1)
    assert shown(client)
    assert status(client) == ""


# ---- languages and names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "said", "text", "language", "name"),
    [
        ("untitled:Untitled-1", "rs", "", "rust", "Rust"),
        ("file:///w/a.js", "js", "", "javascript", "JavaScript"),
        ("file:///w/a.tsx", "typescript.tsx", "", "typescriptreact", "TypeScript JSX"),
        ("file:///w/a.cpp", "c++", "", "cpp", "C++"),
        ("file:///w/a.cs", "C#", "", "csharp", "C#"),
        ("file:///w/run", "plaintext", "#!/bin/bash\nx", "shellscript", "Shell"),
        ("file:///w/a.m", "objc", "", "objective-c", "Objective-C"),
        ("file:///w/a.json", "jsonc", "", "jsonc", "Jsonc"),
        ("file:///w/a.rs", "TextMate", "", "rust", "Rust"),
        ("file:///w/a.kt", "", "", "kotlin", "Kotlin"),
        ("file:///w/a.zzz", "zzz", "", "zzz", "Zzz"),
    ],
)
def test_a_language_has_one_name(inside: Inside, uri: str, said: str, text: str, language: str, name: str) -> None:
    inside.open(text, uri, said)
    told = inside.result("midfill/why", {"textDocument": {"uri": uri}})
    assert told == {"off": "", "why": "", "language": language, "name": name, "disabledLanguages": [], "hint": ""}


@pytest.mark.parametrize("close", [True, False])
def test_another_language_mode_holds_at_once(inside: Inside, close: bool) -> None:
    uri = inside.open("x", "untitled:Untitled-1", "python")
    if close:
        inside.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    inside.open("x", uri, "rust")
    assert inside.result("midfill/why", {"textDocument": {"uri": uri}})["language"] == "rust"
    assert shown(inside, uri)
    completer: Any = inside.server.session.completer
    assert [(asked.language, asked.path) for asked in completer.snapshots] == [("rust", "untitled.rs")]


# ---- switches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [["js"], ["javascript"], ["JavaScript", "go"]])
def test_languages_off_in_any_words(start: Start, off: list[str]) -> None:
    client = start(initializationOptions={"disabledLanguages": off})
    client.ready()
    script, other = client.open("x", "file:///w/a.js", "javascript"), client.open("x")
    told = client.result("midfill/why", {"textDocument": {"uri": script}})
    assert told["off"] == "language_off"
    assert told["why"] == "automatic suggestions are off for JavaScript (disabled_languages)"
    assert "javascript" in told["disabledLanguages"]
    assert client.result("midfill/why", {"textDocument": {"uri": other}})["off"] == ""
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"disabledLanguages": []}}})
    assert client.result("midfill/why", {"textDocument": {"uri": script}})["off"] == ""


def test_why_a_document_is_off(inside: Inside) -> None:
    client = inside

    def why(uri: str | None) -> str:
        params = {} if uri is None else {"textDocument": {"uri": uri}}
        told = client.result("midfill/why", params)
        assert bool(told["off"]) == bool(told["why"])
        return str(told["off"])

    uri = client.open("x", "file:///w/gen/a.txt", "rust")
    assert why(uri) == why(None) == ""
    assert why("file:///w/other.py") == "unknown_document"
    tell = {"settings": {"midfill": {"disabledFiles": ["*.txt"]}}}  # its own name, not the one a model is shown
    client.notify("workspace/didChangeConfiguration", tell)
    assert (why(uri), why(None)) == ("file_off", "")
    client.notify("workspace/didChangeConfiguration", {"settings": {"enabled": False}})
    assert why(uri) == why(None) == "disabled"


# ---- settings --------------------------------------------------------------------------------------------------------

UNKNOWN = {"enabled": False, "settingOfNextVersion": 1}


@pytest.mark.parametrize("layer", ["user", "workspace", "options", "told", "pulled"])
def test_an_unknown_key_is_named_and_the_others_hold(start: Start, tmp_path: Path, layer: str) -> None:
    for folder, file in (("CONFIG", "config.toml"), ("workspace", ".midfill.toml")):
        (tmp_path / folder).mkdir()
        if layer == {"CONFIG": "user", "workspace": "workspace"}[folder]:
            (tmp_path / folder / file).write_text("enabled = false\nsettingOfNextVersion = 1\n")
    client = start(
        rootUri=(tmp_path / "workspace").as_uri(),
        initializationOptions=UNKNOWN if layer == "options" else None,
        capabilities={"workspace": {"configuration": layer == "pulled"}},
    )
    if layer == "told":
        client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": UNKNOWN}})
    if layer == "pulled":
        answer(client, [UNKNOWN])
    told = client.wait(lambda m: m.get("method") == "midfill/status" and m["params"]["state"] == "error")["params"]
    assert "'settingOfNextVersion'" in told["message"]
    assert told["remedy"]
    assert client.result("midfill/why")["off"] == "disabled"
    assert client.result("midfill/status")["state"] == "off"


def test_a_bad_value_leaves_the_others_and_what_was(inside: Inside) -> None:
    client = inside

    def tell(**settings: Any) -> str:
        client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": settings}})
        return status(client)

    assert tell(disabledLanguages=["go"], maxTokens=-1, candidates=2).startswith("max_tokens = -1 is out of range")
    assert client.result("midfill/why")["disabledLanguages"] == ["go"]
    assert "disabled_languages" in tell(disabledLanguages="go")
    assert client.result("midfill/why")["disabledLanguages"] == ["go"]
    assert "max_tokens" in tell(disabledLanguages=["rust"])  # that mistake is still there
    assert tell(max_tokens=32) == ""
    assert tell(disabledRules=["balance", "balanse"]).startswith("disabled_rules: 'balanse' is not known")
    assert tell(disabledRules=None) == ""
    assert tell(disabledLanguages=None) == ""  # not set any more
    assert client.result("midfill/why")["disabledLanguages"] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"python": {"analysis": {"typeCheckingMode": "off"}}},
        {"rust-analyzer": {"cargo": {}}, "Lua": {}},
        {"python.analysis.typeCheckingMode": "off"},
        {"midfill": {}, "gopls": {"enabled": False}},
        {"midfill": None},
        None,
        [],
    ],
)
@pytest.mark.parametrize("where", ["options", "told"])
def test_another_servers_section_is_no_mistake(start: Start, settings: Any, where: str) -> None:
    client = start(initializationOptions=settings if where == "options" else None)
    if where == "told":
        client.notify("workspace/didChangeConfiguration", {"settings": settings})
    client.ready()
    assert status(client) == ""
    assert shown(client, client.open("x"))


def asked(client: Inside, method: str) -> dict[str, Any]:
    """Return the request that the server sent to the client."""
    return client.wait(lambda m: m.get("method") == method and "id" in m)


def answer(client: Inside, result: Any) -> None:
    """Answer the request for the settings."""
    request = asked(client, "workspace/configuration")
    assert request["params"] == {"items": [{"section": "midfill"}]}
    client.answer(request["id"], result=result)


PULLS = {"workspace": {"configuration": True}}


def test_settings_are_pulled(start: Start) -> None:
    client = start(capabilities=PULLS, initializationOptions={"disabledFiles": ["x"]})

    def off() -> list[str]:
        return list(client.result("midfill/why")["disabledLanguages"])

    answer(client, [{"disabledLanguages": ["go"], "maxTokens": 32}])
    client.ready()
    assert off() == ["go"]
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    answer(client, [{"disabledLanguages": ["rust"]}])
    assert off() == ["rust"]
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"disabledLanguages": ["c"]}}})
    assert off() == ["c"]
    client.notify("workspace/didChangeConfiguration", {"settings": {}})
    answer(client, [{"disabledLanguages": ["rust"]}])  # nothing new: what was told since holds
    assert off() == ["c"]
    client.notify("workspace/didChangeConfiguration", {"settings": {"python": {}}})
    answer(client, [None])  # it is gone
    assert off() == []
    assert status(client) == ""


@pytest.mark.parametrize("result", [None, [], [None], {}, "x", [5], [[]], [{"python": {}}], "error", "never"])
def test_any_answer_to_the_pull_will_do(start: Start, result: Any) -> None:
    client = start(capabilities=PULLS)
    request = asked(client, "workspace/configuration")
    if result == "error":
        client.answer(request["id"], error={"code": -32601, "message": "no"})
    elif result != "never":
        client.answer(request["id"], result=result)
    client.ready()
    assert shown(client, client.open("x"))
    assert status(client) == ""
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    answer(client, [{"disabledLanguages": ["go"]}])
    assert client.result("midfill/why")["disabledLanguages"] == ["go"]
    client.answer(request["id"], result=[{"disabledLanguages": ["c"]}])  # to what was asked long ago
    assert client.result("midfill/why")["disabledLanguages"] == ["go"]


@pytest.mark.parametrize(("pulls", "options"), [(True, {}), (False, {"section": "midfill"})])
def test_it_asks_to_be_told(start: Start, pulls: bool, options: dict[str, str]) -> None:
    workspace = {"configuration": pulls, "didChangeConfiguration": {"dynamicRegistration": True}}
    client = start(capabilities={"workspace": workspace})
    (registration,) = asked(client, "client/registerCapability")["params"]["registrations"]
    assert registration["method"] == "workspace/didChangeConfiguration"
    assert registration["registerOptions"] == options


def test_a_client_that_offers_nothing_is_asked_nothing(inside: Inside) -> None:
    client = inside
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    assert client.result("midfill/status")
    assert not [message for message in client.log if "method" in message and "id" in message]


# ---- what a person is told -------------------------------------------------------------------------------------------


def messages(client: Client) -> list[dict[str, Any]]:
    return [m["params"] for m in client.log if m.get("method") == "window/showMessage"]


ERROR = EngineStatus("error", "the model is broken", "mend it")


@pytest.mark.parametrize("knows", ["says so", "asks for it", ""])
def test_an_error_that_stops_suggestions_is_shown_once(start: Start, knows: str) -> None:
    capabilities = {"experimental": {"midfill": {"status": knows == "says so"}}}
    client = start({"chunks": ["a"], "ready_s": -1}, capabilities=capabilities)
    client.open("x")
    if knows == "asks for it":
        client.result("midfill/status")
    for status in (ERROR, EngineStatus("starting"), EngineStatus("error", "another", ""), ERROR):
        client.status(status)
    expected = [] if knows else [{"type": 1, "message": "midfill: the model is broken (mend it)"}]
    assert messages(client) == expected


def test_an_error_beside_which_suggestions_come_is_not(start: Start) -> None:
    client = start()
    assert shown(client, client.open("x"))
    client.status(ERROR)  # an adapter was refused; using the base model
    assert messages(client) == []


def test_a_mistake_in_the_settings_hides_no_lost_edit(start: Start) -> None:
    client = start(initializationOptions={"modle": "x"})
    client.ready()
    client.open("x")
    change(client, 2, line=40)
    assert status(client).startswith("unknown setting 'modle' in initializationOptions; no suggestions in a.py")


def test_a_document_with_lost_edits_is_named_once(start: Start) -> None:
    client = start()
    client.open("x")
    for _ in range(3):
        change(client, 2, line=40)
        change(client, 3, "x", line=None)
    assert client.call(INLINE, at(URI, 0, 1))
    assert [message["message"] for message in messages(client)] == [
        "midfill: no suggestions in a.py: an edit names a line that does not exist (close the file and open it again)"
    ]


@pytest.mark.parametrize("options", [{"modle": "x"}, {"enabled": False}])
def test_what_stops_nothing_shows_nothing(start: Start, options: dict[str, Any]) -> None:
    client = start(initializationOptions=options)
    client.call(INLINE, at(client.open("x"), 0, 1))
    assert messages(client) == []


# ---- folders that cannot be written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["/proc/x", "a file"])
def test_without_a_home_it_starts(launch: Launch, tmp_path: Path, home: str) -> None:
    (tmp_path / "a file").touch()
    where = home if home.startswith("/") else str(tmp_path / home)
    folders = {f"MIDFILL_{name}_DIR": "" for name in ("CONFIG", "CACHE", "DATA", "STATE")}
    xdg = {f"XDG_{name}_HOME": "" for name in ("CONFIG", "CACHE", "DATA", "STATE")}
    client = launch(env={"HOME": where, "TMPDIR": str(tmp_path), **folders, **xdg})
    client.initialize()
    client.ready()
    assert shown(client, client.open("x"))
    assert status(client) == ""


@pytest.mark.parametrize("state", ["a file", "/proc/x"])
def test_without_a_folder_for_its_log_it_starts_and_says_so(launch: Launch, tmp_path: Path, state: str) -> None:
    (tmp_path / "a file").touch()
    where = state if state.startswith("/") else str(tmp_path / state)
    stderr = os.open(tmp_path / "stderr", os.O_WRONLY | os.O_CREAT)
    client = launch(env={"MIDFILL_STATE_DIR": where}, stderr=stderr)
    os.close(stderr)
    client.initialize()
    client.ready()
    assert shown(client, client.open("x"))
    (line,) = (tmp_path / "stderr").read_text(encoding="utf-8").splitlines()
    assert line.startswith(f"midfill: no log: cannot create {where}/log")
