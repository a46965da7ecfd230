"""What Python functions and classes take, as jedi reads them. Runs in the child that infers (``inferring``)."""

from __future__ import annotations

import re
from inspect import Parameter as _Jedi
from typing import Any

from midfill.syntax.calls import Parameter, of_overloads

MAX_BASES = 40
MAX_SIGNATURES = 12  # of one callee: overloads
MAX_PARAMETERS = 60
# Decorators after which a function still takes what its head says.
_HARMLESS = frozenset({
    "staticmethod", "classmethod", "abstractmethod", "abc.abstractmethod", "overload", "typing.overload", "override",
    "typing.override", "final", "typing.final", "typing_extensions.override", "typing_extensions.overload",
})  # fmt: skip
_OVERLOADS = frozenset({"overload", "typing.overload", "typing_extensions.overload"})
# Classes whose subclasses get their constructor from elsewhere.
_MADE_OTHERWISE = frozenset({"NamedTuple", "TypedDict", "Enum", "IntEnum", "StrEnum", "Flag", "IntFlag", "Protocol"})
_HARMLESS_METACLASSES = frozenset({"ABCMeta"})

_BY_POSITION = frozenset({_Jedi.POSITIONAL_ONLY, _Jedi.POSITIONAL_OR_KEYWORD})
_BY_NAME = frozenset({_Jedi.KEYWORD_ONLY, _Jedi.POSITIONAL_OR_KEYWORD})
_SCOPES = ("classdef", "funcdef", "file_input", "lambdef")
_ASSIGNED = re.compile(r"\b__init__\s*(?::[^=\n]*)?=(?!=)")


def signature_at(script: Any, line: int, column: int) -> dict[str, Any] | None:
    """Return what the callee takes whose name ends at ``column`` (from 0) and whose empty parentheses follow there;
    ``line`` from 1. None if nothing is known."""
    found = script.get_signatures(line, column + 1)[:MAX_SIGNATURES]
    if not found:
        return None
    taken = [[(one.name, one.kind) for one in signature.params][:MAX_PARAMETERS] for signature in found]
    overloads = [
        [Parameter(name, by_position, by_name) for name, kind in params
         if (by_position := kind in _BY_POSITION) | (by_name := kind in _BY_NAME and not is_private(name))]
        for params in taken
    ]  # fmt: skip
    kinds = {kind for params in taken for _, kind in params}
    return {
        "parameters": [[one.name, one.by_position, one.by_name] for one in of_overloads(overloads)],
        "any_position": _Jedi.VAR_POSITIONAL in kinds,
        "any_name": _Jedi.VAR_KEYWORD in kinds,
        "is_complete": _is_complete(script, line, column, len(found)),
    }


def is_private(name: str) -> bool:
    """Whether a parameter of this name is given by position only, in stubs."""
    return name.startswith("__") and not name.endswith("__")


def _is_complete(script: Any, line: int, column: int, n_found: int) -> bool:
    """Whether the callee is a function or a class that its file defines once, and nothing between its head and the call
    changes what it takes."""
    names = script.goto(line, column - 1, follow_imports=True)
    values = [value for one in names for value in one._name.infer()]  # there is no public way to decorators and bases
    if not values or any(one.type not in ("function", "class") for one in names):
        return False
    if len(values) > 1 or n_found > 1:  # several functions of one name, unless they are overloads
        return all(_is_plain_function(value) and _decorators(value.tree_node) & _OVERLOADS for value in values)
    return all(map(_is_fixed, values))


def _is_fixed(value: Any) -> bool:
    if value.is_class():
        return _is_plain_class(value)
    return value.is_function() and _is_plain_function(value)


def _is_plain_function(value: Any) -> bool:
    node = getattr(value, "tree_node", None)
    if node is None or node.type != "funcdef" or not _decorators(node) <= _HARMLESS:
        return False
    scope = node.search_ancestor(*_SCOPES)
    same = [one for one in scope.iter_funcdefs() if one.name.value == node.name.value]
    if len(same) > 1:
        return bool(_decorators(node) & _OVERLOADS)
    return scope.type != "classdef" or not _is_overridden(node)


def _is_overridden(node: Any) -> bool:
    """Whether the method's file has another one of its name: that of a subclass, which may take more, may be
    called."""
    heads = re.findall(rf"\bdef[ \t]+{re.escape(node.name.value)}\b", node.get_root_node().get_code())
    return len(heads) > 1


def _decorators(node: Any) -> frozenset[str]:
    """Return the decorators of a function's or class's node as they are written."""
    return frozenset(one.children[1].get_code(include_prefix=False) for one in node.get_decorators())


def _is_plain_class(cls: Any) -> bool:
    """Whether calling ``cls`` calls an ``__init__`` that it or a base defines, and nothing else."""
    waiting, n_seen, has_init = [cls], 0, False
    while waiting:
        one = waiting.pop(0)
        n_seen += 1
        if n_seen > MAX_BASES or not one.is_class() or getattr(one, "tree_node", None) is None:
            return False
        name = one.py__name__()
        if name == "object":
            continue
        node = one.tree_node
        if _decorators(node) or name in _MADE_OTHERWISE or not _is_metaclass_harmless(node):
            return False
        if "__new__" in (code := node.get_code()) or _ASSIGNED.search(code):
            return False
        made = [each for each in node.iter_funcdefs() if each.name.value == "__init__"]
        if made and not has_init:
            has_init = True
            if len(made) != 1 or not _decorators(made[0]) <= _HARMLESS:
                return False
        for base in one.py__bases__():
            bases = list(base.infer())
            if len(bases) != 1:
                return False
            waiting += bases
    return True


def _is_metaclass_harmless(node: Any) -> bool:
    given = node.get_super_arglist()
    code = given.get_code() if given is not None else ""
    if "metaclass" not in code:
        return True
    return any(f"metaclass={name}" in code.replace(" ", "").replace("abc.", "") for name in _HARMLESS_METACLASSES)
