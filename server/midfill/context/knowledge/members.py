"""The members of types that the workspace's files declare: Go and TypeScript, read from the index and its texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from midfill.context.imports import Import, imports_of, resolve
from midfill.context.index import Index, Place, SourceFile
from midfill.context.kinds import family
from midfill.context.knowledge.types import GO, Type, closing, parameters, read_type, results, split

MAX_BODY = 8000  # characters of a declaration
MAX_MEMBERS = 250
MAX_MEMBER_LINES = 12
MAX_UP = 6  # bases above each other, and names that stand for others

_HEAD = re.compile(r"^\s*(?:export\s+|default\s+|declare\s+|abstract\s+|async\s+|public\s+)*")
_GO_FIELD = re.compile(r"^(\w+(?:\s*,\s*\w+)*)\s+([^`]+?)\s*(?:`.*)?$")
_GO_EMBEDDED = re.compile(r"^\*?(?:\w+\.)?\w+(?:\[[^\]]*\])?$")
_GO_METHOD = re.compile(r"^(\w+)\s*\(")
_MODIFIERS = re.compile(
    r"^(?:(?:public|private|protected|static|readonly|abstract|override|declare|async|get|set)\s+)*"
)
_SCRIPT_MEMBER = re.compile(r"^([^\W\d][\w$]*)[?!]?\s*(.*)", re.DOTALL)
_EXPORTED = re.compile(
    r"(?m)^\s*export\s+(?:default\s+|declare\s+|abstract\s+|async\s+)*"
    r"(?:const enum|const|let|var|function\*?|class|interface|type|enum|namespace)\s+([^\W\d][\w$]*)"
)
_EXPORTED_GROUP = re.compile(r"\bexport\s*(?:type\s*)?\{([^}]*)\}")
_EXPORTED_STAR = re.compile(r"\bexport\s*\*\s*as\s+([^\W\d][\w$]*)")
_KEPT_BY_CONSTRUCTOR = re.compile(r"^(?:(?:public|private|protected|readonly|override)\s+)+")


@dataclass(frozen=True, slots=True)
class Member:
    """``type``: of its value, or of what it returns where it ``is_called``; as it is written in ``home``."""

    type: str
    home: Home
    is_called: bool = False
    is_private: bool = False
    is_static: bool = False


@dataclass
class Members:
    """By name. ``is_complete``: there are no others."""

    found: dict[str, Member] = field(default_factory=dict)
    is_complete: bool = True

    def add(self, other: Members) -> None:
        """What is inherited: own members come first."""
        for name, member in other.found.items():
            self.found.setdefault(name, member)
        self.is_complete &= other.is_complete


@dataclass(frozen=True, eq=False)
class Sight:
    """What is seen of the workspace.

    ``may_use``: whether a file, by its key, is of the project that asks. ``is_whole``: whether the index has every file
    of a file's folder. ``go_folder``: the folder, as the index names it, of an import path of Go, seen from the file
    with a key; None where it is of another module.
    """

    index: Index
    may_use: Callable[[str], bool] = lambda _: True
    is_whole: Callable[[SourceFile], bool] = lambda _: True
    go_folder: Callable[[str, str], str | None] = lambda _key, _path: None
    homes: dict[str, Home] = field(default_factory=dict)  # by key: what was read is not read again
    members: dict[tuple[Type, str], Members | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Home:
    """A file as the place where a type's name is read: what it imports says what the name means."""

    sight: Sight
    key: str
    path: str
    family: str
    text: str

    @classmethod
    def of(cls, sight: Sight, file: SourceFile) -> Home:
        """A file of the index."""
        if file.key not in sight.homes:
            sight.homes[file.key] = cls(sight, file.key, file.path, file.family, file.text)
        return sight.homes[file.key]

    @property
    def folder(self) -> str:
        """Where it lies; in Go that is its package."""
        return self.path.rpartition("/")[0]

    @cached_property
    def imported(self) -> dict[str, list[SourceFile]]:
        """The files of the workspace behind each name that it imports."""
        found: dict[str, list[SourceFile]] = {}
        for one in imports_of(self.text, self.path, self.family):
            files = [file for file in self._files(one) if self.sight.may_use(file.key)]
            for name in one.names or ((one.alias,) if one.alias else ()):
                if files:
                    found.setdefault(name, files)
        return found

    def _files(self, one: Import) -> list[SourceFile]:
        """The files that an import means; of Go only where its module says so, since other modules' folders have the
        same names."""
        if self.family != GO:
            return resolve(self.sight.index, one, self.path)
        folder = self.sight.go_folder(self.key, one.paths[0])
        return self.sight.index.in_folder(folder) if folder is not None else []

    def places(self, name: str, package: str = "") -> list[Place]:
        """Where ``name`` is defined, outside of any class, as this file would mean it."""
        places = [
            place for place in self.sight.index.defining(name)
            if not place.definition.owner and place.file.family == self.family and self.sight.may_use(place.file.key)
        ]  # fmt: skip
        if self.family == GO:
            if package:
                folders = {file.folder for file in self.imported.get(package, ())}
                return [place for place in places if place.file.folder in folders]
            return [place for place in places if place.file.folder == self.folder]
        own = [place for place in places if place.file.key == self.key]
        if own or (package or name) not in self.imported:
            return own
        files = {file.key for file in self.imported[package or name]}
        there = [place for place in places if place.file.key in files]
        # A file may hand on what another one defines: that is it where there is no second one of its name.
        return there or (places if len(places) == 1 else [])


