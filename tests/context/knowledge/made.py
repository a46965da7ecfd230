"""What is known at a place, once every request for it was answered."""

from __future__ import annotations

from midfill.context.knowledge.names import Known
from midfill.context.knowledge.store import Knowledge
from midfill.types import Snapshot

PATIENCE_S = 120.0


def ask(knowledge: Knowledge, snapshot: Snapshot) -> Known:
    knowledge.look(snapshot)
    assert knowledge.settle(PATIENCE_S)
    return knowledge.at(snapshot)
