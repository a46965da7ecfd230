"""Tables: SOURCES.md says what was taken from which package, the README lists what sources.toml requests.

``python -m scripts.embedded_adapter.report`` rewrites the README's table.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .sources import Source, read_sources

README = Path(__file__).with_name("README.md")
MARK = "<!-- written by report.py -->\n"
Row = tuple[Source, int, int]  # files, bytes


def as_markdown(rows: Iterable[Row]) -> str:
    """Return SOURCES.md."""
    rows = sorted(rows, key=lambda row: _order(row[0]))
    blocks = [
        "# Sources\n",
        "Written by `scripts/embedded_adapter/fetch.py`; each package's licence files lie beside its code.\n",
        _languages(rows),
    ]
    for use in ("train", "held-out"):
        cells = [
            (source.language, source.name, source.version, source.index, source.licence, n_files, n_bytes)
            for source, n_files, n_bytes in rows
            if source.use == use
        ]
        blocks += [
            f"## {use}\n",
            _table(["language", "package", "version", "index", "licence", "files", "bytes"], cells),
        ]
    return "\n".join(blocks)


def sources_table(sources: Iterable[Source]) -> str:
    """Return the README's list."""
    cells = [
        (source.use, source.language, source.name, source.version, source.index, source.licence, source.limit_kb)
        for source in sorted(sources, key=_order)
    ]
    return _table(["use", "language", "package", "version", "index", "licence", "at most, kB"], cells)


def write_readme() -> None:
    """Put the list into the README, below its mark."""
    head, _, _ = README.read_text(encoding="utf-8").partition(MARK)
    README.write_text(head + MARK + "\n" + sources_table(read_sources()), encoding="utf-8")


def _order(source: Source) -> tuple[bool, str, str]:
    return source.use != "train", source.language, source.name.lower()


def _languages(rows: list[Row]) -> str:
    total = sum(n_bytes for source, _, n_bytes in rows if source.use == "train") or 1
    cells = []
    for language in [*sorted({source.language for source, _, _ in rows}), "all"]:
        of = [row for row in rows if language in (row[0].language, "all")]
        train = [row for row in of if row[0].use == "train"]
        held_out = [row for row in of if row[0].use != "train"]
        share = f"{sum(row[2] for row in train) / total:.0%}"
        cells.append((language, *_sums(train), share, *_sums(held_out)))
    head = ["language", "train: packages", "files", "bytes", "share", "held-out: packages", "files", "bytes"]
    return _table(head, cells)


def _sums(rows: list[Row]) -> tuple[int, int, int]:
    return len(rows), sum(row[1] for row in rows), sum(row[2] for row in rows)


def _table(head: list[str], cells: Iterable[tuple[object, ...]]) -> str:
    lines = [head, ["---"] * len(head), *(map(str, row) for row in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    write_readme()
