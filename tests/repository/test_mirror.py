"""Each test module is named after the module that it tests, and what several need stands in a module without tests."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
SERVER = ROOT / "server" / "midfill"
# The whole from outside: processes, editors, faults, devices; and what is no Python of ours.
WHOLE = frozenset({"e2e", "editors", "faults", "fuzz", "gpu", "repository", "soak", "vllm"})
MODULES = sorted(TESTS.rglob("test_*.py"))
# The engine's rooms are being divided; until that is done its tests have names of their own and share helpers.
UNSETTLED = frozenset({"engine"})
SHARING = UNSETTLED | {"gpu"}
SHARED = frozenset({"tests.engine.test_adapters", "tests.engine.test_gguf"})


def subjects(test: Path) -> list[Path]:
    """Where the module of a test may be: ``test_suggest_along`` is one of ``suggest_along`` and ``suggest``."""
    room, words = test.parent.relative_to(TESTS), test.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:n]) for n in range(len(words), 0, -1)]
    if room.parts[:1] == ("engine",):  # its packages share one room of tests
        return [path for name in names for path in (SERVER / "engine").rglob("*") if path.stem == name]
    return [base / room / path for base in (SERVER, ROOT) for name in names for path in (f"{name}.py", name)]


def imported(test: Path, source: str) -> set[str]:
    """The modules of tests that ``source``, which stands in ``test``, imports."""
    room, found = test.parent.relative_to(ROOT).parts, set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = room[: len(room) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    tests = {".".join(module.relative_to(ROOT).with_suffix("").parts) for module in MODULES}
    return found & tests


def test_each_is_named_after_a_module() -> None:
    elsewhere = {(name,) for name in WHOLE | UNSETTLED}
    rooms = [test for test in MODULES if test.parent.relative_to(TESTS).parts[:1] not in elsewhere]
    lost = [test for test in rooms if not any(path.exists() for path in subjects(test))]
    assert len(rooms) > 90
    assert [str(test.relative_to(TESTS)) for test in lost] == []


def test_none_imports_another() -> None:
    modules = [test for test in MODULES if test.relative_to(TESTS).parts[0] not in SHARING]
    found = {str(test.relative_to(TESTS)): imported(test, test.read_text("utf-8")) - SHARED for test in modules}
    assert {test: names for test, names in found.items() if names} == {}


def test_a_wrong_name_and_an_import_are_found() -> None:
    file = TESTS / "lsp" / "test_nothing.py"
    assert not any(path.exists() for path in subjects(file))
    for source in (
        "from .test_suggest import x",
        "from tests.lsp import test_suggest",
        "import tests.lsp.test_suggest",
    ):
        assert imported(file, source) == {"tests.lsp.test_suggest"}
