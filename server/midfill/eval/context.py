"""The other files, as the language server's context knows them while the user works in one file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from midfill.completer import Completer
from midfill.context.keeper import OpenDocument
from midfill.context.workspace import Workspace
from midfill.eval.servers import LanguageServer
from midfill.types import MidfillError, Snapshot

SERVER_S = 3.0  # the other language server is asked again for this long while it returns no names
READ_S = 60.0  # longest time that reading a project may take


class ProjectContext:
    """Feeds one completer from the project in ``folder`` (absolute). All methods wait for the context's thread, unless
    they say otherwise."""

    def __init__(self, completer: Completer, folder: Path, server: LanguageServer | None = None) -> None:
        """``server``: another language server that an editor would run for these files."""
        self._completer, self._folder, self._server = completer, folder, server
        self._workspace = Workspace()

    def open(self, snapshot: Snapshot) -> None:
        """Start again: read the project from disk, except this file, which is open. Raises MidfillError."""
        self.close()
        self._workspace = Workspace(
            disabled_context=self._completer.config.disabled_context,
            disabled_knowledge=self._completer.config.disabled_knowledge,
            budget=self._completer.snippet_budget,
        )
        self._workspace.knowledge.settle_s = 0.0  # the server was asked until its answers were steady
        self._workspace.opened(self._document(snapshot))  # first, so that its text on disk is never read
        self._workspace.set_folders([self._folder])
        if not self._workspace.prepare(snapshot, READ_S):
            raise MidfillError(
                f"{self._folder.name} could not be read within {READ_S:.0f} s", "choose a smaller folder"
            )
        self._completer.sources = (self._workspace,)
        if self._server is not None:
            self._server.show(snapshot)
            for at in self._workspace.knowledge.wanted(snapshot):
                names, is_complete = self._server.names(snapshot, at, SERVER_S if at == snapshot.cursor else 0.0)
                place = dataclasses.replace(snapshot, cursor=at)
                self._workspace.knowledge.told(place, names, is_complete=is_complete)
            if (call := self._workspace.knowledge.wanted_call(snapshot)) is not None:
                self._workspace.knowledge.told_call(snapshot, self._server.signatures(snapshot, call))
            if unresolved := self._workspace.unresolved(snapshot):
                for one in unresolved:
                    targets, hover = self._server.definition(snapshot, one.at, of_type=one.of_type)
                    self._workspace.resolved(dataclasses.replace(snapshot, cursor=one.at), targets, hover)
                self._workspace.prepare(snapshot, READ_S)
            self._workspace.settle(READ_S)

    def changed(self, snapshot: Snapshot) -> None:
        """The user typed. Does not wait."""
        self._workspace.changed(self._document(snapshot), snapshot.cursor)

    def close(self) -> None:
        """Stop the thread."""
        self._completer.sources = ()
        self._workspace.stop()

    def _document(self, snapshot: Snapshot) -> OpenDocument:
        where = self._folder / snapshot.path
        return OpenDocument(snapshot.uri, where, snapshot.path, snapshot.language, snapshot.text)
