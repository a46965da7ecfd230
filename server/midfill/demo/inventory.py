"""Keeps track of what is in the shop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Item:
    name: str
    price: float
    quantity: int = 0

    def total(self) -> float:


class Inventory:
    def __init__(self) -> None:
        self.items: dict[str, Item] = {}

    def add(self, item: Item) -> None:
        self.items[item.name] = item

    def total(self) -> float:
        """What everything in the shop is worth."""


def load(path: Path) -> Inventory:
    inventory = Inventory()
    for entry in json.loads(path.read_text()):

    return inventory
