"""From what the sources found to the snippets of a prompt: ranked, each once, within a budget, in a stable order.

A prompt's head is read once and kept by the engine, so a snippet that moves or goes costs reading all behind it again.
What was chosen before therefore stays as long as it is still worth nearly as much as the best choice would be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from midfill.context.focus import Focus
from midfill.context.index import SourceFile
from midfill.context.secrets import has_secret
from midfill.context.sources import SOURCES
from midfill.context.view import Found, Pick, Source, View, Window
from midfill.types import Snippet

CHARS_PER_TOKEN = 3.0  # of code, at least: the budget is not passed
TOKENS_PER_FILE = 6  # of the template, beside its path
LINE_TOKENS = 2  # line end and indentation of a signature
GOOD_ENOUGH = 0.85  # the share of the best worth with which an earlier choice stays
URGENT = 1.12  # a score with which something comes in at once
MIN_SCORE = 0.2  # what is less likely is worth less than the text around the cursor
MAX_FOUND = 3000
MAX_REPEATED = 2  # signatures that a window may show again

Key = tuple[str, int, int]  # file, and a definition's index and -1, or a window's lines


@dataclass(frozen=True, slots=True)
class Choice:
    """What stands in the prompts of one document, and where in the text that was decided."""

    snippets: tuple[Snippet, ...] = ()
    keys: frozenset[Key] = frozenset()


@dataclass(slots=True)
class _Basket:
    """What has been taken so far."""

    budget: float
    worth: float = 0.0
    keys: dict[Key, Found] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def offer(self, key: Key, found: Found) -> None:
        """Take it if there is room, and if it is not said already."""
        if self._has(found):
            return
        cost = _cost(found) + (0 if found.file.key in self.files else _path_cost(found.file))
        if isinstance(found, Pick):
            parent = found.file.definitions[found.at].parent
            if parent >= 0 and (found.file.key, parent, -1) not in self.keys:
                cost += len(found.file.definitions[parent].signature) / CHARS_PER_TOKEN + LINE_TOKENS
        if key not in self.keys and cost <= self.budget:
            self.budget -= cost
            self.worth += found.score
            self.keys[key] = found
            self.files.add(found.file.key)

    def _has(self, found: Found) -> bool:
        """Whether a window shows the definition, or the signatures that a window would show are there."""
        taken = [one for one in self.keys.values() if one.file is found.file]
        if isinstance(found, Pick):
            line = found.file.definitions[found.at].line
            return any(isinstance(one, Window) and one.start <= line < one.end for one in taken)
        lines = [one.file.definitions[one.at].line for one in taken if isinstance(one, Pick)]
        return sum(found.start <= line < found.end for line in lines) >= MAX_REPEATED


def choose(
    view: View, focus: Focus, budget: int, before: Choice | None = None, sources: Mapping[str, Source] = SOURCES
) -> Choice:
    """The snippets for ``focus``: about ``budget`` tokens, as much as possible of ``before`` first."""
    found = _best(view, focus, sources)
    ranked = sorted(found, key=lambda key: (-found[key].score, key))
    chosen = _filled(found, ranked, budget)
    if before is not None and before.keys:
        kept = _kept(found, ranked, budget, before)
        if kept.worth >= GOOD_ENOUGH * chosen.worth:
            chosen = kept
    return Choice(_ordered(_snippets(chosen), before), frozenset(chosen.keys))


def _filled(found: Mapping[Key, Found], order: Iterable[Key], budget: int) -> _Basket:
    basket = _Basket(budget)
    for key in order:
        basket.offer(key, found[key])
    return basket


def _kept(found: Mapping[Key, Found], ranked: Sequence[Key], budget: int, before: Choice) -> _Basket:
    """The earlier choice, and in front of it what cannot wait; without that exactly the earlier choice."""
    urgent = [key for key in ranked if found[key].score >= URGENT]
    kept = [key for key in ranked if key in before.keys and key not in urgent]
    if all(key in before.keys for key in urgent):
        return _filled(found, [*urgent, *kept], budget)
    return _filled(found, [*urgent, *kept, *ranked], budget)


def _best(view: View, focus: Focus, sources: Mapping[str, Source]) -> dict[Key, Found]:
    """Everything found, each once with its best score; nothing with a secret, nothing that is shown anyway."""
    found: dict[Key, Found] = {}
    n_left = MAX_FOUND
    for source in sources.values():
        for one in source(view, focus):
            n_left -= 1
            if n_left < 0:
                return found
            if one.score < MIN_SCORE or one.file.key == focus.key:
                continue
            key = (one.file.key, one.at, -1) if isinstance(one, Pick) else (one.file.key, one.start, one.end)
            earlier = found.get(key)
            if earlier is not None and earlier.score >= one.score:
                continue
            if earlier is not None or _is_fit(one, focus):
                found[key] = one
    return found


def _is_fit(found: Found, focus: Focus) -> bool:
    text = found.text if isinstance(found, Window) else found.file.definitions[found.at].signature
    return bool(text.strip()) and text not in focus.shown and not has_secret(text)


def _cost(found: Found) -> float:
    if isinstance(found, Window):
        return len(found.text) / CHARS_PER_TOKEN + LINE_TOKENS + TOKENS_PER_FILE
    return len(found.file.definitions[found.at].signature) / CHARS_PER_TOKEN + LINE_TOKENS


def _path_cost(file: SourceFile) -> float:
    return len(file.path) / CHARS_PER_TOKEN + TOKENS_PER_FILE


def _snippets(basket: _Basket) -> list[Snippet]:
    """Signatures by file, windows each by itself; the best last."""
    picks: defaultdict[str, list[Pick]] = defaultdict(list)
    snippets: list[Snippet] = []
    for found in basket.keys.values():
        if isinstance(found, Pick):
            picks[found.file.key].append(found)
        else:
            snippets.append(Snippet(found.file.path, found.text, found.source, round(found.score, 3)))
    for of_file in picks.values():
        best = max(of_file, key=lambda pick: pick.score)
        text = stub(best.file, {pick.at for pick in of_file})
        snippets.append(Snippet(best.file.path, text, best.source, round(best.score, 3)))
    return sorted(snippets, key=lambda snippet: snippet.score)


def stub(file: SourceFile, chosen: Iterable[int]) -> str:
    """The chosen definitions of a file by their signatures, in its order, each below the class it stands in."""
    shown = set(chosen)
    for at in tuple(shown):
        while (at := file.definitions[at].parent) >= 0:
            shown.add(at)
    lines: list[str] = []
    for at in sorted(shown):
        definition = file.definitions[at]
        if has_secret(definition.signature):
            continue
        indent = "    " * definition.depth
        end = ""
        if file.language == "python" and definition.kind in ("class", "function"):
            end = ":" if definition.kind == "class" else ": ..."
        lines += [indent + line for line in (definition.signature + end).split("\n")]
    return "\n".join(lines)


def _ordered(snippets: Sequence[Snippet], before: Choice | None) -> tuple[Snippet, ...]:
    """What stood there before first, in its order; what is new or has changed behind it."""
    fresh = {(snippet.path, snippet.text): snippet for snippet in snippets}
    kept = [fresh.pop(key) for one in (before.snippets if before else ()) if (key := (one.path, one.text)) in fresh]
    return (*kept, *fresh.values())
