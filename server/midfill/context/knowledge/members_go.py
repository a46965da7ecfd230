"""The members of Go's types: fields, methods from every file of the package, embedded types."""

from __future__ import annotations

import re

from midfill.context.index import DefinitionRef
from midfill.context.knowledge.homes import MAX_MEMBER, Find, Home, Member, Members, inherit, lines_of, text_of
from midfill.context.knowledge.types import GO, closing, read_type, results

_FIELD = re.compile(r"^(\w+(?:\s*,\s*\w+)*)\s+([^`]+?)\s*(?:`.*)?$")
_EMBEDDED = re.compile(r"^\*?(?:\w+\.)?\w+(?:\[[^\]]*\])?$")
_METHOD = re.compile(r"^(\w+)\s*\(")


def declared(place: DefinitionRef, home: Home, find: Find) -> Members | None:
    """Return those of one declaration; None if it has nothing that is read here."""
    name, text = place.definition.name, text_of(place)
    said = re.search(rf"\b{re.escape(name)}\b(?:\[[^\]]*\])?\s*(=?)\s*(.*)", text, re.DOTALL)
    if said is None:
        return None
    what = said[2].strip()
    members = Members(is_complete=home.sight.is_whole(place.file))
    if said[1]:  # another name for a type
        other = read_type(what, GO)
        return find(other, home) if other is not None else None
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
    for line in lines_of(what[body.end() : end], "\n;"):
        _line(line, members, home, find)
    return members


def _line(line: str, members: Members, home: Home, find: Find) -> None:
    """Read a line of a struct or an interface."""
    bare = line.partition("`")[0].strip()
    if not bare:
        return
    if len(line) > MAX_MEMBER:
        members.is_complete = False
    elif (method := _METHOD.match(bare)) is not None:
        types = results(bare, method[1], GO)
        members.found.setdefault(method[1], Member(types[0] if types else "", home, is_called=True))
    elif _EMBEDDED.match(bare):
        kind = read_type(bare, GO)
        if kind is not None:
            members.found.setdefault(kind.name, Member(bare, home))
        inherit(members, kind, home, find)
    elif (one := _FIELD.match(line)) is not None:
        for name in one[1].split(","):
            members.found.setdefault(name.strip(), Member(one[2], home))
    else:
        members.is_complete = False