def members_of(kind: Type, home: Home, n_up: int = MAX_UP) -> Members | None:
    """The members of ``kind`` as ``home`` means it; None where nothing is known of it."""
    if kind.wrappers or n_up == 0:
        return None
    known, key = home.sight.members, (kind, home.key)
    if key not in known:
        known[key] = None  # of a type that is its own base
        known[key] = _read(kind, home, n_up)
    return known[key]


def _read(kind: Type, home: Home, n_up: int) -> Members | None:
    if kind.body:
        return _of_lines(kind.body, home)
    places = home.places(kind.name, kind.package)
    places = [place for place in places if place.definition.kind in ("class", "record")]
    if home.family == GO:  # several where files are built for one system each
        found = [_go(place, Home.of(home.sight, place.file), n_up) for place in places]
        return _united(found) if found else None
    return _script(places[0], Home.of(home.sight, places[0].file), n_up) if len(places) == 1 else None


def _united(found: list[Members | None]) -> Members | None:
    """What any of them has."""
    members = Members()
    for one in found:
        if one is None:
            return None
        members.add(one)
    return members


# ---- Go --------------------------------------------------------------------------------------------------------------


def _go(place: Place, home: Home, n_up: int) -> Members | None:
    name, text = place.definition.name, _text(place)
    said = re.search(rf"\b{re.escape(name)}\b(?:\[[^\]]*\])?\s*(=?)\s*(.*)", text, re.DOTALL)
    if said is None:
        return None
    what = said[2].strip()
    members = Members(is_complete=home.sight.is_whole(place.file))
    if said[1]:  # another name for a type
        other = read_type(what, GO)
        return members_of(other, home, n_up - 1) if other is not None else None
    for file in home.sight.index.in_folder(home.folder):
        for one in file.definitions:
            if one.owner == name and one.kind == "function":
                types = results(one.signature, one.name, GO)
                there = Home.of(home.sight, file)
                members.found[one.name] = Member(types[0] if types else "", there, is_called=True)
    body = re.match(r"(?:struct|interface)\s*\{", what)
    if body is None:
        members.is_complete &= not what.startswith("interface")
        return members
    end = closing(what, body.end() - 1)
    if end < 0:
        members.is_complete = False
    for line in _lines(what[body.end() : end], "\n;"):
        _go_line(line, members, home, n_up)
    return members


def _go_line(line: str, members: Members, home: Home, n_up: int) -> None:
    """A line of a struct or an interface."""
    line = line.partition("//")[0].strip()
    bare = line.partition("`")[0].strip()
    if not bare:
        return
    if (method := _GO_METHOD.match(bare)) is not None:
        types = results(bare, method[1], GO)
        members.found.setdefault(method[1], Member(types[0] if types else "", home, is_called=True))
    elif _GO_EMBEDDED.match(bare):
        kind = read_type(bare, GO)
        inner = members_of(kind, home, n_up - 1) if kind is not None else None
        if kind is not None:
            members.found.setdefault(kind.name, Member(bare, home))
        members.add(inner if inner is not None else Members(is_complete=False))
    elif (one := _GO_FIELD.match(line)) is not None:
        for name in one[1].split(","):
            members.found.setdefault(name.strip(), Member(one[2], home))
    else:
        members.is_complete = False


