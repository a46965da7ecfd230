"""Settings that the client tells, and the asking for those that it only keeps ready (``workspace/configuration``)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from midfill.lsp import settings, transport
from midfill.lsp.protocol import Params

if TYPE_CHECKING:
    from midfill.lsp.server import MidfillServer

REGISTERED = "midfill-configuration"


def initialized(ls: MidfillServer, params: Params) -> None:
    """initialized: the client can be asked now."""
    if ls.client.registers:
        # Where it can be asked, the bare news is enough; else it sends the section.
        options = {} if ls.client.pulls else {"section": "midfill"}
        method = "workspace/didChangeConfiguration"
        registration = {"id": REGISTERED, "method": method, "registerOptions": options}
        ls.protocol.send_request("client/registerCapability", {"registrations": [registration]})
    pull(ls)


def did_change_configuration(ls: MidfillServer, params: Params) -> None:
    """workspace/didChangeConfiguration. Where it says nothing of midfill, the client is asked."""
    if ls.settings.tell(params.get("settings"), "didChangeConfiguration"):
        apply(ls)
    else:
        pull(ls)


def pull(ls: MidfillServer) -> None:
    """Ask for the section, where the client offers that. Nothing waits for the answer: it may never come."""
    if not ls.client.pulls:
        return
    if ls.pulling is not None:
        ls.protocol.forget_request(ls.pulling)
    answer = ls.pulling = ls.protocol.send_request("workspace/configuration", {"items": [{"section": "midfill"}]})
    answer.add_done_callback(lambda done: _pulled(ls, done))


def _pulled(ls: MidfillServer, answer: Future[Any]) -> None:
    if answer is not ls.pulling:
        return
    ls.pulling = None
    if answer.cancelled() or answer.exception() is not None:
        return
    result = answer.result()
    ls.settings.pulled(result[0] if isinstance(result, list) and result else None)
    apply(ls)


def apply(ls: MidfillServer) -> None:
    """The settings may be others now."""
    old, ls.config = ls.config, ls.settings.config
    ls.board.trouble(ls.settings.trouble)
    if ls.config == old:
        return
    transport.set_log_level(ls.config.log_level)
    ls.project.set_off(ls.config.context_off)
    ls.board.changed()
    if ls.config.enabled != old.enabled or settings.needs_new_link(old, ls.config):
        ls.connect()
    elif ls.link is not None:
        ls.link.configure(ls.config)
