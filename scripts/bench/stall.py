"""Measure how long the language server takes to answer while it indexes a workspace that is hard to parse.

    python -m scripts.bench.stall [--files 30] [--seconds 20] [--kinds plain,js,cpp,c,words,java] [--server FOLDER]
    python -m scripts.bench.stall --grammars [--only python,go] [--chars 199000]

Runs the real server over stdio with a scripted engine. For each kind of file, the workspace is a folder with files of
that kind. The bench opens a plain document, types into it and sends ``midfill/status`` every 10 ms. For each kind it
prints the response times and the peak memory of the server and its children; the last line is JSON.

``--server`` names the ``server`` folder of another commit, to compare with. ``--grammars`` gives each hard text to the
parser process in every grammar and prints how many texts ended the process; this takes an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.context import hostile

from midfill.bench.footprint import descendants, resident
from midfill.context.child import ChildEndedError
from midfill.context.kinds import KINDS
from midfill.context.parser import ParseProcess
from midfill.demo.client import OpenFile, ServerGone, ServerProcess
from midfill.eval.about import measured
from midfill.eval.figures import percentile

LINE = "total = value_{} + other(1)\n"
MAX_GB = 4.0  # the server is stopped at this, before it exhausts the machine


def files(kind: str, n: int) -> dict[str, str]:
    """Return the workspace of one kind."""
    plain = "".join(f"int f{i}(int *a, int b) {{ return a[b] * {i} + f{i}(a, b - 1); }}\n" for i in range(4000))
    texts = {
        "js": "'''\n" * 48_000,
        "cpp": hostile.text("cpp", "a<", "wide", 180_000),
        "java": hostile.text("java", "A<", "wide", 180_000),
        "c": plain[:195_000],
        "words": " ".join(f"w{i:05x}" for i in range(27_000)).replace("0 ", "0\n"),
        "plain": "def f(a, b):\n    return a + b\n" * 10,
    }
    ending = {"words": "py", "plain": "py"}.get(kind, kind)
    return {f"m{i:03}.{ending}": texts[kind].replace("w0", f"w{i:03}") for i in range(n)}


def memory_gb(pid: int) -> tuple[float, float]:
    """Return the memory of a process, and of its children together."""
    return resident(pid) or 0.0, sum(resident(child) or 0.0 for child in descendants(pid))


async def measure(kind: str, n: int, seconds: float) -> dict[str, Any]:
    """Measure what one workspace does to the answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "workspace"
        root.mkdir()
        for path, text in files(kind, n).items():
            (root / path).write_text(text, encoding="utf-8")
        for one in ("CONFIG", "CACHE", "DATA", "STATE", "RUNTIME"):
            os.environ[f"MIDFILL_{one}_DIR"] = str(folder / one)
        (folder / "script.json").write_text(json.dumps({"chunks": ["a", " + b"], "delay_s": 0.01}), encoding="utf-8")
        os.environ["MIDFILL_SCRIPT"] = str(folder / "script.json")
        async with ServerProcess.start() as client:
            return await _measure(client, root, kind, seconds)


async def _measure(client: ServerProcess, root: Path, kind: str, seconds: float) -> dict[str, Any]:
    await client.initialize(root.as_uri())
    typed = "def work(value):\n    "
    file = OpenFile(client, "untitled:typed.py", typed)
    times: list[float] = []
    most = (0.0, 0.0)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        start = time.monotonic()
        if len(times) % 10 == 0:
            file.insert(typed, "x")
        try:
            await client.request("midfill/status")
        except ServerGone:
            break
        times.append(time.monotonic() - start)
        own, children = memory_gb(client.pid)
        most = (max(most[0], own), max(most[1], children))
        if own + children > MAX_GB:
            client._process.kill()
            break
        await asyncio.sleep(0.01)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        "kind": kind,
        "n": len(times),
        **{f"{name}_ms": round(1000 * (percentile(times, share) or 0.0), 1) for name, share in shares.items()},
        "server_mb": round(most[0] * 1000),
        "children_mb": round(most[1] * 1000),
        "ended_early": time.monotonic() - began < seconds,
    }


def grammars(n_chars: int, only: Sequence[str]) -> list[dict[str, Any]]:
    """Run each grammar of ``only`` on its hard texts; return how many ended the child, and the maxima of the others."""
    found = []
    for language in only:
        child, ended, most_s, most = ParseProcess(), [], 0.0, 0.0
        n = 0
        for unit, shape, text in hostile.every(language, n_chars):
            n += 1
            start = time.monotonic()
            try:
                child.outline(language, text)
            except ChildEndedError as error:
                ended.append(f"{unit!r} {shape}: {error}")
                child.end()
                child = ParseProcess()
            else:
                most_s = max(most_s, time.monotonic() - start)
                most = max(most, memory_gb(child.pid)[0])
        child.end()
        found.append(
            {"language": language, "n": n, "most_s": round(most_s, 2), "most_mb": round(most * 1000), "ended": ended}
        )
        print(
            language,
            n,
            "texts; the longest",
            round(most_s, 2),
            "s,",
            round(most * 1000),
            "MB; ended:",
            *ended,
            flush=True,
        )
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--kinds", default="plain,js,cpp,c,words,java")
    parser.add_argument("--server")
    parser.add_argument("--grammars", action="store_true")
    parser.add_argument("--only", help="only these grammars, separated by commas")
    parser.add_argument("--chars", type=int, default=199_000)
    options = parser.parse_args()
    if options.server:
        os.environ["PYTHONPATH"] = options.server
    if options.grammars:
        only = options.only.split(",") if options.only else sorted(KINDS)
        if unknown := sorted(set(only) - set(KINDS)):
            parser.error(f"no grammar is called {', '.join(unknown)}; there are {', '.join(sorted(KINDS))}")
        print(json.dumps(measured("stall --grammars", {"grammars": grammars(options.chars, only)})))
        return
    found = []
    for kind in options.kinds.split(","):
        found.append(asyncio.run(measure(kind, options.files, options.seconds)))
        print(*(f"{name} {value}" for name, value in found[-1].items()), sep="  ", flush=True)
    print(json.dumps(measured("stall", {"kinds": found})))


if __name__ == "__main__":
    main()
