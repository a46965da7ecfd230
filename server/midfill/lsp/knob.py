"""What the user changes while working: eagerness, a pause, a dismissed suggestion; and the commands for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from midfill.config import EAGERNESS
from midfill.lsp import convert
from midfill.lsp.documents import unix
from midfill.lsp.outcomes import id_in
from midfill.lsp.protocol import InvalidParams, Params
from midfill.lsp.session import Session

SNOOZE, SET_EAGERNESS = "midfill.snooze", "midfill.setEagerness"
COMMANDS = (convert.ACCEPTED, SNOOZE, SET_EAGERNESS)


def snooze(session: Session, arguments: Sequence[Any]) -> None:
    """midfill.snooze [minutes]. Raises InvalidParams."""
    minutes = arguments[0] if len(arguments) == 1 else None
    if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not 0 <= minutes < math.inf:
        raise InvalidParams
    session.snooze.start(minutes)


def set_eagerness(session: Session, arguments: Sequence[Any]) -> None:
    """midfill.setEagerness [name]: for this session. Raises InvalidParams."""
    name = arguments[0] if len(arguments) == 1 else None
    if name not in EAGERNESS:
        raise InvalidParams
    session.settings.tell({"midfill": {"eagerness": name}}, SET_EAGERNESS)
    session.configured()


def dismissed(session: Session, params: Params) -> None:
    """midfill/dismissed {textDocument, position, text}: the user dismissed ``text``, shown at ``position``."""
    uri, position, text = convert.read_uri(params), convert.read_position(params.get("position")), params.get("text")
    if not isinstance(text, str):
        raise InvalidParams
    session.outcomes.dismissed(uri, unix(text))
    snapshot = session.documents.at(uri, *position)
    if snapshot is not None and session.completer is not None:
        session.completer.dismiss(snapshot, unix(text))


def execute_command(session: Session, params: Params) -> Any:
    """workspace/executeCommand. Raises InvalidParams for an unknown command."""
    command, arguments = params.get("command"), params.get("arguments")
    arguments = arguments if isinstance(arguments, list) else []
    if command == SNOOZE:
        snooze(session, arguments)
    elif command == SET_EAGERNESS:
        set_eagerness(session, arguments)
    elif command != convert.ACCEPTED:
        raise InvalidParams
    elif (id := id_in(arguments)) is not None:
        index = arguments[1] if len(arguments) > 1 else 0
        session.outcomes.accepted(id, index if type(index) is int and index >= 0 else 0)
