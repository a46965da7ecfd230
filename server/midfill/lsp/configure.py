"""Settings that the client sends, and the request for settings that it keeps (``workspace/configuration``)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from midfill.lsp.protocol import Params
from midfill.lsp.session import Session

REGISTERED = "midfill-configuration"


def initialized(session: Session, params: Params) -> None:
    """initialized: from now on the server may send requests to the client."""
    if session.client.registers:
        # A client that answers requests only has to report the change; any other client sends the section.
        options = {} if session.client.pulls else {"section": "midfill"}
        method = "workspace/didChangeConfiguration"
        registration = {"id": REGISTERED, "method": method, "registerOptions": options}
        session.protocol.send_request("client/registerCapability", {"registrations": [registration]})
    pull(session)


def did_change_configuration(session: Session, params: Params) -> None:
    """workspace/didChangeConfiguration. If it holds nothing for midfill, ask the client."""
    if session.settings.tell(params.get("settings"), "didChangeConfiguration"):
        session.configured()
    else:
        pull(session)


def pull(session: Session) -> None:
    """Ask the client for the section, if it answers such requests. Nothing waits for the answer; it may never come."""
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
