"""Holes in real code that every machine has: modules of the standard library.

The same seed and the same Python cut the same holes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from midfill.eval.holes import Hole
from midfill.eval.repository import Cutter

MODULES = (
    "argparse", "statistics", "json.decoder", "textwrap", "difflib", "configparser", "fractions", "shutil", "optparse",
    "calendar", "ipaddress", "mailbox", "http.client", "http.cookiejar", "logging.handlers", "pprint",
)  # fmt: skip
KINDS = ("rest-of-line", "call-arguments", "mid-word", "block")
AROUND = 4000, 1500  # least characters of the module before and after a hole


def read_module(name: str) -> str:
    """Return the source of a module of the standard library; "" if this Python has none."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    return Path(spec.origin).read_text(encoding="utf-8").replace("\r\n", "\n")


def cut(n_holes: int, seed: int = 1, kinds: Sequence[str] = KINDS) -> list[Hole]:
    """Cut ``n_holes`` holes, the kinds in turn; their source is the module's path."""
    texts = {f"{name.replace('.', '/')}.py": text for name in MODULES if len(text := read_module(name)) > sum(AROUND)}
    return Cutter(texts, around=AROUND).cut(n_holes, kinds, seed)
