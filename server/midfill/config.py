"""Configuration: defaults < user file < workspace file < initializationOptions, into one frozen value.

A workspace comes from anywhere, so its file (``.midfill.toml``) may only choose harmless things: never a model path,
an engine address or a command (``WORKSPACE_KEYS``).
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midfill import paths
from midfill.addresses import read_address
from midfill.syntax import languages
from midfill.types import MidfillError

WORKSPACE_FILE = ".midfill.toml"
WORKSPACE_KEYS = frozenset({
    "enabled", "adapter", "adapter_by_language", "max_tokens", "languages_off", "globs_off", "scopes_off",
    "context_off", "knowledge_off", "eagerness", "lines",
})  # fmt: skip
CONTEXT_SOURCES = ("imports", "names", "similar", "edits", "open", "siblings")  # context.sources.SOURCES
KNOWLEDGE_SOURCES = ("jedi", "client", "index")  # context.knowledge.store.SOURCES
# A workspace's file may be a pipe, a link to an endless device, or made to be slow to parse: tomllib takes time and
# memory with the square of a dotted key's length.
MAX_USER_BYTES, MAX_WORKSPACE_BYTES = 64 << 10, 8 << 10
ADAPTER_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"  # no leading dot: "." and ".." are folders

NO_ADAPTER = ("", "none")
RESERVED_ADAPTERS = (*NO_ADAPTER, "auto", "embedded")  # what no adapter can be called
SCOPES = ("comment", "string", "docstring")
EAGERNESS = ("quiet", "balanced", "eager")
LINES = ("one", "auto")
MAX_CANDIDATES = 8
MAX_NAMED = 5  # problems that are named in one message
# Asked at every keystroke, and a workspace's file may set them.
MAX_GLOBS, MAX_GLOB_CHARS = 100, 200
MAX_REPLICAS = 32
# Where code is sent to. An editor's settings hold what a workspace says as well, so they may not name it either.
USER_ONLY = frozenset({
    "engine", "engine_key_file", "engine_ca_file", "engine_proxy", "engine_team", "engine_adapters",
    "engine_deadline_s", "engine_fallback",
})  # fmt: skip
ONE_OR_SEVERAL = frozenset({"engine"})  # lists that may be written as one text


def _of_language(entry: str) -> str:
    language, _, adapter = entry.partition("=")
    return f"{languages.canonical(language)}={adapter}"


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting. The comments are what `midfill doctor` and the README say of them."""

    enabled: bool = True
    eagerness: str = "balanced"  # quiet, balanced or eager: how sure, how soon and how long what comes unasked is
    lines: str = "auto"  # one: a suggestion ends with its line, also one that was asked for; auto: blocks too
    quiet_on_battery: bool = True  # on battery power quiet, whatever is set, and nothing is done ahead
    model: str = "auto"  # auto, a hub id, a directory, a .gguf file, or "embedded"
    adapter: str = "auto"  # auto (the embedded model's own), a registered name, a directory, or none
    adapter_by_language: tuple[str, ...] = ()  # other ones for some languages: "python=mine"
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    dtype: str = "auto"  # auto, int8 and int4 (CPU or CUDA), bfloat16, float16, float32
    template: str = "auto"  # auto (from the tokenizer), a name of fim.TEMPLATES, or prefix
    order: str = "psm"  # psm or spm, where the template allows both
    context_tokens: int = 0  # prompt budget; 0: what the device answers in good time
    max_tokens: int = 64  # longest middle; one that was asked for may be three times as long
    token_healing: bool = True  # a cursor inside a word: the model writes the whole word, in its own tokens
    favour_names: bool = True  # unused imports, and behind a dot known members, are the likelier beginning
    suffix_shift: str = "auto"  # auto, on or off: keep what was read of the text after the cursor when the cursor moves
    prompt_lookup: bool = True  # guess tokens from the prompt and verify several at once; never another answer
    languages_off: tuple[str, ...] = ()  # languages without automatic suggestions, in any client's words
    globs_off: tuple[str, ...] = ()  # files without them: "*.md" by name, "secrets/**" by path in the workspace
    rules_off: tuple[str, ...] = ()  # post-processing that is not applied, by the names that `midfill explain` shows
    scopes_off: tuple[str, ...] = ()  # where the cursor gets none: comment, string, docstring
    max_debounce_s: float = 0.1  # an automatic request waits at most so long for the next key; 0: never
    candidates: int = 3  # an invoked request gets up to so many different suggestions
    ahead: bool = True  # in the background a place is read where the cursor rests, and a suggestion gone on from
    records: bool = True  # what is shown and accepted is counted on this machine, without any source text
    context_off: tuple[str, ...] = ()  # sources of context from other files that are not asked (CONTEXT_SOURCES)
    knowledge_off: tuple[
        str, ...
    ] = ()  # whose word is not taken on what may be named behind a dot: jedi, client, index
    first_answer_s: float = 10.0  # an invoked request waits this long for its answer
    max_adapters: int = 8  # adapters in memory at once; of more, the one that was used longest ago is loaded again
    engine_idle_exit_s: float = 900.0  # the engine leaves after this long without a client
    log_level: str = "warning"
    # An engine elsewhere. Only the user's own file and the command line may set these (USER_ONLY).
    engine: tuple[str, ...] = ()  # "https://host/v1", or several replicas; none: the engine on this machine
    engine_key_file: str = ""  # holds the key, mode 0600, where MIDFILL_ENGINE_KEY is not set
    engine_ca_file: str = ""  # certificates that are trusted beside the system's
    engine_proxy: str = ""  # http://host:port; nothing is read from the environment
    engine_team: str = ""  # who shares a prefix cache there; "": whoever has the same key
    engine_adapters: str = ""  # a folder that `midfill adapters publish` writes
    engine_deadline_s: float = 10.0  # the longest that one answer may take; what stands then is shown
    engine_fallback: str = "none"  # a model on this machine while no replica answers, as in model; or none

    def __post_init__(self) -> None:
        for name, low, high in (
            ("context_tokens", 0, 1_000_000),
            ("max_tokens", 1, 4096),
            ("max_adapters", 1, 1000),
            ("max_debounce_s", 0, 5),
            ("candidates", 1, MAX_CANDIDATES),
            ("first_answer_s", 0.1, 600),
            ("engine_idle_exit_s", 1, 1e7),
            ("engine_deadline_s", 0.5, 600),
        ):
            if not low <= getattr(self, name) <= high:
                raise MidfillError(f"{name} = {getattr(self, name)} is out of range", f"use {low} to {high:g}")
        for name, allowed in (
            ("order", ("psm", "spm")),
            ("eagerness", EAGERNESS),
            ("lines", LINES),
            ("suffix_shift", ("auto", "on", "off")),
            ("dtype", ("auto", "int8", "int4", "bfloat16", "float16", "float32")),
            ("log_level", ("debug", "info", "warning", "error")),
        ):
            if getattr(self, name) not in allowed:
                raise MidfillError(f"{name} = {getattr(self, name)!r} is not known", f"use one of {', '.join(allowed)}")
        if unknown := [scope for scope in self.scopes_off if scope not in SCOPES]:
            raise MidfillError(f"scopes_off: {unknown[0][:60]!r} is not known", f"use some of {', '.join(SCOPES)}")
        for entry in self.adapter_by_language:
            if not re.fullmatch(r"[\w.+#-]{1,40}=.{1,1000}", entry):
                raise MidfillError(f"adapter_by_language: {entry[:60]!r}", 'write "language=adapter"')
        object.__setattr__(self, "languages_off", tuple(dict.fromkeys(map(languages.canonical, self.languages_off))))
        object.__setattr__(self, "adapter_by_language", tuple(map(_of_language, self.adapter_by_language)))
        if len(self.globs_off) > MAX_GLOBS or any(len(glob) > MAX_GLOB_CHARS for glob in self.globs_off):
            raise MidfillError("globs_off is too long", f"use at most {MAX_GLOBS} globs of {MAX_GLOB_CHARS} characters")
        if unknown := [name for name in self.context_off if name not in CONTEXT_SOURCES]:
            raise MidfillError(f"context_off names {unknown[0]!r}", f"known: {', '.join(CONTEXT_SOURCES)}")
        if unknown := [name for name in self.knowledge_off if name not in KNOWLEDGE_SOURCES]:
            raise MidfillError(f"knowledge_off names {unknown[0][:60]!r}", f"known: {', '.join(KNOWLEDGE_SOURCES)}")
        if len(self.engine) > MAX_REPLICAS:
            raise MidfillError(f"engine names {len(self.engine)} replicas", f"use at most {MAX_REPLICAS}")
        for address in self.engine:
            read_address(address)
        if self.engine_proxy and not re.fullmatch(r"https?://[A-Za-z0-9._-]+:\d{1,5}/?", self.engine_proxy):
            raise MidfillError("engine_proxy is no proxy's address", 'write engine_proxy = "http://host:port"')


