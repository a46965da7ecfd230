"""midfill folders of a drive's own: a user who has configured only the embedded model."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.editors.tools import REPOSITORY

from midfill import paths


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of an editor, and so of the server and of the engine that it starts."""
    names = ("CONFIG", "DATA", "STATE", "RUNTIME")
    own = {f"MIDFILL_{name}_DIR": str(folder / name.lower()) for name in names}
    for path in own.values():
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(own["MIDFILL_CONFIG_DIR"], "config.toml").write_text('model = "embedded"\n', encoding="utf-8")
    return {**own, "MIDFILL_CACHE_DIR": str(paths.cache_dir()), "PYTHONPATH": str(REPOSITORY / "server")}


def program(folder: Path, log: Path) -> Path:
    """Write a program that is midfill and logs the messages between the server and the editor; return its path."""
    file = folder / "midfill"
    tap = REPOSITORY / "tests/editors/wiretap.py"
    words = [sys.executable, "-P", str(tap), str(log), sys.executable, "-P", "-m", "midfill"]
    file.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in words) + ' "$@"\n', encoding="utf-8")
    file.chmod(0o755)
    return file


def last_trace(env: Mapping[str, str]) -> dict[str, Any]:
    """Return what became of the server's last request; {} if that is unknown."""
    try:
        trace = json.loads((Path(env["MIDFILL_STATE_DIR"]) / "last-trace.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    kept = ("line", "column", "refused", "why", "hit", "scope", "hidden", "confidence", "rules", "n_raw", "n_shown",
            "finish_reason", "debounce_s", "answer_s", "names", "model", "adapter")  # fmt: skip
    return {name: trace[name] for name in kept if trace.get(name)}


def end_engines(env: Mapping[str, str]) -> None:
    """Stop the engines that the editors of this drive started."""
    for record in Path(env["MIDFILL_RUNTIME_DIR"]).glob("engine-*.json"):
        try:
            os.kill(json.loads(record.read_text(encoding="utf-8"))["pid"], signal.SIGTERM)
        except (OSError, ValueError, KeyError):
            continue
