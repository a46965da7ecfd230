"""The members of types that the workspace's files declare: Go and TypeScript, read from the index and its texts."""

from __future__ import annotations

from midfill.context.kinds import family
from midfill.context.knowledge import members_go, members_script
from midfill.context.knowledge.homes import Home, Members, is_cut
from midfill.context.knowledge.types import GO, Type


def members_of(kind: Type, home: Home) -> Members | None:
    """Return the members of ``kind`` as ``home`` means it; None if nothing is known of it."""
    if kind.wrappers:
        return None
    known, key = home.sight.members, (kind, home.key)
    if key not in known:
        known[key] = None  # for a type that is its own base
        known[key] = _read(kind, home)
    return known[key]


def _read(kind: Type, home: Home) -> Members | None:
    if kind.body:
        return members_script.object_type(kind.body, home)
    places = home.places(kind.name, kind.package)
    places = [place for place in places if place.definition.kind in ("class", "record")]
    if home.family == GO:  # several, if each file is built for one system
        found = [members_go.declared(place, Home.of(home.sight, place.file), members_of) for place in places]
        members = _united(found) if found else None
    elif len(places) == 1:
        members = members_script.declared(places[0], Home.of(home.sight, places[0].file), members_of)
    else:
        return None
    if members is not None and any(place.definition.kind == "record" and is_cut(place) for place in places):
        members.is_complete = False
    return members


def _united(found: list[Members | None]) -> Members | None:
    """Return the members of all of them together; None if any is unknown."""
    members = Members()
    for one in found:
        if one is None:
            return None
        members.add(one)
    return members


def family_of(language: str) -> str:
    """Return the family of a language that is read here; "" for others."""
    found = family(language)
    return found if found in (GO, "javascript") else ""