# ---- TypeScript ------------------------------------------------------------------------------------------------------


def named_of(name: str, home: Home) -> Members | None:
    """What stands behind a name that is no variable: a module that is imported whole, an enum, an object."""
    own = [place for place in home.places(name) if place.definition.kind in ("class", "record", "constant")]
    if len(own) == 1:
        return _constants(own[0], home)
    files = home.imported.get(name, [])
    if len(files) != 1 or own:
        return None
    handed_on = Home.of(home.sight, files[0]).imported.get(name, files)  # export * as Name from
    is_star = re.search(rf"\*\s*as\s+{re.escape(name)}\b", home.text if handed_on is files else files[0].text)
    return _exports(handed_on[0], home.sight) if is_star and len(handed_on) == 1 else None


def _exports(file: SourceFile, sight: Sight) -> Members:
    """What a module exports."""
    home = Home.of(sight, file)
    members = Members(is_complete=re.search(r"(?m)^\s*export\s*\*\s*from\b|^\s*module\.exports\b", file.text) is None)
    names = [*_EXPORTED.findall(file.text), *_EXPORTED_STAR.findall(file.text)]
    for group in _EXPORTED_GROUP.findall(file.text):
        names += [part.split(" as ")[-1].replace("type ", "").strip() for part in group.split(",")]
    for name in names:
        if name.isidentifier() and name != "default":
            members.found.setdefault(name, Member("", home))
    return members


def _constants(place: Place, home: Home) -> Members | None:
    """The members of an enum, or of an object that is written out."""
    text = _text(place)
    head = text[_end_of_modifiers(text) :]
    if (
        re.match(r"(?:const\s+)?enum\b", head) is None
        and re.match(r"(?:const|let|var)\s+[\w$]+[^=]*=\s*\{", head) is None
    ):
        return None
    members = Members()
    for line in _lines(_braces(text), ",\n"):
        if (match := re.match(r"['\"]?([^\W\d][\w$]*)['\"]?\s*(?:[=:(]|$)", line)) is not None:
            members.found.setdefault(match[1], Member("", home))
        elif line.startswith(("...", "[")):
            members.is_complete = False
    return members if members.found else None


def _script(place: Place, home: Home, n_up: int) -> Members | None:
    text = _text(place)
    head = text[_end_of_modifiers(text) :]
    if head.startswith("interface"):
        members = _of_lines(_braces(text), home)
        return _with_bases(members, _bases(text, "extends"), home, n_up)
    if head.startswith("type"):
        return _alias(text.partition("=")[2], home, n_up)
    if head.startswith("enum") or head.startswith("const enum"):
        return None  # of its values nothing is asked
    if not head.startswith("class"):
        return None
    members = _class(place, home)
    bases = [re.sub(r"<.*", "", base, flags=re.DOTALL).strip() for base in _bases(text, "extends")]
    if not home.path.endswith((".ts", ".tsx", ".mts", ".cts")):
        members.is_complete = False  # JavaScript makes members wherever it likes
    return _with_bases(members, bases, home, n_up)


def _alias(what: str, home: Home, n_up: int) -> Members | None:
    """``type Name = what``."""
    parts = [part.strip().rstrip(";").strip() for part in split(what, "&")]
    members = Members()
    for part in parts:
        kind = read_type(part, home.family)
        inner = members_of(kind, home, n_up - 1) if kind is not None else None
        members.add(inner if inner is not None else Members(is_complete=False))
    return members if members.found else None


def _with_bases(members: Members, bases: Iterable[str], home: Home, n_up: int) -> Members:
    for base in bases:
        kind = read_type(base, home.family)
        inner = members_of(kind, home, n_up - 1) if kind is not None else None
        members.add(inner if inner is not None else Members(is_complete=False))
    return members


def _class(place: Place, home: Home) -> Members:
    members = Members()
    lines = place.file.lines
    for one in place.file.definitions:
        if one.parent != place.at:
            continue
        is_maker = one.name == "constructor"  # its parameters may stand under a comment each
        last = one.end_line if is_maker else min(one.end_line, one.line + MAX_MEMBER_LINES)
        text = _bare("\n".join(lines[one.line : last + 1])[:MAX_BODY]).strip()
        if is_maker:
            for name, member in _kept(text, home):
                members.found.setdefault(name, member)
            continue
        for name, member in _script_member(text, home):
            if name == one.name:
                members.found.setdefault(name, member)
                break
        else:
            members.found.setdefault(one.name, Member("", home, is_called=one.kind == "function"))
    return members


