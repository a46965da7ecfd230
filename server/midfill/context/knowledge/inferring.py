"""The child that infers: it finds the members of Python expressions with jedi, by reading only, as one JSON object per
line.

jedi reads files and runs none: packages are found by their folders, no interpreter of the workspace is started, no
extension module is loaded, and jedi's files on disk are in a folder that only this user can write.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from midfill import paths
from midfill.context.knowledge.callees import signature_at
from midfill.context.lines import run_child

MAX_MEMORY = 480 << 20  # bytes of data; the standard library's stubs take up to 150 MB
MAX_CPU_S = 12.0  # of a request; the very first one reads the stubs of the builtins
ENOUGH_S = 1.5  # of a request, after which its remaining expressions are left out
MAX_NAMES = 400
MAX_BASES = 40
# A reader of broken code may fail.
FAILURES = (RecursionError, AttributeError, KeyError, ValueError, TypeError, IndexError, NotImplementedError)
_MADE_TO_BE_EXTENDED = re.compile(r"mixin|base|abstract|protocol|interface", re.IGNORECASE)


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """Return the lists of a request. May raise anything."""
    try:
        return _answer(message)
    except Exception as error:
        if not _means_a_cut_off_file(error):
            raise
        _remove_files()
        return _answer(message)


def _means_a_cut_off_file(error: Exception) -> bool:
    """Say whether ``error`` is of a file of jedi's whose writer was ended while it wrote: jedi would fail at it for
    good."""
    return isinstance(error, EOFError) or type(error).__name__ == "UnpicklingError"


def _remove_files() -> None:
    """Remove all of jedi's files: which one is cut off is not said, and they are soon written again."""
    import jedi

    shutil.rmtree(jedi.settings.cache_directory, ignore_errors=True)


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    began = time.process_time()
    return {"lists": list(_lists(message, began)), "calls": list(_calls(message, began))}


def _lists(message: dict[str, Any], began: float) -> Any:
    """Yield the members of the expression before the cursor's dot, then those of each further expression in the
    cursor's scope."""
    text, line, column = message["text"], message["line"], message["column"]
    for n, receiver in enumerate(message["receivers"]):
        if n and time.process_time() - began > ENOUGH_S:
            return
        if n == 0 and message["here"]:
            code, at_line, at_column = text, line, column
        else:
            code, at_line, at_column = _with_line(text, line, receiver)
        try:
            names, is_complete = _members(code, message["path"], tuple(message["folders"]), at_line, at_column)
        except FAILURES:
            continue
        if names:
            yield {"receiver": receiver, "names": names, "is_complete": is_complete}


def _calls(message: dict[str, Any], began: float) -> Any:
    """Yield what each callee takes."""
    for n, callee in enumerate(message.get("callees", ())):
        if n and time.process_time() - began > ENOUGH_S:
            return
        code, line, column = _with_line(message["text"], message["callee_line"], callee)
        code = _with_call(code, line)
        try:
            found = signature_at(_script(code, message["path"], tuple(message["folders"])), line + 1, column - 1)
        except FAILURES:
            continue
        if found is not None:
            yield {"callee": callee, **found}


def _with_call(code: str, line: int) -> str:
    """Return ``code`` with parentheses in place of the dot at the end of ``line``."""
    lines = code.split("\n")
    lines[line] = lines[line][:-1] + "()"
    return "\n".join(lines)


def _with_line(text: str, line: int, receiver: str) -> tuple[str, int, int]:
    """Return ``text`` with ``receiver.`` on a line of its own above ``line``, equally indented; and the place after the
    dot."""
    lines = text.split("\n")
    indentation = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
    lines.insert(line, f"{indentation}{receiver}.")
    return "\n".join(lines), line, len(indentation) + len(receiver) + 1


