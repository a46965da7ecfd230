"""Which tests never run beside each other if two processes divide them (`make test`).

The tests of a group run in one process, one after the other. xdist's own groups, by marks, do nothing with the ids of
pytest 9.2.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
REAL_MODELS = ("embedded_folder", "gemma3_folder")  # fixtures
# Groups and folders with long tests begin first, so that no long one is left at the end.
FIRST = ("editors", "models", "commands", "train", "soak", "fuzz", "engine", "faults")


@cache
def group_of(file: str) -> str:
    """Return the group of the tests in a file.

    Two editors at once disturb each other, and two real models need the memory of two; any other file is a group.
    """
    folder = file.split("/")[1]
    if folder == "editors":
        return folder
    if folder == "e2e" or any(name in (ROOT / file).read_text(encoding="utf-8") for name in REAL_MODELS):
        return "models"
    return file.removeprefix("tests/")


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _rank(group: str) -> int:
    folder = group.partition("/")[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


def pytest_configure(config: pytest.Config) -> None:
    """In one of several processes: one thread for torch, as two that share every product would wait for a core each."""
    if hasattr(config, "workerinput"):
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In one of several processes: put the groups in the order in which they begin."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(group_of(_file(item.nodeid))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return what gives the processes one group after the other."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    config.option.loadscopereorder = False  # by the number of tests; here by rank
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: group_of(_file(nodeid))
    return scheduler
