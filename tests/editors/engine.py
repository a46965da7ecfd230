"""The real engine with the embedded model, for the stories: each test has its own, in folders of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

LOAD_S = 300.0  # the model may have to be prepared first
ANSWER_S = 120.0  # on a machine that is busy with other work


def configure(folder: Path) -> None:
    """Write the user's configuration in a test's folder. It uses the plain base, whose output in a story is always the
    same."""
    (folder / "config").mkdir(mode=0o700)
    (folder / "config/config.toml").write_text('model = "embedded"\nadapter = "none"\nengine_idle_exit_s = 60\n')


def end(env: Mapping[str, str]) -> None:
    """Stop the engine that the test's front end started."""
    for record in Path(env["MIDFILL_RUNTIME_DIR"]).glob("engine-*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)
