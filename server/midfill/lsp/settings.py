"""What `initialize` says of the client and the workspace, read leniently."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from midfill import config as configuration
from midfill import config_files
from midfill.config import CheckedConfig, Config
from midfill.lsp.positions import Encoding
from midfill.lsp.uris import folder_path
from midfill.types import MidfillError

# What editors keep for themselves in the same section.
EDITOR_SETTINGS = frozenset({"trace", "path", "trigger", "grow"})


@dataclass(frozen=True, slots=True)
class Client:
    """The client's properties that matter here."""

    name: str = ""
    process_id: int = 0
    encoding: Encoding = "utf-16"
    work_done: bool = False
    as_is: bool = False  # supports insertTextMode asIs
    markdown: bool = False  # renders the documentation of an entry as Markdown
    pulls: bool = False  # answers requests for its settings
    registers: bool = False  # can be asked to report changed settings
    shows_status: bool = False  # says that it shows midfill/status
    folders: tuple[str, ...] = ()
    options: Any = None


def read_client(params: Mapping[str, Any]) -> Client:
    """Read the client from the params of `initialize`. Never raises."""
    pid = params.get("processId")
    item = ("capabilities", "textDocument", "completion", "completionItem")
    modes = _dig(params, *item, "insertTextModeSupport", "valueSet")
    formats = _dig(params, *item, "documentationFormat")
    name = _dig(params, "clientInfo", "name")
    return Client(
        name=name if isinstance(name, str) else "",
        process_id=pid if isinstance(pid, int) and not isinstance(pid, bool) else 0,
        encoding=_encoding(_dig(params, "capabilities", "general", "positionEncodings")),
        work_done=_dig(params, "capabilities", "window", "workDoneProgress") is True,
        as_is=isinstance(modes, list) and 1 in modes,
        markdown=isinstance(formats, list) and "markdown" in formats,
        pulls=_dig(params, "capabilities", "workspace", "configuration") is True,
        registers=_dig(params, "capabilities", "workspace", "didChangeConfiguration", "dynamicRegistration") is True,
        shows_status=_dig(params, "capabilities", "experimental", "midfill", "status") is True,
        folders=_folders(params),
        options=params.get("initializationOptions"),
    )


class ConfigLayers:
    """The layers of the configuration: files, which are read once, and on top the client's values, key by key.

    A mistake is kept with its key until the client sends that key again; all valid values are applied.
    """

    def __init__(self, base: Config | None, client: Client) -> None:
        taken = config_files.take_user() if base is None else CheckedConfig(base)
        self._problems = list(taken.problems)
        if client.folders and (root := folder_path(client.folders[0])) is not None:
            taken = config_files.take_workspace(taken.config, root)
            self._problems += taken.problems
        self._files = taken.config
        self._told: dict[str, Any] = {}
        self._wrong: dict[str, MidfillError] = {}
        self._pulled: dict[str, Any] = {}
        self.tell(client.options, "initializationOptions")

    @property
    def config(self) -> Config:
        """The configuration in effect."""
        return configuration.take(self._files, self._told, "the client's settings").config

    @property
    def trouble(self) -> MidfillError | None:
        """All problems as one error, each by name."""
        return configuration.combined([*self._problems, *self._wrong.values()])

    def tell(self, options: Any, where: str) -> bool:
        """Take the values that a client sends. Returns whether any of them is for midfill."""
        section = own_section(options)
        for key, value in section.items():
            self._tell(key, value, where)
        return bool(section)

    def pulled(self, section: Any) -> None:
        """Take the whole section as the client has it now: new values are applied, and missing ones are reset."""
        new = {} if section is None else own_section(section)
        gone = dict.fromkeys(self._pulled.keys() - new.keys())
        changed = {key: value for key, value in new.items() if self._pulled.get(key) != value}
        for key, value in (gone | changed).items():
            self._tell(key, value, "workspace/configuration")
        self._pulled = new

    def _tell(self, key: str, value: Any, where: str) -> None:
        """Take one value; None resets it."""
        name = configuration.snake(key)
        self._wrong.pop(name, None)
        if value is None:
            self._told.pop(name, None)
            return
        try:
            configuration.refuse_user_only(key)
        except MidfillError as error:
            self._wrong[name] = error
            return
        taken = configuration.take(configuration.DEFAULT, {key: value}, where)
        if taken.problems:
            self._wrong[name] = taken.problems[0]
        if not taken.problems or taken.config != configuration.DEFAULT:  # otherwise the previous value stays
            self._told[name] = value


def own_section(options: Any) -> dict[str, Any]:
    """Return our settings from what a client sends: under "midfill", nested or with a dot, or at the top level.

    At the top level, sections of other servers may stand beside them; midfill ignores those.
    """
    if not isinstance(options, dict):
        return {}
    section = options.get("midfill")
    dotted = {key.removeprefix("midfill."): value for key, value in options.items() if key.startswith("midfill.")}
    if isinstance(section, dict) or dotted:
        section = {**(section if isinstance(section, dict) else {}), **dotted}
    else:
        section = {key: value for key, value in options.items() if not _is_foreign(key, value)}
    return {key: value for key, value in section.items() if key.partition(".")[0] not in EDITOR_SETTINGS}


def _is_foreign(key: str, value: Any) -> bool:
    """Whether the key belongs to another server: our settings are never objects and have no dot in their name."""
    return not configuration.is_setting(key) and (isinstance(value, dict) or "." in key or key == "midfill")


def needs_new_link(old: Config, new: Config) -> bool:
    """Whether the part of the configuration changed that the engine depends on."""
    settings = configuration.SETTINGS.items()
    return any(getattr(old, name) != getattr(new, name) for name, setting in settings if not setting.live)


def _encoding(offered: Any) -> Encoding:
    """Return the first encoding that we know, in the client's order."""
    known: tuple[Encoding, ...] = get_args(Encoding)
    for name in offered if isinstance(offered, list) else []:
        for encoding in known:
            if name == encoding:
                return encoding
    return "utf-16"


def _folders(params: Mapping[str, Any]) -> tuple[str, ...]:
    folders = read_folders(params.get("workspaceFolders"))
    if folders:
        return folders
    root, path = params.get("rootUri"), params.get("rootPath")
    if isinstance(root, str) and root:
        return (root,)
    if isinstance(path, str) and Path(path).is_absolute():
        with contextlib.suppress(UnicodeEncodeError):  # halves of characters name no folder
            return (Path(path).as_uri(),)
    return ()


def read_folders(value: Any) -> tuple[str, ...]:
    """Return the URIs of the workspace folders."""
    folders = value if isinstance(value, list) else []
    return tuple(item["uri"] for item in folders if isinstance(item, dict) and isinstance(item.get("uri"), str))


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