_HINTS = typing.get_type_hints(Config)
DEFAULT = Config()


@dataclass(frozen=True, slots=True)
class Taken:
    """A configuration with a layer on top, and what is wrong with that layer: the sound settings hold all the same."""

    config: Config
    problems: tuple[MidfillError, ...] = ()

    def strict(self) -> Config:
        """The configuration. Raises the first problem."""
        if self.problems:
            raise self.problems[0]
        return self.config


def take(config: Config, values: Mapping[str, Any], where: str) -> Taken:
    """``config`` with ``values`` on top. ``where`` names their source in problems.

    Keys may be snake_case or camelCase (what LSP clients send).
    """
    problems: list[MidfillError] = []
    for key, value in values.items():
        try:
            name = named(key, where)
            config = dataclasses.replace(config, **{name: _typed(name, value, where)})
        except MidfillError as error:
            said = error.message if where in error.message else f"{error.message} in {where}"
            problems.append(MidfillError(said, error.remedy))
    return Taken(config, tuple(problems))


def named(key: str, where: str) -> str:
    """The setting that a key means. Raises MidfillError with what may have been meant."""
    name = snake(str(key))
    if name in _HINTS:
        return name
    near = difflib.get_close_matches(name, _HINTS, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(_HINTS))}"
    raise MidfillError(f"unknown setting {str(key)[:60]!r} in {where}", remedy)


