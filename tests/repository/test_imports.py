"""No module of the package imports itself by way of others, not inside a function and not for its types alone."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

SERVER = Path(__file__).parents[2] / "server"
# Tables of syntax that name each other: a language stands in another one. To become shorter; nothing is added.
KNOWN = [
    ["midfill.syntax.lexical.modes", "midfill.syntax.lexical.reader", "midfill.syntax.lexical.state"],
    ["midfill.syntax.lexical.rows", "midfill.syntax.lexical.rows.markup"],
]


def module_name(file: Path) -> str:
    """``midfill.a.b`` for ``midfill/a/b.py`` and ``midfill/a/b/__init__.py``."""
    parts = file.relative_to(SERVER).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool, known: frozenset[str]) -> set[str]:
    """The modules among ``known`` that ``source`` names in any import, wherever it stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if is_package else module.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            submodules = {f"{target}.{alias.name}" for alias in node.names}
            # Where every name is a module of its own, the package is only the way to it.
            found |= submodules & known if submodules <= known else (submodules & known) | {target}
    return (found & known) - {module}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which reaches all the others (Tarjan 1972, strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return sorted(found)


def test_there_is_no_circle_but_the_known() -> None:
    files = {module_name(file): file for file in (SERVER / "midfill").rglob("*.py")}
    known = frozenset(files)
    graph = {
        name: imports(file.read_text(encoding="utf-8"), name, file.name == "__init__.py", known)
        for name, file in files.items()
    }
    assert len(graph) > 200
    assert circles(graph) == KNOWN


def test_circles_are_found_wherever_the_import_stands() -> None:
    known = frozenset({"p", "p.a", "p.b", "p.c"})
    sources = {
        "p": "",
        "p.a": "from p import b",
        "p.b": "def late():\n    from .c import x",
        "p.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import y",
    }
    graph = {name: imports(source, name, name == "p", known) for name, source in sources.items()}
    assert graph == {"p": set(), "p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}}
    assert circles(graph) == [["p.a", "p.b", "p.c"]]
    assert circles({**graph, "p.c": set()}) == []
