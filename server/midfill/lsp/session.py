"""One client's session: its documents, its settings and its connection to the engine. Handlers take all of it or a
part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from midfill import config as configuration
from midfill import triggers
from midfill.battery import BATTERY, Battery
from midfill.client.base import Completes
from midfill.config import Config
from midfill.context.workspace import Workspace
from midfill.eagerness import Knob
from midfill.lsp import settings, transport
from midfill.lsp.connection import Connection, MakeLink
from midfill.lsp.documents import Documents
from midfill.lsp.explain import Traces
from midfill.lsp.focus import FocusTracker
from midfill.lsp.latest import Latest
from midfill.lsp.outcomes import Outcomes
from midfill.lsp.positions import Encoding
from midfill.lsp.protocol import MidfillProtocol
from midfill.lsp.settings import Client, ConfigLayers
from midfill.lsp.snooze import Snooze
from midfill.lsp.status import StageProgress, StatusBoard, Warnings
from midfill.lsp.uris import folder_path
from midfill.types import Snapshot


class Session:
    """One session. Its parts do not know it."""

    def __init__(self, protocol: MidfillProtocol, base: Config | None, make_link: MakeLink | None) -> None:
        """If ``base`` is None, the user's file is read when the client initializes."""
        self.protocol = protocol
        self.client = Client()
        self.settings = ConfigLayers(base or configuration.DEFAULT, self.client)
        self.config = base or configuration.DEFAULT
        self.pulling: Future[Any] | None = None  # the pending request for the client's settings
        self.documents, self.project = Documents(), Workspace()
        self.latest, self.traces = Latest(), Traces()
        self.battery: Battery = BATTERY
        self.board = StatusBoard(protocol.notify, self._facts)
        self.snooze, self.warnings = Snooze(self.board.changed), Warnings(protocol.notify)
        self.outcomes = Outcomes(self.documents, lambda: self.config.records, self._may_learn)
        self.focus = FocusTracker(self.documents, lambda: self.config.enabled, self._tell_rest)
        self.engine = Connection(protocol.notify, self.board, self.warnings, self.project, self.focus.read, make_link)
        self.on_process_id: Callable[[int], None] = lambda _pid: None
        self._base = base

    @property
    def completer(self) -> Completes | None:
        """The completer that can answer now, or None."""
        return self.engine.completer

    def initialize(self, params: Mapping[str, Any]) -> Encoding:
        """Read the params of initialize; look for the engine once the client has its answer."""
        self.client = settings.read_client(params)
        self.documents.encoding = self.client.encoding
        self.documents.folders = self.client.folders
        self.settings = ConfigLayers(self._base, self.client)
        self.config, self.warnings.wanted = self.settings.config, not self.client.shows_status
        transport.set_log_level(self.config.log_level)
        self.on_process_id(self.client.process_id)
        asyncio.get_running_loop().call_soon(self._begin)
        return self.client.encoding

    def _begin(self) -> None:
        if self.client.work_done:
            self.board.show_progress(StageProgress(self.protocol.notify, self.protocol.send_request))
        self.board.trouble(self.settings.trouble)
        self.project.disable(self.config.disabled_context)
        self.project.knowledge.disable(self.config.disabled_knowledge)
        if self.config.enabled:
            self.folders_changed()
        self.connect()

    def connect(self) -> None:
        """Follow an engine with the current configuration instead of the previous one."""
        self.engine.connect(self.config, self.client.folders)

    def configured(self) -> None:
        """The settings may have changed."""
        old, self.config = self.config, self.settings.config
        self.board.trouble(self.settings.trouble)
        if self.config == old:
            return
        transport.set_log_level(self.config.log_level)
        self.project.disable(self.config.disabled_context)
        self.project.knowledge.disable(self.config.disabled_knowledge)
        self.board.changed()
        if self.config.enabled != old.enabled or settings.needs_new_link(old, self.config):
            self.connect()
        elif self.engine.link is not None:
            self.engine.link.configure(self.config)

    def folders_changed(self) -> None:
        """Take the workspace's folders from the documents."""
        paths = (folder_path(uri) for uri in self.documents.folders)
        self.project.set_folders([path for path in paths if path is not None and path.is_absolute()])

    def drop_suggestions(self, uri: str) -> None:
        """Stop everything that runs for a document."""
        self.latest.drop("inline", uri)
        self.latest.drop("popup", uri)

    def stop(self) -> None:
        """`shutdown` came, or the client is gone."""
        self.snooze.stop()
        self.pulling = None
        self.project.stop()
        self.focus.stop()
        self.board.stop()
        self.latest.clear()
        self.engine.spawn(asyncio.to_thread(self.outcomes.stop().close))
        self.engine.stop()

    def _facts(self) -> dict[str, Any]:
        """Return what midfill/status reports besides the engine's state."""
        knob = Knob(lambda: self.config, on_battery=lambda: self.battery.in_use)
        return {
            "eagerness": knob.level.name,
            "lines": self.config.lines,
            "on_battery": knob.on_battery,
            "snoozed_s": self.snooze.left_s,
            **({"learns_from_accepted": True} if self.config.learn_from_accepted and self.config.records else {}),
        }

    def _may_learn(self, uri: str) -> bool:
        """Whether the user lets midfill keep texts that were accepted in a document."""
        if not self.config.learn_from_accepted or (document := self.documents.get(uri)) is None:
            return False
        place = Snapshot(uri, 0, document.language, "", 0, name=self.documents.name_of(uri))
        return triggers.switched_off(place, self.config.disabled_languages, self.config.disabled_files) is None

    def _tell_rest(self, snapshot: Snapshot | None) -> None:
        if self.completer is not None:
            self.completer.rests(snapshot)
