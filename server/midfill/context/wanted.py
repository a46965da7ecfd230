"""Names that the text at the cursor probably begins with: those that the file imports and says nowhere else."""

from __future__ import annotations

import re

from midfill.context.imports import imports_of
from midfill.context.kinds import family
from midfill.types import Snapshot

MAX_TEXT = 200_000
# A file with more of them collects names for others (``__init__.py``), and none is more likely than the rest.
MAX_NAMES = 6
_WORD = re.compile(r"[^\W\d]\w*")
_IMPORT = re.compile(r"\s*(?:import|from|use|using|require|export|#include|package)\b")


def wanted(snapshot: Snapshot) -> tuple[str, ...]:
    """Unused imports, where an expression goes on: not behind a dot, nor at the beginning of a line."""
    before = snapshot.line_before
    if not before.strip() or before.rstrip().endswith((".", "->", "::")) or _IMPORT.match(before):
        return ()
    text = snapshot.text if len(snapshot.text) <= MAX_TEXT else ""
    names = {name for one in imports_of(text, snapshot.path, family(snapshot.language)) for name in one.names}
    if not names:
        return ()
    counts = dict.fromkeys(names, 0)
    for word in _WORD.findall(text):
        if word in counts:
            counts[word] += 1
    unused = sorted(name for name, n in counts.items() if n == 1 and len(name) > 1 and name.isidentifier())
    return tuple(unused) if len(unused) <= MAX_NAMES else ()
