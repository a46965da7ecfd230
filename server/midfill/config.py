"""Configuration: defaults < user file < workspace file < initializationOptions, as one frozen value.

`Config` is the table of settings: each one's name, type, default, bounds, help and scope stand there and nowhere else.
`make settings` writes docs/settings.md and the VS Code extension's manifest from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from midfill import paths
from midfill.adapter_names import MAX_PARTS, read_part
from midfill.addresses import read_address
from midfill.context.diagnostics import SOURCE as DIAGNOSTICS
from midfill.context.knowledge.names import SOURCES as KNOWLEDGE_SOURCES
from midfill.context.sources import SOURCES as CONTEXT_SOURCES
from midfill.context.sources.definitions import NAME as DEFINITIONS
from midfill.fim import PREFIX_ONLY, TEMPLATES
from midfill.postprocess import RULES
from midfill.syntax import languages
from midfill.types import MidfillError

SCOPES = ("comment", "string", "docstring")
MAX_NAMED = 5  # problems that one message names
# Matched at every keystroke, and a workspace's file may set them.
MAX_GLOBS, MAX_GLOB_CHARS = 100, 200
MAX_REPLICAS = 32
ONE_OR_SEVERAL = frozenset({"engine"})  # lists that may also be written as one string
TABLES = frozenset({"adapters"})  # lists of "key=value" that may also be written as a table

# Where a setting may be set. workspace: everywhere, also in a workspace's file. Workspaces are not trusted, so these
# settings are harmless: never a model path, an engine address or a command. editor: in the user's file, in an editor
# and on the command line. user: not in an editor, whose settings may come from a workspace: where code is sent to.
Scope = Literal["workspace", "editor", "user"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a setting has besides its name, type and default."""

    help: str
    more: str = ""  # shown only in an editor's settings, in Markdown
    scope: Scope = "editor"
    choices: Mapping[str, str] | Sequence[str] = ()  # all valid values, or all valid entries of a list
    bounds: tuple[float, float] | None = None  # smallest and largest number
    shown: bool = False  # in VS Code's settings
    live: bool = False  # the language server applies a change by itself; other settings need a new link to the engine


