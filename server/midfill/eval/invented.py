"""Finds shown suggestions that name a member which the receiver lacks: a type checker judges the completed files.

Every suggestion is written to a file of its own, next to the one with its hole, so one run of the checker judges all. A
complaint counts if it is about a member in the inserted text and the checker does not have it about the text that was
taken out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from midfill.eval.repository import copied
from midfill.eval.run import Record
from midfill.types import MidfillError

METRIC = "invented"  # of a record that shows something: 1 if it names a member that does not exist
TIMEOUT_S = 900.0
PYTHON, SCRIPT = "python", "typescript"  # the languages that can be checked
LANGUAGES = {"python": PYTHON, "typescript": SCRIPT, "typescriptreact": SCRIPT}
_ID = re.compile(r"(.+):(\d+)-(\d+):[\w-]+\Z")
_TSC = re.compile(r"^(\S[^(\n]*)\((\d+),(\d+)\): error TS(?:2339|2551): (.*)$", re.MULTILINE)
_NO_TYPE = re.compile(r"on type '(?:never|unknown|void)'")
TSC_OPTIONS = (
    "--noEmit", "--pretty", "false", "--strict", "--skipLibCheck", "--allowJs", "--experimentalDecorators",
    "--jsx", "preserve", "--target", "esnext", "--module", "esnext", "--moduleResolution", "bundler",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Completed:
    """A file with ``text[start:end]`` put into its hole, and the path it is written to."""

    path: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Denied:
    """A member that does not exist, according to a checker; ``line`` from 0, ``column`` in UTF-16 units."""

    path: str
    line: int
    column: int


Check = Callable[[Path, Sequence[str]], Iterator[Denied]]


def judged(root: Path, records: Sequence[Record], checks: Mapping[str, Check]) -> list[Record]:
    """Return those of ``records`` (of the repository ``root``) that can be checked, each with the invented members of
    what it shows.

    ``checks``: by PYTHON and SCRIPT. Raises MidfillError.
    """
    found = [record for record in records if LANGUAGES.get(record["language"]) in checks]
    with copied(root) as workspace:
        files: dict[tuple[str, str], Completed] = {}  # by hole and inserted text
        for record in found:
            for text in (record["text"], record["middle"]) if record["text"].strip() else ():
                key = (record["id"], text)
                if key not in files:
                    files[key] = _written(workspace.folder, workspace.texts, record["id"], text, len(files))
        missing = _missing(workspace.folder, files, checks)
    return [_with_metric(record, missing) for record in found]


def _written(folder: Path, texts: Mapping[str, str], id: str, text: str, n: int) -> Completed:
    match = _ID.match(id)
    if match is None or match[1] not in texts:
        raise MidfillError(f"{id[:60]!r} is not a hole of this folder", "name the folder that these answers belong to")
    whole, start, end = texts[match[1]], int(match[2]), int(match[3])
    path = PurePosixPath(match[1])
    name = path.with_name(f"hole_{n}_{path.name}").as_posix()
    completed = Completed(name, whole[:start] + text + whole[end:], start, start + len(text))
    (folder / name).write_text(completed.text, encoding="utf-8", newline="")
    return completed


def _missing(
    folder: Path, files: Mapping[tuple[str, str], Completed], checks: Mapping[str, Check]
) -> dict[tuple[str, str], list[str]]:
    """Return the members that each file's inserted text names although they do not exist."""
    keys = {completed.path: key for key, completed in files.items()}
    found: dict[tuple[str, str], list[str]] = {key: [] for key in files}
    for language, check in checks.items():
        paths = [path for path in keys if (path.endswith((".py", ".pyi"))) == (language == PYTHON)]
        for complaint in check(folder, paths) if paths else ():
            if (key := keys.get(complaint.path)) is not None and (name := _member(files[key], complaint)):
                found[key].append(name)
    return found


def _member(completed: Completed, complaint: Denied) -> str:
    """Return the member that a complaint is about, if the inserted text accesses it; otherwise ""."""
    lines = completed.text.split("\n")
    if complaint.line >= len(lines):
        return ""
    line = lines[complaint.line]
    column = len(line.encode("utf-16-le")[: 2 * complaint.column].decode("utf-16-le", "ignore"))
    at = sum(len(one) + 1 for one in lines[: complaint.line]) + column
    word = re.match(r"#?[\w$]+", line[column:])
    behind = completed.text[:at].rstrip(" \t\r\n\\").endswith(".")
    is_inserted = completed.start <= at + (len(word[0]) if word else 0) - 1 < completed.end
    return word[0] if word is not None and behind and is_inserted else ""


def _with_metric(record: Record, missing: Mapping[tuple[str, str], Sequence[str]]) -> Record:
    if not record["text"].strip():
        return {**record, "metrics": {**record["metrics"], "shown": 0.0}}
    right = missing[(record["id"], record["middle"])]
    names = [name for name in missing[(record["id"], record["text"])] if name not in right]
    return {**record, "metrics": {**record["metrics"], METRIC: float(bool(names))}, "members": names}


def pyright(command: str) -> Check:
    """Return a check of Python by pyright's command line."""

    def check(folder: Path, paths: Sequence[str]) -> Iterator[Denied]:
        settings = {
            "include": list(paths), "extraPaths": [".", "src"], "typeCheckingMode": "off",
            "reportAttributeAccessIssue": "error",
        }  # fmt: skip
        (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        said = _run([command, "--outputjson", "-p", str(folder)], folder)
        yield from _of_pyright(said, folder)

    return check


def _of_pyright(said: str, folder: Path) -> Iterator[Denied]:
    try:
        found: list[dict[str, Any]] = json.loads(said)["generalDiagnostics"]
    except (ValueError, KeyError, TypeError) as error:
        raise MidfillError("pyright's output cannot be read", "run it by hand in the folder") from error
    for one in found:
        if one.get("rule") == "reportAttributeAccessIssue":
            start = one["range"]["start"]
            path = Path(one["file"]).relative_to(folder).as_posix()
            yield Denied(path, int(start["line"]), int(start["character"]))


def tsc(command: str) -> Check:
    """Return a check of TypeScript by its compiler."""

    def check(folder: Path, paths: Sequence[str]) -> Iterator[Denied]:
        for path, line, column, message in _TSC.findall(_run([command, *TSC_OPTIONS, *paths], folder)):
            if not _NO_TYPE.search(message):
                yield Denied(path, int(line) - 1, int(column) - 1)

    return check


def _run(command: Sequence[str], folder: Path) -> str:
    """Return what a checker prints; its exit code says only that it has complaints."""
    program = shutil.which(command[0]) or command[0]
    try:
        done = subprocess.run(  # noqa: S603 - the checker that was named
            [str(Path(program).absolute()), *command[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MidfillError(f"cannot run {command[0]}: {error}", "name it with --pyright or --tsc") from error
    return done.stdout
