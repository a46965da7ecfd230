"""The members of TypeScript's types: interfaces, classes, object types, and names of modules and enums."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from midfill.context.index import DefinitionRef, SourceFile
from midfill.context.knowledge.homes import (
    MAX_BODY,
    MAX_MEMBER,
    Find,
    Home,
    Member,
    Members,
    Sight,
    bare,
    inherit,
    is_cut,
    lines_of,
    text_of,
)  # fmt: skip
from midfill.context.knowledge.types import closing, parameters, read_type, results, split

MAX_MEMBER_LINES = 12

_HEAD = re.compile(r"^\s*(?:export\s+|default\s+|declare\s+|abstract\s+|async\s+|public\s+)*")
_MODIFIERS = re.compile(
    r"^(?:(?:public|private|protected|static|readonly|abstract|override|declare|async|get|set)\s+)*"
)
_SCRIPT_MEMBER = re.compile(r"^([^\W\d][\w$]*)[?!]?\s*(.*)", re.DOTALL)
_EXPORTED = re.compile(
    r"(?m)^[ \t]*export[ \t]+(?:default\s+|declare\s+|abstract\s+|async\s+)*"
    r"(?:const enum|const|let|var|function\*?|class|interface|type|enum|namespace)\s+([^\W\d][\w$]*)"
)
_EXPORTED_GROUP = re.compile(r"\bexport\s*(?:type\s*)?\{([^}]{0,1000}+)\}")
_EXPORTED_STAR = re.compile(r"\bexport\s*\*\s*as\s+([^\W\d][\w$]*)")
_KEPT_BY_CONSTRUCTOR = re.compile(r"^(?:(?:public|private|protected|readonly|override)\s+)+")


def named_of(name: str, home: Home) -> Members | None:
    """Return the members of a name that is not a variable: a module that is imported as a whole, an enum, an object."""
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
    """Return what a module exports."""
    home = Home.of(sight, file)
    members = Members(
        is_complete=re.search(r"(?m)^[ \t]*(?:export[ \t]*\*[ \t]*from\b|module\.exports\b)", file.text) is None
    )
    names = [*_EXPORTED.findall(file.text), *_EXPORTED_STAR.findall(file.text)]
    for group in _EXPORTED_GROUP.findall(file.text):
        names += [part.split(" as ")[-1].replace("type ", "").strip() for part in group.split(",")]
    for name in names:
        if name.isidentifier() and name != "default":
            members.found.setdefault(name, Member("", home))
    return members


def _constants(place: DefinitionRef, home: Home) -> Members | None:
    """Return the members of an enum, or of an object literal."""
    text = text_of(place)
    head = text[_end_of_modifiers(text) :]
    if (
        re.match(r"(?:const\s+)?enum\b", head) is None
        and re.match(r"(?:const|let|var)\s+[\w$]+[^=]*=\s*\{", head) is None
    ):
        return None
    members = Members(is_complete=not is_cut(place))
    for line in lines_of(_braces(text), ",\n"):
        if (match := re.match(r"['\"]?([^\W\d][\w$]*)['\"]?\s*(?:[=:(]|$)", line)) is not None:
            members.found.setdefault(match[1], Member("", home))
        elif line.startswith(("...", "[")):
            members.is_complete = False
    return members if members.found else None


def declared(place: DefinitionRef, home: Home, find: Find) -> Members | None:
    """Return those of one declaration; None if it has nothing that is read here."""
    text = text_of(place)
    head = text[_end_of_modifiers(text) :]
    if head.startswith("interface"):
        members = object_type(_braces(text), home)
        return _with_bases(members, _bases(text, "extends"), home, find)
    if head.startswith("type"):
        return _alias(text.partition("=")[2], home, find)
    if head.startswith("enum") or head.startswith("const enum"):
        return None  # nothing is asked about its values
    if not head.startswith("class"):
        return None
    members = _class(place, home)
    bases = [re.sub(r"<.*", "", base, flags=re.DOTALL).strip() for base in _bases(text, "extends")]
    if not home.path.endswith((".ts", ".tsx", ".mts", ".cts")):
        members.is_complete = False  # JavaScript can add members anywhere
    return _with_bases(members, bases, home, find)


def _alias(what: str, home: Home, find: Find) -> Members | None:
    """Return the members of ``type Name = what``."""
    parts = [part.strip().rstrip(";").strip() for part in split(what, "&")]
    members = Members()
    for part in parts:
        kind = read_type(part, home.family)
        inherit(members, kind, home, find)
    return members if members.found else None


def _with_bases(members: Members, bases: Iterable[str], home: Home, find: Find) -> Members:
    for base in bases:
        kind = read_type(base, home.family)
        inherit(members, kind, home, find)
    return members


def _class(place: DefinitionRef, home: Home) -> Members:
    members = Members()
    lines = place.file.lines
    for one in place.file.definitions:
        if one.parent != place.at:
            continue
        is_maker = one.name == "constructor"  # each of its parameters may follow a comment
        last = one.end_line if is_maker else min(one.end_line, one.line + MAX_MEMBER_LINES)
        text = bare("\n".join(lines[one.line : last + 1])[:MAX_BODY]).strip()
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


def object_type(body: str, home: Home) -> Members:
    """Return the members of an object type."""
    members = Members()
    for line in lines_of(body, "\n;,"):
        if len(line) > MAX_MEMBER or line.startswith(("[", "...", "(", "new ", "new(")):
            members.is_complete = False  # it has an index, or it is a function
            continue
        for name, member in _script_member(line, home):
            members.found.setdefault(name, member)
    return members


def _script_member(text: str, home: Home) -> Iterator[tuple[str, Member]]:
    """Yield at most one member: ``readonly name?: Type``, ``name(a: A): Type``, ``private name = new Type()``."""
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
    """Return a method up to the end of its parameters."""
    at = text.find("(")
    end = closing(text, at) if at >= 0 else -1
    return text[: end + 1]


def _kept(text: str, home: Home) -> Iterator[tuple[str, Member]]:
    """Yield the parameters that a constructor keeps as members: ``private readonly name: Type``."""
    at = text.find("(")
    end = closing(text, at) if at >= 0 else -1
    if end < 0:
        return
    for part in split(text[at + 1 : end], ","):
        kept = _KEPT_BY_CONSTRUCTOR.match(part.strip())
        if kept is not None:
            for name, kind in parameters(part.strip()[kept.end() :], home.family):
                yield name, Member(kind, home, is_private="private" in kept[0] or "protected" in kept[0])


def _end_of_modifiers(text: str) -> int:
    match = _HEAD.match(text)
    return match.end() if match is not None else 0


def _braces(text: str) -> str:
    """Return the text between the first brace and its end."""
    at = text.find("{")
    end = closing(text, at) if at >= 0 else -1
    return text[at + 1 : end if end > 0 else len(text)] if at >= 0 else ""


def _bases(text: str, word: str) -> list[str]:
    """Return the types after ``extends`` in a head."""
    match = re.search(rf"\b{word}\s+([^{{]*+)", text)
    return [base.strip() for base in split(match[1].split(" implements ")[0], ",")] if match is not None else []