def _members(code: str, path: str, folders: tuple[str, ...], line: int, column: int) -> tuple[list[str], bool]:
    script = _script(code, path, folders)
    found = script.complete(line + 1, column)
    names = list(dict.fromkeys(one.name for one in found))
    if not names:
        return [], False
    is_complete = len(names) < MAX_NAMES and _is_complete(script, line + 1, column - 2)
    names.sort(key=lambda name: (name.startswith("__"), name.startswith("_")))  # stable: otherwise in jedi's order
    return names[:MAX_NAMES], is_complete


def _script(code: str, path: str, folders: tuple[str, ...]) -> Any:
    import jedi

    return jedi.Script(code, path=path or None, project=_project(folders), environment=_environment())


def _is_complete(script: Any, line: int, column: int) -> bool:
    """Whether every class that the expression may have is read down to its last base, and none makes up members."""
    if column < 0:
        return False
    found = script.infer(line, column)
    values = [value for one in found for value in one._name.infer()]  # there is no public way to bases
    return bool(values) and all(map(_is_closed, values))


def _is_closed(value: Any) -> bool:
    if value.is_module():
        return not value.is_stub() and "__getattr__" not in _own_names(value)
    if value.is_bound_method() or value.is_function():  # a decorated one may be anything
        node = value.tree_node
        return node is not None and node.type == "funcdef" and node.parent.type not in ("decorated", "async_stmt")
    if not (value.is_class() or value.is_instance()):
        return False
    cls = value if value.is_class() else value.py__class__()
    if _MADE_TO_BE_EXTENDED.search(cls.py__name__()):  # its methods use members of its subclasses
        return False
    waiting, seen = [cls], 0
    while waiting:
        one = waiting.pop()
        seen += 1
        if seen > MAX_BASES or not one.is_class():
            return False
        if one.py__name__() == "object":
            continue
        if {"__getattr__", "__getattribute__"} & _own_names(one):
            return False
        for base in one.py__bases__():
            bases = list(base.infer())
            if not bases:  # of a package that is missing
                return False
            waiting += bases
    return True


def _own_names(value: Any) -> set[str]:
    return {name.string_name for filter_ in list(value.get_filters())[:1] for name in filter_.values()}


@lru_cache(1)
def _environment() -> Any:
    """Return this process's own interpreter, which is asked in place: none is started."""
    from jedi.api.environment import InterpreterEnvironment

    return InterpreterEnvironment()


@lru_cache(4)
def _project(folders: tuple[str, ...]) -> Any:
    """Return where imports are searched: the workspace's folders, its installed packages, and the standard library."""
    import jedi

    mine = [entry for entry in sys.path if entry and "site-packages" not in Path(entry).parts]
    places = [place for folder in folders for place in _places(Path(folder))]
    return jedi.Project(
        folders[0] if folders else paths.runtime_dir(), sys_path=[*places, *mine], smart_sys_path=False,
        load_unsafe_extensions=False,
    )  # fmt: skip


def _places(folder: Path) -> list[str]:
    """Return a folder, its ``src``, and what is installed in a virtual environment in it."""
    found = [folder, folder / "src"]
    for name in (".venv", "venv", "env"):
        found += sorted((folder / name).glob("lib/python3.*/site-packages")) or [
            folder / name / "Lib" / "site-packages"
        ]
    return [str(place) for place in found if place.is_dir()]


def _keep_where_only_we_write() -> None:
    """Keep jedi's parsed files where only we can write: they are pickles, and loading a pickle runs its author's
    code."""
    import jedi

    folder = paths.cache_dir() / "jedi"
    if folder.exists() and not paths.only_we_write(folder):
        folder = paths.runtime_dir() / "jedi"
    jedi.settings.cache_directory = str(paths.private_dir(folder))


def main() -> None:
    """Run the child: it reads requests from its standard input until that ends."""
    sys.setrecursionlimit(3000)
    _keep_where_only_we_write()
    run_child(answer, memory=MAX_MEMORY, cpu_s=MAX_CPU_S)


if __name__ == "__main__":
    main()
