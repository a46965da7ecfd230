"""The child that parses: it returns the definitions of one text after the other over its pipes, as one JSON object per
line.

A grammar is C code that keeps Python's lock while it reads, for as long and with as much memory as the text requires.
In a process of its own, it takes neither from the language server. The process sets all the limits that the system has
for itself, gives way to everything else, and ends with its parent.
"""

from __future__ import annotations

from typing import Any

from midfill.context import definition, limits
from midfill.context.lines import run_child
from midfill.context.outline import outline


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of a text. May raise anything."""
    return {"definitions": definition.to_json(outline(message["text"], message["language"]))}


def main() -> None:
    """Run the child: it reads requests from its standard input until that ends."""
    run_child(answer, memory=limits.MAX_MEMORY, cpu_s=limits.MAX_CPU_S)


if __name__ == "__main__":
    main()
