"""What functions take, by the heads in the workspace's own files: read from the index.

For Go and TypeScript, whose names the text resolves (``homes``), that is complete. For Kotlin, C#, Ruby and PHP it is
the only function of that name in the workspace, which may be another one than is called: good for a guess, no more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from midfill.context.focus import Focus
from midfill.context.index import DefinitionRef
from midfill.context.knowledge.bound import variables
from midfill.context.knowledge.homes import Home, Sight
from midfill.context.knowledge.names import INDEX
from midfill.context.knowledge.places import MAX_CALL
from midfill.context.knowledge.types import GO, SCRIPT, closing, split
from midfill.context.signatures import MAX as MAX_HEAD
from midfill.syntax.calls import Parameter, Signature, opened

MAX_FUNCTIONS = 120
RESOLVED = {GO: ("go",), SCRIPT: ("typescript", "typescriptreact")}  # languages, by family
GUESSED = ("kotlin", "csharp", "ruby", "php")
_BINDS = (
    r"(?m)\b(?:function\*?|const|let|var|class|enum|import)\s+{name}\b|[{{,(]\s*{name}\s*(?:[,:)}}]|=>)|\b{name}\s*=>"
)
_NAME = re.compile(r"[^\W\d]\w*")


def signatures_at(sight: Sight, focus: Focus) -> dict[str, Signature]:
    """Return what may be called at a cursor takes, by callee."""
    if focus.language in RESOLVED.get(focus.family, ()):
        return dict(_resolved(sight, focus, variables(focus)))
    return dict(_guessed(sight, focus)) if focus.language in GUESSED else {}


def _resolved(sight: Sight, focus: Focus, hidden: Collection[str]) -> Iterator[tuple[str, Signature]]:
    home = Home(sight, focus.key, focus.path, focus.family, focus.text)
    n_left = MAX_FUNCTIONS
    for callee in _callees(home, focus):
        package, _, name = callee.rpartition(".")
        if n_left == 0:
            return
        if (package or name) in hidden:
            continue
        n_left -= 1
        places = [place for place in home.places(name, package) if place.definition.kind == "function"]
        if len(places) != 1 or (focus.family == SCRIPT and not _is_bound_once(name, places[0], focus)):
            continue  # overloads, or files for several systems
        if (found := signature_of(places[0], callee, is_complete=True)) is not None:
            yield callee, found


def _callees(home: Home, focus: Focus) -> Iterator[str]:
    """Yield what the text calls or imports, or its package defines."""
    seen: dict[str, None] = {}
    if focus.family == GO:
        for alias, files in home.imported.items():
            if re.search(rf"\b{re.escape(alias)}\.", focus.text):
                seen |= dict.fromkeys(
                    f"{alias}.{one.name}" for file in files for one in file.definitions
                    if one.kind == "function" and not one.owner and one.name[:1].isupper()
                )  # fmt: skip
        own = home.sight.index.in_folder(home.folder)
    else:
        seen |= dict.fromkeys(home.imported)
        own = [file for file in [home.sight.index.files.get(focus.key)] if file is not None]
    functions = [one.name for file in own for one in file.definitions if one.kind == "function" and not one.owner]
    words = focus.near
    yield from sorted(dict.fromkeys((*functions, *seen)), key=lambda name: name.rpartition(".")[2] not in words)


def _is_bound_once(name: str, place: DefinitionRef, focus: Focus) -> bool:
    """Whether the name means nothing else anywhere in the cursor's file: no parameter, no variable."""
    found = re.findall(_BINDS.format(name=re.escape(name)), focus.text[:200_000])
    return len(found) <= 1


def _guessed(sight: Sight, focus: Focus) -> Iterator[tuple[str, Signature]]:
    """Yield what the innermost call at the cursor takes, if the workspace has one function of its name."""
    stack = opened(focus.text[max(0, focus.cursor - MAX_CALL) : focus.cursor], focus.language)
    callee = stack[-1].callee if stack else ""
    name = callee.rpartition(".")[2]
    places = [
        place for place in (sight.index.defining(name) if name else ())
        if place.definition.kind == "function" and place.file.language == focus.language
        and sight.may_use(place.file.key)
    ]  # fmt: skip
    if len(places) == 1 and (found := signature_of(places[0], callee, is_complete=False)) is not None:
        yield callee, found


def signature_of(place: DefinitionRef, callee: str, *, is_complete: bool) -> Signature | None:
    """Return what a function takes, from its head; None if that is not whole."""
    one, language = place.definition, place.file.language
    head = one.signature
    at = re.search(rf"(?<![\w$]){re.escape(one.name)}(?![\w$])\s*(?:[<\[][^()]*[>\]]\s*)?\(", head)
    if at is None or len(head) >= MAX_HEAD or (end := closing(head, at.end() - 1)) < 0:
        return None
    if re.search(r"[<>]", re.sub(r"<-|=>|->|<[\w\s,.|\[\]]*>", "", head[at.end() : end])):
        return None  # a comparison, or types inside of types, whose commas may be misread
    parts = [part.strip() for part in split(head[at.end() : end], ",")]
    return replace(taken(parts, language), callee=callee, is_complete=is_complete, source=INDEX)


def taken(parts: Sequence[str], language: str) -> Signature:
    """Return what a callee takes whose head has ``parts`` between its parentheses."""
    parts = [part for part in parts if part and part not in ("/", "*")]
    if any(re.match(r"this\b", part) for part in parts[:1]):
        parts = parts[1:]  # an extension method, or TypeScript's type of ``this``
    is_rest = any("..." in part or part.startswith(("*", "vararg ", "params ")) for part in parts)
    has_more = any(part.startswith("**") for part in parts)
    parameters = [found for part in parts if (found := _parameter(part, language)) is not None]
    return Signature("", tuple(parameters), is_rest, has_more)


def _parameter(part: str, language: str) -> Parameter | None:
    """Return one parameter of a head; None if it takes none or any number."""
    if "..." in part or part.startswith(("*", "&", "vararg ", "params ")):
        return None
    if language == "ruby":
        label = re.match(r"(\w+):(?!:)", part)
        name = label[1] if label is not None else part.partition("=")[0].strip()
        return Parameter(name, by_position=label is None, by_name=label is not None)
    if language in ("csharp", "php"):
        words = _NAME.findall(part.partition("=")[0])
        return Parameter(words[-1] if words else "")
    words = _NAME.findall(re.split(r"[:=]", part, maxsplit=1)[0])
    at = 0 if language == "go" else -1
    return Parameter(words[at] if words else "", by_name=language == "kotlin")