def is_setting(key: str) -> bool:
    """Whether there is a setting of that name."""
    return snake(key) in _HINTS


def refuse_user_only(key: str) -> None:
    """Raises MidfillError for a setting that an editor's settings may not change."""
    if snake(key) in USER_ONLY:
        raise MidfillError(f"an editor's settings may not set {key!r}", f"put it into {paths.config_file()}")


def take_user() -> Taken:
    """Defaults with the user's file on top."""
    return _take_file(DEFAULT, paths.config_file(), MAX_USER_BYTES)


def take_workspace(config: Config, root: Path) -> Taken:
    """``config`` with the workspace's harmless settings on top."""
    file = root / WORKSPACE_FILE
    return _take_file(config, file, MAX_WORKSPACE_BYTES, lambda key, value: _refuse_harmful(file, key, value))


def merged(config: Config, values: Mapping[str, Any], where: str) -> Config:
    """``config`` with ``values`` on top. ``where`` names their source in errors. Raises MidfillError."""
    return take(config, values, where).strict()


def load_user() -> Config:
    """Defaults with the user's file on top. Raises MidfillError."""
    return take_user().strict()


def load_workspace(config: Config, root: Path) -> Config:
    """``config`` with the workspace's harmless settings on top. Raises MidfillError."""
    return take_workspace(config, root).strict()


def combined(problems: Sequence[MidfillError]) -> MidfillError | None:
    """All of them as one, each named once; None where there are none."""
    if not problems:
        return None
    messages = list(dict.fromkeys(problem.message for problem in problems))
    remedies = list(dict.fromkeys(problem.remedy for problem in problems if problem.remedy))
    more = f" and {len(messages) - MAX_NAMED} more" if len(messages) > MAX_NAMED else ""
    return MidfillError("; ".join(messages[:MAX_NAMED]) + more, "; ".join(remedies[:MAX_NAMED]))


def _take_file(
    config: Config, file: Path, limit: int, check: Callable[[str, Any], None] = lambda _key, _value: None
) -> Taken:
    """``config`` with a TOML file on top, if it is there. ``check`` raises MidfillError for what that may not say."""
    try:
        values = _read(file, limit)
    except MidfillError as error:
        return Taken(config, (error,))
    problems, sound = [], {}
    for key, value in values.items():
        try:
            check(key, value)
            sound[key] = value
        except MidfillError as error:
            problems.append(error)
    taken = take(config, sound, str(file))
    return Taken(taken.config, (*problems, *taken.problems))


def _refuse_harmful(file: Path, key: str, value: Any) -> None:
    if is_setting(key) and snake(key) not in WORKSPACE_KEYS:
        raise MidfillError(
            f"{file} may not set {key!r}",
            f"a workspace may set {', '.join(sorted(WORKSPACE_KEYS))}; put {key!r} into {paths.config_file()}",
        )
    if any(not re.fullmatch(ADAPTER_NAME, adapter) for adapter in _adapters(snake(key), value)):
        raise MidfillError(f"{file} may not name an adapter directory", "name a registered adapter")


def _adapters(key: str, value: Any) -> list[str]:
    """The adapters that a setting names."""
    if key == "adapter" and isinstance(value, str):
        return [value]
    if key == "adapter_by_language" and isinstance(value, list):
        return [entry.partition("=")[2] for entry in value if isinstance(entry, str)]
    return []


def _read(file: Path, limit: int) -> dict[str, Any]:
    try:
        with open(file, "rb", opener=_open_at_once) as stream:
            content = stream.read(limit + 1) or b""
        if len(content) > limit:
            raise MidfillError(f"{file} is larger than {limit >> 10} KiB", "shorten the file or remove it")
        return tomllib.loads(content.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MidfillError(f"cannot read {file}: {reason}", "mend the file or remove it") from error


def _open_at_once(path: str, flags: int) -> int:
    """A pipe that nobody writes to must not keep us waiting."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def snake(key: str) -> str:
    """A setting's name, of a key as LSP clients write it."""
    return "".join("_" + char.lower() if char.isupper() else char for char in key)


def _typed(name: str, value: Any, where: str) -> Any:
    hint = _HINTS[name]
    if hint is float and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if isinstance(hint, types.GenericAlias):  # tuple[str, ...]
        if name in ONE_OR_SEVERAL and isinstance(value, str):
            value = (value,) if value else ()
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise MidfillError(f"{name} in {where} is not a list of strings", f'write {name} = ["..."]')
    if type(value) is not hint:
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[hint]
        raise MidfillError(f"{name} in {where} is not {kind}", f"it is {type(value).__name__}")
    if isinstance(value, str) and any(char < " " for char in value):
        raise MidfillError(f"{name} in {where} holds a control character", "remove it")
    return value
