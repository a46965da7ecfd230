"""Members after a dot, from the declarations in the workspace's own files: Go and TypeScript, plain cases.

A variable's class is known if it is written (a parameter, a declaration), made (``new Order()``, ``&Order{}``),
returned by a function of the workspace, or an element of a list of them. Everything else stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from midfill.context.focus import Focus
from midfill.context.knowledge.bound import Bound, variables
from midfill.context.knowledge.homes import Home, Members, Sight
from midfill.context.knowledge.members import family_of, members_of
from midfill.context.knowledge.members_script import named_of
from midfill.context.knowledge.names import INDEX, KnownNames
from midfill.context.knowledge.types import GO, Type, closing, read_type, results

MAX_DEPTH = 8  # of an expression, and of variables that refer to each other
MAX_LISTS = 40
MAX_NAMES = 400
MAX_WRITTEN = 20_000  # characters of a class in the cursor's file
_SELF = re.compile(r"\bclass\s+([^\W\d][\w$]*)")
_MEMBER_LINE = re.compile(
    r"(?m)^[ \t]+(?:(?:public|private|protected|readonly|async|get|set) )*(?!constructor\b)([^\W\d][\w$]*)\??[(:=<]"
)
# A class up to the first line that is indented no deeper than its end.
_CLASS = re.compile(r"[^{\n]*\{\n(([ \t]+)\S[^\n]*\n(?:[ \t][^\n]*\n|\n)*+)")
_IN_PATH = re.compile(r"\b(?:from|import|require)\s*\(?\s*['\"][^'\"]*\Z")  # "./names.js"
_NAME = re.compile(r"[^\W\d][\w$]*")
# What ends an expression whose value has members; any other text after it makes another value.
_END = re.compile(r"\s*(?:$|[;{,)\]]|//|\|\||\?\?)")

Value = tuple[Type, Home]


def lists_at(sight: Sight, focus: Focus, here: str) -> dict[str, KnownNames]:
    """Return by receiver: what is before the cursor's dot (``here``), the variables around it, and their members."""
    if not family_of(focus.language):
        return {}
    if _IN_PATH.search(focus.before[0]):
        return {}
    scope = _Scope(sight, focus)
    found: dict[str, KnownNames] = {}
    for receiver in _receivers(here, scope):
        if receiver not in found and len(found) < MAX_LISTS and (known := scope.names(receiver)) is not None:
            found[receiver] = known
    return found


def _receivers(here: str, scope: _Scope) -> Iterator[str]:
    if here:
        yield here
    names = list(scope.variables)
    yield from names
    for name in names:
        yield from (f"{name}.{member}" for member in scope.members_with_types(name))


