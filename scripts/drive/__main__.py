"""Type small projects into the real editors and report what a user would have seen: ``python -m scripts.drive``.

docs/drive.md says what is judged, and how."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.editors.vscode.workbench import missing_tool

from midfill.eval import about
from scripts.drive import home, neovim, report, vscode
from scripts.drive.film import went_back
from scripts.drive.script import LANGUAGES, read
from scripts.drive.session import LOOK_S, Session

EDITORS: dict[str, Callable[..., Any]] = {"vscode": vscode.window, "nvim": neovim.window}


def main() -> int:
    """Drive; return 1 if the text did not become what was to be written, 2 if VS Code is missing."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the engine is stopped in any case
    editors = list(EDITORS) if arguments.editor == "both" else [arguments.editor]
    if "vscode" in editors and (missing := missing_tool()):
        print(f"{missing} is missing: make drive installs it", file=sys.stderr)
        return 2
    projects = [arguments.project] if arguments.project else list(LANGUAGES)
    where = {
        "commit": about.commit(),
        **about.machine(),
        "load": os.getloadavg(),
        "seed": arguments.seed,
        "look_s": arguments.look,
    }
    print(
        f"{where['cpu']}, {where['cores']} cores, {where['system']}; commit {where['commit']}; load {_load()}",
        flush=True,
    )
    each_s = 60 * arguments.minutes / (len(editors) * len(projects)) if arguments.minutes else float("inf")
    done: list[report.Done] = []
    for editor in editors:
        with tempfile.TemporaryDirectory(prefix="drive-", ignore_cleanup_errors=True) as folder:
            env = home.environment(Path(folder))
            try:
                for name in projects:
                    print(f"{editor}, {name} (load {_load()})", flush=True)
                    done.append(_drive(editor, name, Path(folder), env, each_s, arguments))
                    traces = [look.trace for look in done[-1].record.looks if look.trace.get("model")]
                    where |= {key: traces[-1].get(key, "") for key in ("model", "adapter")} if traces else {}
                    report.write(arguments.out, done, {**where, "load_end": os.getloadavg()})
            finally:
                home.end_engines(env)
    adapter = where.get("adapter") or "none"
    print(f"model {where.get('model', '?')}, adapter {adapter}; load {_load()}; {arguments.out}")
    print("\n".join(["", *report.table(done), "", *report.facts(done)]))
    return int(any(d.record.faults for d in done))


def _drive(
    editor: str, name: str, home_folder: Path, env: dict[str, str], each_s: float, arguments: argparse.Namespace
) -> report.Done:
    """Type one project into one editor."""
    project = read(name)
    folder = home_folder / name
    folder.mkdir()
    start = time.monotonic()
    files = {file.name: file.text(()) for file in project.files}
    with EDITORS[editor](folder, files, env) as hands:
        hands.begin(project.files[0].name)
        engine_s = time.monotonic() - start
        session = Session(
            hands, project, arguments.seed, lambda: home.last_trace(env), lambda line: print(line, flush=True),
            arguments.look,
        )  # fmt: skip
        record = session.run(time.monotonic() + each_s)
        film = hands.film()
        arguments.out.mkdir(parents=True, exist_ok=True)
        hands.shot(arguments.out / f"{editor}-{name}.png")
    seconds = time.monotonic() - start
    return report.Done(editor, name, project.language, record, went_back(film), len(film.frames), seconds, engine_s)


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.drive", description=__doc__)
    parser.add_argument("--editor", choices=[*EDITORS, "both"], default="both")
    parser.add_argument("--project", choices=list(LANGUAGES), help="type only this project (default: all)")
    parser.add_argument("--minutes", type=float, default=15.0, help="longest session (15); 0: type everything")
    parser.add_argument("--seed", type=int, default=1, help="seed of the times between keys")
    parser.add_argument(
        "--look",
        type=float,
        default=LOOK_S,
        help="longest look in seconds; set more on a busy machine",
    )
    parser.add_argument("--out", type=Path, default=Path("build/drive"), help="folder for the JSON lines and pictures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
