"""The results of an adapter's nights, as lines of JSON in its data folder, and where the next night continues."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from midfill import paths

MAX_NIGHTS = 1000  # the last ones
MAX_BYTES = 4 << 20
HISTORY, STATE = "history.jsonl", "state.json"
Kind = Literal["promoted", "refused", "unchanged", "unfinished", "failed", "kept", "rolled back", "worse"]
# Results of judging a promoted adapter's acceptance; every other kind is the result of a night.
JUDGED: tuple[Kind, ...] = ("kept", "rolled back", "worse")
PLOT_HEIGHT, PLOT_WIDTH = 8, 60


@dataclass(frozen=True, slots=True)
class Entry:
    """A night, or what the records showed about an adapter after a week. Losses in nats
    per token, at held-out middles."""

    at: float  # seconds since 1970
    kind: Kind
    reason: str = ""
    steps: int = 0
    minutes: float = 0.0  # of training and measuring
    n_stops: int = 0  # how often it gave way
    before: float | None = None
    after: float | None = None
    digest: str = ""  # of the new adapter
    against: str = ""  # name of the adapter it was compared with; ``replaced`` is its digest
    replaced: str = ""
    served: str = ""  # digest of the new adapter on top of the one it was trained on, as the records have it
    served_before: str = ""  # the same of what it was compared with; empty for an adapter that stands alone
    judged: tuple[str, ...] = ()  # digests of promoted adapters, for the kinds of JUDGED


@dataclass(frozen=True, slots=True)
class State:
    """``done``: the texts (by digest) and the model that a night has judged last.

    ``run``: the name of the run to continue; ``trained``: what an adapter that is not judged yet was trained from.
    """

    done: str = ""
    run: str = ""
    trained: str = ""


def folder(name: str) -> Path:
    """Return the folder of an adapter's nights: checkpoints, the adapter being judged, history."""
    return paths.data_dir() / "training" / name / "nights"


def read(name: str) -> list[Entry]:
    """Return the entries, the oldest first; a damaged line is left out."""
    found = []
    with contextlib.suppress(OSError):
        with (folder(name) / HISTORY).open("rb") as stream:
            lines = stream.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
                found.append(_entry(json.loads(line)))
    return found


def _entry(values: Mapping[str, Any]) -> Entry:
    known = {field.name: values[field.name] for field in dataclasses.fields(Entry) if field.name in values}
    entry = Entry(**{**known, "judged": tuple(known.get("judged", ()))})
    numbers = (entry.at, entry.minutes, entry.steps, entry.n_stops, entry.before or 0.0, entry.after or 0.0)
    if entry.kind not in get_args(Kind) or not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("no entry")
    time.localtime(entry.at)  # raises an error if it is no time
    return entry


def add(name: str, entry: Entry) -> None:
    """Append an entry. Of several nights without changes, only the last is kept. Raises OSError, MidfillError."""
    entries = read(name)
    if entries and entry.kind == entries[-1].kind == "unchanged":
        entries.pop()
    lines = [json.dumps(dataclasses.asdict(one)) + "\n" for one in [*entries, entry][-MAX_NIGHTS:]]
    _write(paths.private_dir(folder(name)) / HISTORY, "".join(lines))


def state(name: str) -> State:
    """Return where the next night continues; an empty State if that is not known."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        values = json.loads((folder(name) / STATE).read_text(encoding="utf-8"))
        return State(*(str(values[field.name]) for field in dataclasses.fields(State)))
    return State()


def keep(name: str, state: State) -> None:
    """Store ``state``. Raises OSError, MidfillError."""
    _write(paths.private_dir(folder(name)) / STATE, json.dumps(dataclasses.asdict(state)))


def forget(name: str) -> None:
    """Forget the state, as the adapter is gone: the next night learns from all texts,
    changed or not. The history stays."""
    with contextlib.suppress(OSError):
        (folder(name) / STATE).unlink()


def _write(file: Path, text: str) -> None:
    work = file.with_suffix(f".{os.getpid()}.tmp")
    with os.fdopen(os.open(work, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    work.replace(file)


def n_steps(name: str) -> int:
    """Return the steps in the last checkpoint of the run to continue."""
    found = [one.name.rpartition("-")[2] for one in folder(name).glob("checkpoint-[0-9]*")]
    return max((int(number) for number in found if number.isdecimal()), default=0)


# ---- for people ------------------------------------------------------------------------------------------------------


def table(entries: Sequence[Entry]) -> str:
    """Return a table with one line for each entry."""
    rows = [("night", "steps", "minutes", "gave way", "loss before", "after", "")]
    rows += [
        (
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one.at)), str(one.steps or "-"), f"{one.minutes:.0f}",
            str(one.n_stops), _loss(one.before), _loss(one.after), one.kind + (f": {one.reason}" if one.reason else ""),
        )
        for one in entries
    ]  # fmt: skip
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:]), row[-1]]).rstrip() for row in rows
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def plot(entries: Sequence[Entry]) -> str:
    """Return the held-out loss over the nights that measured it, as a plot for a terminal: ``o`` promoted,
    ``.`` not. "" for fewer than two."""
    known = [(one.after, one.kind == "promoted") for one in entries if one.after is not None][-PLOT_WIDTH:]
    if len(known) < 2:
        return ""
    values = [value for value, _ in known]
    low, high = min(values), max(values)
    step = (high - low) / (PLOT_HEIGHT - 1) or 1.0
    rows = [[" "] * len(known) for _ in range(PLOT_HEIGHT)]
    for at, (value, promoted) in enumerate(known):
        rows[round((high - value) / step)][at] = "o" if promoted else "."
    labels = {0: f"{high:.3f}", PLOT_HEIGHT - 1: f"{low:.3f}"}
    lines = [f"{labels.get(at, ''):>7} |{''.join(row)}".rstrip() for at, row in enumerate(rows)]
    return "\n".join(["held-out loss, nats a token (o promoted, . not)", *lines])
