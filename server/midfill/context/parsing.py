"""The child that parses: it returns the definitions of one text after the other over its pipes, as one JSON object per
line.

A grammar is C code that keeps Python's lock while it reads, for as long and with as much memory as the text requires.
In a process of its own, it takes neither from the language server. The process sets all the limits that the system has
for itself, gives way to everything else, and ends with its parent.
"""

from __future__ import annotations

import sys
from typing import Any

from midfill.context import definition, limits
from midfill.context.lines import answer_lines
from midfill.context.outline import outline


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of a text, or the name of the error that it caused."""
    limits.limit_time(limits.MAX_CPU_S)
    try:
        return {"definitions": definition.to_json(outline(message["text"], message["language"]))}
    except MemoryError:
        raise  # what is left of the process is of no use
    except Exception as error:  # noqa: BLE001 - one bad text must not end the child
        return {"error": type(error).__name__}
    finally:
        limits.limit_time(0.0)


def main() -> None:
    """Run the child: it reads requests from its standard input until that ends."""
    limits.take_least()
    limits.end_with_parent(int(sys.argv[1]))
    limits.limit_memory(limits.MAX_MEMORY)
    answer_lines(answer)


if __name__ == "__main__":
    main()