def _setting(default: T, help: str, **known: Any) -> T:
    field: T = dataclasses.field(default=default, metadata={"setting": Setting(help, **known)})
    return field


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting with its help."""

    enabled: bool = _setting(
        True, "Enable suggestions.", scope="workspace", shown=True, live=True,
        more="The status bar menu toggles this everywhere or per workspace.",
    )  # fmt: skip
    eagerness: str = _setting(
        "balanced", "How often automatic suggestions come, how soon, and how long they are.",
        scope="workspace", shown=True, live=True,
        more="Suggestions that you trigger manually are the same at each.",
        choices={
            "quiet": "One line at a time, when you stop typing and the model is sure; nothing in comments.",
            "balanced": "Lines and blocks as you type, where the model is fairly sure.",
            "eager": "Sooner, longer, and also where the model is less sure.",
        },
    )  # fmt: skip
    lines: str = _setting(
        "auto", "Whether suggestions may have several lines.",
        scope="workspace", shown=True, live=True,
        choices={
            "one": "A suggestion ends with its line, even one that you trigger manually.",
            "auto": "One line or a whole block, depending on the code.",
        },
    )  # fmt: skip
    quiet_on_battery: bool = _setting(
        True, "On battery power, behave as with eagerness quiet, and do no work in advance.", shown=True, live=True
    )
    model: str = _setting(
        "auto", "The base model: auto, embedded, owner/name on the hub, a folder or a .gguf file.", shown=True,
        more="`auto` takes CodeGemma-7B where a GPU has room and the weights are there, else the embedded model.",
    )  # fmt: skip
    adapter: str = _setting(
        "auto",
        "The LoRA adapter: auto (the embedded model's own), none, a registered name, a path, or a sum (team+mine).",
        scope="workspace", shown=True, more="A workspace may only name registered ones.",
    )  # fmt: skip
    adapters: tuple[str, ...] = _setting(
        (), 'Other adapters for some languages and folders, as a list or a table: "go=none", "services/**=svc".',
        scope="workspace",
    )  # fmt: skip
    device: str = _setting("auto", "Where the model runs: auto, cpu, cuda, cuda:1, mps or xpu.", shown=True)
    dtype: str = _setting(
        "auto", "Number format of the weights. int4 takes the least memory; float8: not on CUDA.", shown=True,
        choices=("auto", "int8", "int4", "float8", "bfloat16", "float16", "float32"),
        more="Four bits need `midfill[gpu]` on a CUDA device; int4 and float8 elsewhere `midfill[quanto]`.",
    )  # fmt: skip
    template: str = _setting(
        "auto",
        "Prompt template (auto: recognised from the tokenizer and the model's name).",
        choices=("auto", PREFIX_ONLY.name, *TEMPLATES),
    )
    order: str = _setting(
        "psm", "Order of the parts of a prompt, where the template allows both.", choices=("psm", "spm")
    )
    context_tokens: int = _setting(
        0, "Prompt budget in tokens; 0: chosen so that this device answers quickly.", bounds=(0, 1_000_000), shown=True
    )
    max_tokens: int = _setting(
        64, "Longest automatic suggestion in tokens; manual ones may be three times as long.",
        scope="workspace", bounds=(1, 4096), shown=True, more="A token is 3 to 4 characters of code.",
    )  # fmt: skip
    token_healing: bool = _setting(True, "When the cursor is inside a word, let the model write the whole word again.")
    favour_names: bool = _setting(True, "Favour names that are imported and unused, and known members after a dot.")
    suffix_shift: str = _setting(
        "auto",
        "When the cursor moves, reuse the cached text after it (faster, approximate).",
        choices=("auto", "on", "off"),
    )
    prompt_lookup: bool = _setting(
        True, "Draft tokens from the prompt and verify several at once (faster, same output)."
    )
    disabled_languages: tuple[str, ...] = _setting(
        (), 'Languages without automatic suggestions, in any common spelling: "js", "c++", "sh".',
        scope="workspace", shown=True, live=True, more="You can still trigger one manually.",
    )  # fmt: skip
    disabled_files: tuple[str, ...] = _setting(
        (), 'Files without automatic suggestions, by name ("*.md") or by path in the workspace ("secrets/**").',
        scope="workspace", shown=True, live=True,
    )  # fmt: skip
    disabled_rules: tuple[str, ...] = _setting(
        (), "Post-processing rules to switch off, as `midfill explain` names them.",
        choices=sorted(RULES),
    )  # fmt: skip
    disabled_scopes: tuple[str, ...] = _setting(
        (), "No automatic suggestions inside these.", scope="workspace", choices=SCOPES, shown=True, live=True
    )
    max_debounce_s: float = _setting(
        0.1, "Longest time to wait for the next keystroke before asking, in seconds; 0: do not wait.",
        bounds=(0, 5), shown=True, live=True, more="It adapts to how fast you type.",
    )  # fmt: skip
    candidates: int = _setting(
        3, "How many alternatives to offer when you trigger a suggestion manually.",
        bounds=(1, 8), shown=True, live=True,
    )  # fmt: skip
    ahead: bool = _setting(
        True, "Work in advance: read the code around the cursor, and continue the suggestion shown.",
        shown=True, live=True,
    )  # fmt: skip
    records: bool = _setting(
        True, "Count what is shown and accepted, on this machine only and without source text.",
        shown=True, live=True, more='"Show Statistics" shows the counts; they never leave this machine.',
    )  # fmt: skip
    learn_from_accepted: bool = _setting(
        False, "Keep the suggestions that you accept and leave in your code, with 200 characters on each side, on this "
        "machine, so that midfill train learns them more often.", scope="user",
    )  # fmt: skip
    disabled_context: tuple[str, ...] = _setting(
        (DEFINITIONS,), "Sources of cross-file context to leave out.",
        scope="workspace", choices=tuple(CONTEXT_SOURCES), shown=True, live=True,
    )  # fmt: skip
    disabled_knowledge: tuple[str, ...] = _setting(
        (DIAGNOSTICS,), "Left out: names after a dot, by who says them; their use in your files (usage); errors.",
        scope="workspace", choices=KNOWLEDGE_SOURCES, live=True,
    )  # fmt: skip
    first_answer_s: float = _setting(
        10.0, "Longest time that a manual request waits for the engine, in seconds.", bounds=(0.1, 600), live=True
    )
    max_adapters: int = _setting(
        8,
        "Adapters kept in memory; the least recently used one is dropped, and read again when needed.",
        bounds=(1, 1000),
    )
    engine_idle_exit_s: float = _setting(
        900.0, "Seconds without a client after which the engine exits.", bounds=(1, 1e7)
    )
    log_level: str = _setting(
        "warning", "How much the logs hold; only debug includes source text.",
        choices=("debug", "info", "warning", "error"), shown=True, live=True,
    )  # fmt: skip
    engine: tuple[str, ...] = _setting(
        (),
        '"https://host/v1" or a list of replicas (docs/remote.md). Your code then leaves this machine.',
        scope="user",
    )
    engine_key_file: str = _setting(
        "", "File with the engine's key (mode 0600), unless MIDFILL_ENGINE_KEY is set.", scope="user"
    )
    engine_ca_file: str = _setting("", "File with certificates to trust in addition to the system's.", scope="user")
    engine_proxy: str = _setting(
        "", "Proxy for the engine, http://host:port; environment variables are ignored.", scope="user"
    )
    engine_team: str = _setting(
        "", "Name of the team that shares a prefix cache; by default, everyone with the same key.", scope="user"
    )
    engine_adapters: str = _setting("", "Folder that `midfill adapters publish` writes to.", scope="user")
    engine_deadline_s: float = _setting(
        10.0, "Longest time for one answer, in seconds; then the text so far is shown.", scope="user", bounds=(0.5, 600)
    )
    engine_fallback: str = _setting(
        "none", "Local model to use while no replica answers (as in model), or none.", scope="user"
    )

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            _check(name, getattr(self, name), setting)
        object.__setattr__(
            self, "disabled_languages", tuple(dict.fromkeys(map(languages.canonical, self.disabled_languages)))
        )
        object.__setattr__(self, "adapters", tuple("=".join(read_part(entry)) for entry in self.adapters))
        if len(self.adapters) > MAX_PARTS:
            raise MidfillError("adapters is too long", f"use at most {MAX_PARTS} entries")
        if len(self.disabled_files) > MAX_GLOBS or any(len(glob) > MAX_GLOB_CHARS for glob in self.disabled_files):
            raise MidfillError(
                "disabled_files is too long", f"use at most {MAX_GLOBS} globs of {MAX_GLOB_CHARS} characters"
            )
        if len(self.engine) > MAX_REPLICAS:
            raise MidfillError(f"engine names {len(self.engine)} replicas", f"use at most {MAX_REPLICAS}")
        for address in self.engine:
            read_address(address)
        if self.engine_proxy and not re.fullmatch(r"https?://[A-Za-z0-9._-]+:\d{1,5}/?", self.engine_proxy):
            raise MidfillError("engine_proxy is not the address of a proxy", 'write engine_proxy = "http://host:port"')


def _check(name: str, value: Any, setting: Setting) -> None:
    """Raise MidfillError for a number out of bounds and for a value that is not among the choices."""
    if setting.bounds is not None:
        least, most = setting.bounds
        if not least <= value <= most:
            raise MidfillError(f"{name} = {value} is out of range", f"use {least:g} to {most:g}")
    elif setting.choices and isinstance(value, tuple):
        if unknown := [entry for entry in value if entry not in setting.choices]:
            raise MidfillError(f"{name}: {_named(unknown)} not known", f"use some of {', '.join(setting.choices)}")
    elif setting.choices and value not in setting.choices:
        raise MidfillError(f"{name} = {value[:60]!r} is not known", f"use one of {', '.join(setting.choices)}")


def _named(unknown: Sequence[str]) -> str:
    """Return the first few entries, and "is" or "are"."""
    names = ", ".join(repr(entry[:60]) for entry in unknown[:MAX_NAMED])
    return f"{names}{', ...' if len(unknown) > MAX_NAMED else ''} {'is' if len(unknown) == 1 else 'are'}"


# Earlier names, for the message about them; they are not read.
FORMER_NAMES = {
    "adapter_by_language": "adapters",
    "context_off": "disabled_context",
    "globs_off": "disabled_files",
    "knowledge_off": "disabled_knowledge",
    "languages_off": "disabled_languages",
    "rules_off": "disabled_rules",
    "scopes_off": "disabled_scopes",
}
SETTINGS: dict[str, Setting] = {field.name: field.metadata["setting"] for field in dataclasses.fields(Config)}
WORKSPACE_KEYS = frozenset(name for name, setting in SETTINGS.items() if setting.scope == "workspace")
USER_ONLY = frozenset(name for name, setting in SETTINGS.items() if setting.scope == "user")
EAGERNESS = tuple(SETTINGS["eagerness"].choices)
_HINTS = typing.get_type_hints(Config)
DEFAULT = Config()


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """A configuration with a layer on top, and the problems of that layer; its valid settings are applied."""

    config: Config
    problems: tuple[MidfillError, ...] = ()

    def strict(self) -> Config:
        """Return the configuration. Raises the first problem."""
        if self.problems:
            raise self.problems[0]
        return self.config


def take(config: Config, values: Mapping[str, Any], where: str) -> CheckedConfig:
    """Return ``config`` with ``values`` on top. ``where`` names their source in problems.

    Keys may be snake_case or camelCase (what LSP clients send). An invalid value leaves the old one in place.
    """
    problems: list[MidfillError] = []
    for key, value in values.items():
        try:
            name = named(key, where)
            typed = _typed(name, value, where)
            config, problem = _with(config, name, typed)
        except MidfillError as error:
            problem = error
        if problem is not None:
            said = problem.message if where in problem.message else f"{problem.message} in {where}"
            problems.append(MidfillError(said, problem.remedy))
    return CheckedConfig(config, tuple(problems))


def _with(config: Config, name: str, value: Any) -> tuple[Config, MidfillError | None]:
    """Return ``config`` with one setting. The valid entries of a list are applied, and the problem names the others."""
    try:
        return dataclasses.replace(config, **{name: value}), None
    except MidfillError as error:
        entries: Sequence[str] = value if isinstance(value, tuple) else ()
        known: Any = tuple(entry for entry in entries if entry in SETTINGS[name].choices)
        if not known:
            raise
        return dataclasses.replace(config, **{name: known}), error


def named(key: str, where: str) -> str:
    """Return the setting that ``key`` names. Raises MidfillError with the closest name."""
    name = snake(str(key))
    if name in _HINTS:
        return name
    near = FORMER_NAMES.get(name) or next(iter(difflib.get_close_matches(name, _HINTS, n=1)), "")
    spelled = camel(near) if any(map(str.isupper, str(key))) else near
    remedy = f"did you mean {spelled}?" if near else f"known: {', '.join(sorted(_HINTS))}"
    raise MidfillError(f"unknown setting {str(key)[:60]!r} in {where}", remedy)


def is_setting(key: str) -> bool:
    """Whether there is a setting of that name."""
    return snake(key) in _HINTS


def refuse_user_only(key: str) -> None:
    """Raise MidfillError for a setting that an editor may not change."""
    if snake(key) in USER_ONLY:
        raise MidfillError(f"an editor may not set {key!r}", f"put it into {paths.config_file()}")


def merged(config: Config, values: Mapping[str, Any], where: str) -> Config:
    """Return ``config`` with ``values`` on top. ``where`` names their source in errors. Raises MidfillError."""
    return take(config, values, where).strict()


def combined(problems: Sequence[MidfillError]) -> MidfillError | None:
    """Return all problems as one, each message once; None if there are none."""
    if not problems:
        return None
    messages = list(dict.fromkeys(problem.message for problem in problems))
    remedies = list(dict.fromkeys(problem.remedy for problem in problems if problem.remedy))
    more = f" and {len(messages) - MAX_NAMED} more" if len(messages) > MAX_NAMED else ""
    return MidfillError("; ".join(messages[:MAX_NAMED]) + more, "; ".join(remedies[:MAX_NAMED]))


def camel(name: str) -> str:
    """Return a setting's name as LSP clients write it."""
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def snake(key: str) -> str:
    """Return the name of a setting from the key that LSP clients send."""
    return "".join("_" + char.lower() if char.isupper() else char for char in key)


def _typed(name: str, value: Any, where: str) -> Any:
    hint = _HINTS[name]
    if hint is float and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if isinstance(hint, types.GenericAlias):  # tuple[str, ...]
        if name in ONE_OR_SEVERAL and isinstance(value, str):
            value = (value,) if value else ()
        if name in TABLES and isinstance(value, Mapping):
            value = [f"{key}={one}" if isinstance(one, str) else one for key, one in value.items()]
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise MidfillError(f"{name} in {where} is not a list of strings", f'write {name} = ["..."]')
    if type(value) is not hint:
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[hint]
        raise MidfillError(f"{name} in {where} is not {kind}", f"it is of type {type(value).__name__}")
    if isinstance(value, str) and any(char < " " for char in value):
        raise MidfillError(f"{name} in {where} contains a control character", "remove it")
    return value
