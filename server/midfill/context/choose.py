"""From the findings of the sources to the snippets of a prompt: ranked, each once, within a budget, in a stable order.

The engine reads the head of a prompt once and keeps it, so a snippet that moves or goes makes it read everything after
it again. The snippets therefore come in two parts. The front holds what a file and a scope need: signatures of imports,
of names, of neighbours. It stays as long as it is worth a good part of the best choice. The part after it holds what
the current line needs: the members of the class before the dot, similar code, the latest edits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from midfill.context import signatures
from midfill.context.focus import Focus
from midfill.context.index import SourceFile
from midfill.context.secrets import has_secret
from midfill.context.shared import shares_names
from midfill.context.sources import SOURCES, imports
from midfill.context.view import Excerpt, Found, Pick, Source, View
from midfill.types import Snippet

CHARS_PER_TOKEN = 3.0  # of code, at least, so the budget is never exceeded
TOKENS_PER_FILE = 6  # of the template, in addition to the path
LINE_TOKENS = 2  # line end and indentation of a signature
FRONT_SHARE = 0.6  # of the budget; the second part gets the rest
GOOD_ENOUGH = 0.6  # an earlier front stays if it is worth this share of the best one
URGENT = 1.12  # a finding with this score belongs to the second part
MIN_SCORE = 0.45  # a less likely finding is worth less than the text around the cursor (docs/log.md)
MAX_FOUND = 3000
MAX_REPEATED = 2  # signatures that a window may repeat

Key = tuple[str, int, int]  # file, and either a definition's index and -1, or a window's lines


@dataclass(frozen=True, slots=True)
class Choice:
    """What the prompts of one document contain, and what it was made from."""

    snippets: tuple[Snippet, ...] = ()
    front: Mapping[Key, Found] = field(default_factory=dict)
    behind: tuple[Key, ...] = ()


@dataclass(slots=True)
class _Basket:
    """What has been chosen so far."""

    budget: float
    worth: float = 0.0
    keys: dict[Key, Found] = field(default_factory=dict)
    of_file: defaultdict[str, list[Found]] = field(default_factory=lambda: defaultdict(list))

    def fill(self, found: Mapping[Key, Found], order: Iterable[Key]) -> _Basket:
        """Offer everything in ``order``."""
        for key in order:
            self._offer(key, found[key])
        return self

    def _offer(self, key: Key, found: Found) -> None:
        """Take it if there is room, and if its content is not there yet."""
        if key in self.keys or self._has(found):
            return
        cost = _cost(found) + (0 if self.of_file[found.file.key] else _path_cost(found.file))
        if isinstance(found, Pick):
            parent = found.file.definitions[found.at].parent
            if parent >= 0 and (found.file.key, parent, -1) not in self.keys:
                cost += len(found.file.definitions[parent].signature) / CHARS_PER_TOKEN + LINE_TOKENS
        if cost <= self.budget:
            self.budget -= cost
            self.worth += found.score
            self.keys[key] = found
            self.of_file[found.file.key].append(found)

    def _has(self, found: Found) -> bool:
        """Whether a window shows the definition, or the signatures that a window would show are already there."""
        taken = self.of_file[found.file.key]
        if isinstance(found, Pick):
            line = found.file.definitions[found.at].line
            return any(isinstance(one, Excerpt) and one.start <= line < one.end for one in taken)
        lines = [one.file.definitions[one.at].line for one in taken if isinstance(one, Pick)]
        return sum(found.start <= line < found.end for line in lines) >= MAX_REPEATED


def choose(
    view: View, focus: Focus, budget: int, before: Choice | None = None, sources: Mapping[str, Source] = SOURCES
) -> Choice:
    """Return the snippets for ``focus``: about ``budget`` tokens, with the front of ``before`` if that is
    still good."""
    before = before or Choice()
    found = _best(view, focus, sources)
    ranked = sorted(found, key=lambda key: (-found[key].score, key))
    late = {key for key in ranked if _is_behind(key, found)}
    front = _front(found, [key for key in ranked if key not in late], budget * FRONT_SHARE, before, view, focus)
    behind = _Basket(front.budget + budget * (1 - FRONT_SHARE), keys=dict(front.keys))
    for key, one in front.keys.items():
        behind.of_file[key[0]].append(one)
    behind.fill(found, [key for key in ranked if key in late])
    behind.fill(found, [key for key in before.behind if key in found]).fill(found, ranked)
    rest = {key: one for key, one in behind.keys.items() if key not in front.keys}
    members = {key: one for key, one in rest.items() if isinstance(one, Pick) and key in late}
    others = {key: one for key, one in rest.items() if key not in members}
    snippets = [*_snippets(front.keys), *_snippets(others), *_snippets(members, focus.access)]
    return Choice(_ordered(snippets, before), front.keys, tuple(rest))


def _is_behind(key: Key, found: Mapping[Key, Found]) -> bool:
    """Whether it belongs to the line rather than to the file; the members of such a class go with the class."""
    one = found[key]
    if isinstance(one, Excerpt) or one.score >= URGENT:
        return True
    of_class = found.get((key[0], one.file.definitions[one.at].parent, -1))
    return of_class is not None and of_class.score >= URGENT


def _front(
    found: Mapping[Key, Found], ranked: Sequence[Key], budget: float, before: Choice, view: View, focus: Focus
) -> _Basket:
    """Return the earlier front with as little change as possible, or the best one if that is worth far more."""
    best = _Basket(budget).fill(found, ranked)
    still = {
        key: found.get(key, one)
        for key, one in before.front.items()
        if view.index.files.get(key[0]) is one.file and view.may_show(key[0], focus)
    }
    kept = _Basket(budget).fill(still, still)
    worth = sum(found[key].score for key in kept.keys if key in found)
    return kept if still and len(kept.keys) == len(before.front) and worth >= GOOD_ENOUGH * best.worth else best


def _best(view: View, focus: Focus, sources: Mapping[str, Source]) -> dict[Key, Found]:
    """Return every finding once with its best score, without secrets and without what is shown anyway."""
    found: dict[Key, Found] = {}
    n_left = MAX_FOUND
    for source in sources.values():
        for one in source(view, focus):
            n_left -= 1
            if n_left < 0:
                return found
            if one.score < MIN_SCORE or one.file.key == focus.key or not view.may_show(one.file.key, focus):
                continue
            if one.source != imports.NAME and not shares_names(one.file.language, focus):  # an import explains itself
                continue
            key = (one.file.key, one.at, -1) if isinstance(one, Pick) else (one.file.key, one.start, one.end)
            earlier = found.get(key)
            if earlier is not None and earlier.score >= one.score:
                continue
            if earlier is not None or _is_fit(one, focus):
                found[key] = one
    return found


def _is_fit(found: Found, focus: Focus) -> bool:
    text = found.text if isinstance(found, Excerpt) else found.file.definitions[found.at].signature
    return bool(text.strip()) and text not in focus.shown and not has_secret(text, found.file.path)


def _cost(found: Found) -> float:
    if isinstance(found, Excerpt):
        return len(found.text) / CHARS_PER_TOKEN + LINE_TOKENS + TOKENS_PER_FILE
    return len(found.file.definitions[found.at].signature) / CHARS_PER_TOKEN + LINE_TOKENS


def _path_cost(file: SourceFile) -> float:
    return len(file.path) / CHARS_PER_TOKEN + TOKENS_PER_FILE


def _snippets(chosen: Mapping[Key, Found], access: str = "") -> list[Snippet]:
    """Return signatures by file and windows one by one; the best last. ``access``: the text before members."""
    picks: defaultdict[str, list[Pick]] = defaultdict(list)
    snippets: list[Snippet] = []
    for found in chosen.values():
        if isinstance(found, Pick):
            picks[found.file.key].append(found)
        else:
            snippets.append(Snippet(found.file.path, found.text, found.source, round(found.score, 3)))
    for of_file in picks.values():
        best = max(of_file, key=lambda pick: pick.score)
        text = stub(best.file, {pick.at for pick in of_file}, access)
        snippets.append(Snippet(best.file.path, text, best.source, round(best.score, 3)))
    return sorted(snippets, key=lambda snippet: (snippet.score, snippet.path))


def stub(file: SourceFile, chosen: Iterable[int], access: str = "") -> str:
    """Return the chosen definitions of a file by their signatures, in its order, each below its class.

    With ``access``, members are shown as they are used after it, ``client.send(data)``: a model that has just read
    ``client.`` continues with what followed it elsewhere.
    """
    shown = set(chosen)
    for at in tuple(shown):
        while (at := file.definitions[at].parent) >= 0:
            shown.add(at)
    lines: list[str] = []
    for at in sorted(shown):
        definition = file.definitions[at]
        if has_secret(definition.signature, file.path):
            continue
        if access and definition.owner and definition.kind in ("function", "field"):
            lines.append(access + signatures.use(definition.name, definition.signature))
            continue
        indent = "    " * definition.depth
        end = ""
        if file.language == "python" and definition.kind in ("class", "function"):
            end = ":" if definition.kind == "class" else ": ..."
        lines += [indent + line for line in (definition.signature + end).split("\n")]
    return "\n".join(lines)


def _ordered(snippets: Sequence[Snippet], before: Choice) -> tuple[Snippet, ...]:
    """Return first what was there before, in its order and unchanged; then what is new or has changed."""
    fresh = {(snippet.path, snippet.text): snippet for snippet in snippets}
    kept = [one for one in before.snippets if fresh.pop((one.path, one.text), None) is not None]
    return (*kept, *fresh.values())


def cost_of(snippet: Snippet) -> float:
    """Return the most tokens that a snippet can take."""
    return (len(snippet.text) + len(snippet.path)) / CHARS_PER_TOKEN + LINE_TOKENS + TOKENS_PER_FILE


def last_within(snippets: Sequence[Snippet], budget: float) -> tuple[Snippet, ...]:
    """Return the last of ``snippets``, which are the most useful, as far as there is room."""
    for n in range(len(snippets)):
        if sum(map(cost_of, snippets[n:])) <= budget:
            return tuple(snippets[n:])
    return ()