def _of_lines(body: str, home: Home) -> Members:
    """The members of an object type."""
    members = Members()
    for line in _lines(body, "\n;,"):
        if line.startswith(("[", "...", "(", "new ", "new(")):
            members.is_complete = False  # an index, or it is a function
            continue
        for name, member in _script_member(line, home):
            members.found.setdefault(name, member)
    return members


def _script_member(text: str, home: Home) -> Iterator[tuple[str, Member]]:
    """``readonly name?: Type``, ``name(a: A): Type``, ``private name = new Type()``: at most one."""
    text = re.sub(r"^(?:@[\w.]+(?:\([^)]*\))?\s*)+", "", text)
    modifiers = _MODIFIERS.match(text)
    assert modifiers is not None
    words = modifiers[0].split()
    rest = text[modifiers.end() :]
    match = _SCRIPT_MEMBER.match(rest)
    if match is None:
        return
    name, after = match[1], match[2]
    is_private = "private" in words or "protected" in words
    is_getter = "get" in words
    if after.startswith(("(", "<")):
        types = results(rest.partition("{")[0] if "{" not in _head(rest) else rest, name, home.family)
        kind = types[0].partition("{")[0].strip() if types and not types[0].startswith("{") else "".join(types[:1])
        yield name, Member(kind, home, not is_getter, is_private, "static" in words)
    elif after.startswith(":"):
        kind = split(after[1:], "=;")[0].strip()
        yield name, Member(kind, home, is_private=is_private, is_static="static" in words)
    elif (made := re.match(r"=\s*new\s+([\w.$]+)", after)) is not None:
        yield name, Member(made[1], home, is_private=is_private, is_static="static" in words)
    else:
        yield name, Member("", home, is_private=is_private, is_static="static" in words)


def _head(text: str) -> str:
    """A method up to the end of its parameters."""
    at = text.find("(")
    end = closing(text, at) if at >= 0 else -1
    return text[: end + 1]


def _kept(text: str, home: Home) -> Iterator[tuple[str, Member]]:
    """The parameters that a constructor keeps as members: ``private readonly name: Type``."""
    at = text.find("(")
    end = closing(text, at) if at >= 0 else -1
    if end < 0:
        return
    for part in split(text[at + 1 : end], ","):
        kept = _KEPT_BY_CONSTRUCTOR.match(part.strip())
        if kept is not None:
            for name, kind in parameters(part.strip()[kept.end() :], home.family):
                yield name, Member(kind, home, is_private="private" in kept[0] or "protected" in kept[0])


def _text(place: Place) -> str:
    """A declaration as its file has it."""
    one = place.definition
    return _bare("\n".join(place.file.lines[one.line : one.end_line + 1])[:MAX_BODY])


def _end_of_modifiers(text: str) -> int:
    match = _HEAD.match(text)
    return match.end() if match is not None else 0


def _braces(text: str) -> str:
    """What stands between the first brace and its end."""
    at = text.find("{")
    end = closing(text, at) if at >= 0 else -1
    return text[at + 1 : end if end > 0 else len(text)] if at >= 0 else ""


def _bases(text: str, word: str) -> list[str]:
    """The types behind ``extends`` in a head."""
    match = re.search(rf"\b{word}\s+(.*?)\s*(?:\bimplements\b|\{{)", text, re.DOTALL)
    return [base.strip() for base in split(match[1], ",")] if match is not None else []


def _lines(body: str, ends: str) -> list[str]:
    """The members of a body as they are written, without comments."""
    return [line.strip() for line in split(_bare(body), ends)[:MAX_MEMBERS] if line.strip()]


def _bare(text: str) -> str:
    """Without comments, whose apostrophes are no quotes."""
    return re.sub(r"(?m)/\*.*?\*/|(?<![:\w\"'])//[^\n]*$", "", text, flags=re.DOTALL) if "/" in text else text


def family_of(language: str) -> str:
    """Of a language that is read here; "" for others."""
    found = family(language)
    return found if found in (GO, "javascript") else ""