class _Scope:
    """What names mean at a cursor."""

    def __init__(self, sight: Sight, focus: Focus) -> None:
        self._focus = focus
        self._home = Home(sight, focus.key, focus.path, focus.family, focus.text)
        self.variables: dict[str, Bound] = variables(focus)
        if focus.family != GO and (own := _own_class(focus)) is not None:
            self.variables["this"] = Bound(type=own)

    def names(self, receiver: str) -> KnownNames | None:
        """Return the members of ``receiver``; None if nothing is known."""
        if self._focus.family == GO and receiver in self._home.imported and receiver not in self.variables:
            return self._of_package(receiver)
        value = self.value(receiver)
        members = self._members(value)
        if value is None and receiver.isidentifier() and receiver not in self.variables and self._focus.family != GO:
            return self._constants(receiver)
        if members is None or value is None:
            return None
        names = [
            name for name, member in members.found.items()
            if not member.is_static and self._may_name(name, receiver, value, is_private=member.is_private)
        ]  # fmt: skip
        if not names:
            return None
        is_complete = members.is_complete and len(names) <= MAX_NAMES
        if is_complete:  # a text that is being written may be misread, and lose what is below the cursor
            names += [name for name in self._written(value[0].name) if name not in members.found]
        return KnownNames(receiver, tuple(names[:MAX_NAMES]), is_complete, INDEX)

    def _written(self, kind: str) -> Iterable[str]:
        """Return what looks like a member of ``kind`` in the cursor's file, judging only by its lines."""
        text = self._focus.text
        if self._focus.family == GO:
            return re.findall(rf"(?m)^func \(\w+ \*?{re.escape(kind)}\b[^)\n]*\) (\w+)", text)
        at = text.find(f"class {kind}") if kind else -1
        body = _CLASS.match(text[: at + MAX_WRITTEN], at) if at >= 0 else None
        if body is None:
            return ()
        return [match[1] for match in _MEMBER_LINE.finditer(body[1]) if _depth(match[0]) == len(body[2])]

    def members_with_types(self, name: str) -> Iterable[str]:
        """Return the members of a variable that may have members themselves."""
        members = self._members(self.value(name))
        found = members.found.items() if members is not None else ()
        return [one for one, member in found if member.type and not member.is_called]

    def value(self, code: str, n_left: int = MAX_DEPTH) -> Value | None:
        """Return the type of an expression, and the file in whose words it is; None if it is unknown."""
        if n_left == 0:
            return None
        code = code.strip()
        is_awaited = code.startswith("await ")
        code = code.removeprefix("await ").strip()
        found = self._made(code) or self._chain(code, n_left)
        if found is not None and is_awaited:
            inner = found[0].inside("promise")
            return (inner, found[1]) if inner is not None else found
        return found

    def _made(self, code: str) -> Value | None:
        """Return the type made by ``new Order(...)``, ``&Order{...}``, ``Order{...}``, ``code as Order`` or
        ``code.(Order)``."""
        if self._focus.family == GO:
            match = re.match(
                r"&?((?:\[\d*\]\*?|map\[\w+\]\*?)?(?:\w+\.)?[A-Za-z_]\w*(?:\[[\w.*]+\])?)\{", code
            ) or re.match(r"new\(([\w.]+)\)", code)
            match = match or re.match(r".*\.\(([\w.*]+)\)\s*$", code)
        else:
            match = re.match(r"new\s+((?:[\w$]+\.)?[A-Z][\w$]*)", code)
            match = match or re.match(r".*\bas\s+(?!const\b)([^;]+);?$", code)
        kind = read_type(match[1], self._focus.family) if match is not None else None
        return (kind, self._home) if kind is not None else None

    def _chain(self, code: str, n_left: int) -> Value | None:
        """Return the type of ``name``, followed by any number of ``.member``, ``(...)`` and ``[...]``."""
        match = _NAME.match(code)
        if match is None:
            return None
        name, at = match[0], match.end()
        is_called = code[at : at + 1] == "("
        if self._focus.family == GO and name in self._home.imported and name not in self.variables:
            member = re.compile(r"\.([^\W\d]\w*)\(").match(code, at)
            if member is None:
                return None
            value, at = self._returned(member[1], self._home, name), member.end() - 1
            at = _past(code, at)
        elif is_called:
            value, at = self._returned(name, self._home), _past(code, at)
        else:
            value = self._of_variable(name, n_left)
        while value is not None and at >= 0 and _END.match(code, at) is None:
            value, at = self._step(code, at, value)
        return value if at >= 0 else None

    def _step(self, code: str, at: int, value: Value) -> tuple[Value | None, int]:
        if code[at] == "[":
            inner = value[0].inside("list")
            return ((inner, value[1]) if inner is not None else None), _past(code, at)
        match = re.compile(r"[?!]?\.([^\W\d][\w$]*)").match(code, at)
        members = self._members(value)
        member = members.found.get(match[1]) if match is not None and members is not None else None
        if match is None or member is None:
            return None, at
        at = match.end()
        if code[at : at + 1] == "(":
            if not member.is_called:
                return None, at
            at = _past(code, at)
        elif member.is_called:
            return None, at  # the function itself
        kind = read_type(member.type, self._focus.family) if member.type else None
        return ((kind, member.home) if kind is not None else None), at

    def _of_variable(self, name: str, n_left: int) -> Value | None:
        bound = self.variables.get(name)
        if bound is None:
            return None
        if bound.type:
            kind = read_type(bound.type, self._focus.family)
            value = (kind, self._home) if kind is not None else None
        else:
            value = self.value(bound.code, n_left - 1)
        if isinstance(bound.part, int):  # of several results in Go: the type of a call is that of the first
            return value if bound.part == 0 else None
        if bound.part == "element":
            inner = value[0].inside("list") if value is not None else None
            return (inner, value[1]) if inner is not None and value is not None else None
        if bound.part and value is not None:
            return self._step(f".{bound.part}", 0, value)[0]
        return value

    def _returned(self, name: str, home: Home, package: str = "") -> Value | None:
        places = [place for place in home.places(name, package) if place.definition.kind == "function"]
        if len(places) != 1:
            return None
        types = results(places[0].definition.signature, name, home.family)
        kind = read_type(types[0], home.family) if types else None
        return (kind, Home.of(home.sight, places[0].file)) if kind is not None else None

    def _members(self, value: Value | None) -> Members | None:
        return members_of(value[0], value[1]) if value is not None else None

    def _may_name(self, name: str, receiver: str, value: Value, *, is_private: bool) -> bool:
        if self._focus.family == GO:
            return name[:1].isupper() or (value[1].folder == self._focus.folder and not value[0].package)
        return not is_private or receiver.startswith("this")

    def _constants(self, name: str) -> KnownNames | None:
        members = named_of(name, self._home)
        if members is None:
            return None
        is_complete = members.is_complete and len(members.found) <= MAX_NAMES
        return KnownNames(name, tuple(members.found)[:MAX_NAMES], is_complete, INDEX) if members.found else None

    def _of_package(self, alias: str) -> KnownNames | None:
        """Return what a package of the workspace exports."""
        files = self._home.sight.index.in_folder(self._home.imported[alias][0].folder)
        names = dict.fromkeys(
            one.name for file in files for one in file.definitions if not one.owner and one.name[:1].isupper()
        )
        is_complete = bool(files) and self._home.sight.is_whole(files[0])
        return KnownNames(alias, tuple(names)[:MAX_NAMES], is_complete, INDEX) if names else None


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _past(code: str, at: int) -> int:
    """Return the position after the bracket that opens at ``at``; the end if it is not closed on this line."""
    end = closing(code, at)
    return end + 1 if end >= 0 else len(code)


def _own_class(focus: Focus) -> str | None:
    for line in focus.scopes:
        if (match := _SELF.search(line)) is not None:
            return match[1]
    return None
