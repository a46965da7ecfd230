"""Settings that the client tells, and the asking for those that it only keeps ready (``workspace/configuration``)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from midfill.lsp.protocol import Params
from midfill.lsp.session import Session

REGISTERED = "midfill-configuration"


def initialized(session: Session, params: Params) -> None:
    """initialized: the client can be asked now."""
    if session.client.registers:
        # Where it can be asked, the bare news is enough; else it sends the section.
        options = {} if session.client.pulls else {"section": "midfill"}
        method = "workspace/didChangeConfiguration"
        registration = {"id": REGISTERED, "method": method, "registerOptions": options}
        session.protocol.send_request("client/registerCapability", {"registrations": [registration]})
    pull(session)


def did_change_configuration(session: Session, params: Params) -> None:
    """workspace/didChangeConfiguration. Where it says nothing of midfill, the client is asked."""
    if session.settings.tell(params.get("settings"), "didChangeConfiguration"):
        session.configured()
    else:
        pull(session)


def pull(session: Session) -> None:
    """Ask for the section, where the client offers that. Nothing waits for the answer: it may never come."""
    if not session.client.pulls:
        return
    if session.pulling is not None:
        session.protocol.forget_request(session.pulling)
    answer = session.pulling = session.protocol.send_request(
        "workspace/configuration", {"items": [{"section": "midfill"}]}
    )
    answer.add_done_callback(lambda done: _pulled(session, done))


def _pulled(session: Session, answer: Future[Any]) -> None:
    if answer is not session.pulling:
        return
    session.pulling = None
    if answer.cancelled() or answer.exception() is not None:
        return
    result = answer.result()
    session.settings.pulled(result[0] if isinstance(result, list) and result else None)
    session.configured()
