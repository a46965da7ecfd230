"""What `initialize` says of the client and the workspace, read leniently."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from midfill import config as configuration
from midfill.config import Config
from midfill.lsp.positions import Encoding
from midfill.lsp.uris import folder_path
from midfill.types import MidfillError

# Settings that this process alone follows; a change of any other needs another link to the engine.
OWN_SETTINGS = frozenset({
    "enabled", "languages_off", "globs_off", "scopes_off", "max_debounce_s", "candidates", "ahead", "records",
    "context_off",    "first_answer_s", "log_level",
})  # fmt: skip

# What editors keep in the same section for themselves.
EDITOR_SETTINGS = frozenset({"trace"})

# LSP lets versions skip numbers, and these do: they send the editor's change counter, or merge changes. Elsewhere a
# skipped number means a lost edit.
SKIPPING_CLIENTS = (
    "neovim", "nvim", "coc", "visual studio code", "vscod", "code - oss", "code-oss", "code-server", "cursor",
    "windsurf", "sublime", "kate", "qt creator", "eglot",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Client:
    """The client, as far as it matters."""

    name: str = ""
    process_id: int = 0
    encoding: Encoding = "utf-16"
    work_done: bool = False
    as_is: bool = False  # knows insertTextMode asIs
    markdown: bool = False  # shows an entry's documentation as Markdown
    folders: tuple[str, ...] = ()
    options: Any = None

    @property
    def skips_versions(self) -> bool:
        """Whether a gap between two versions is no sign of a lost edit."""
        return self.name.lower().startswith(SKIPPING_CLIENTS)


def read_client(params: Mapping[str, Any]) -> Client:
    """What the params of `initialize` say. Never raises."""
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
        folders=_folders(params),
        options=params.get("initializationOptions"),
    )


def resolve(base: Config | None, client: Client) -> tuple[Config, MidfillError | None]:
    """The configuration, and what is wrong with it. A layer with a mistake is left out, the others count."""
    first: MidfillError | None = None
    config = base or configuration.DEFAULT
    layers: list[Callable[[Config], Config]] = [] if base is not None else [lambda _: configuration.load_user()]
    if client.folders and (root := folder_path(client.folders[0])) is not None:
        layers.append(_workspace(root))
    if options := own_section(client.options):
        layers.append(lambda config: configuration.merged(config, options, "initializationOptions"))
    for layer in layers:
        try:
            config = layer(config)
        except MidfillError as error:
            first = first or error
    return config, first


def own_section(options: Any) -> dict[str, Any]:
    """Our settings out of what a client sends: at the top, or under "midfill". null means not set."""
    if not isinstance(options, dict):
        return {}
    section = options["midfill"] if isinstance(options.get("midfill"), dict) else options
    return {key: value for key, value in section.items() if value is not None and key not in EDITOR_SETTINGS}


def needs_new_link(old: Config, new: Config) -> bool:
    """Whether the engine's side of the configuration changed."""
    names = [field.name for field in fields(Config) if field.name not in OWN_SETTINGS]
    return any(getattr(old, name) != getattr(new, name) for name in names)


def _workspace(root: Path) -> Callable[[Config], Config]:
    return lambda config: configuration.load_workspace(config, root)


def _encoding(offered: Any) -> Encoding:
    """The first that we know, in the client's order."""
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
    """The URIs of workspace folders."""
    folders = value if isinstance(value, list) else []
    return tuple(item["uri"] for item in folders if isinstance(item, dict) and isinstance(item.get("uri"), str))


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
