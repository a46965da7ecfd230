"""From a snapshot to the token ids of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from midfill.fim.templates import Control, FimTemplate, Part, Placeholder
from midfill.fim.window import head, tail, word_before
from midfill.syntax import languages
from midfill.tokenizer import CodeTokenizer
from midfill.types import Snapshot, Snippet

# A longer path is cut to its end, which says most.
MAX_PATH = 160  # characters
PATH_SHARE = 0.25  # of the budget, at most


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it is sent. ``text`` spells it out with its control tokens, for a human reader."""

    ids: tuple[int, ...]
    n_control: int
    n_prefix: int
    n_suffix: int
    n_snippets: int  # tokens of other files
    text: str = ""
    suffix: tuple[int, int] | None = None  # where the text after the cursor is, if it comes after the prefix
    prefix_end: int = 0  # where the text before the cursor ends in the prompt, if the suffix comes after it
    forced_prefix: str = ""  # text before the cursor that is not in the prompt: the middle has to begin with it


Values = Mapping[Placeholder, str]


class FimRenderer:
    """Writes prompts of one template with one tokenizer."""

    # Shares of the budget. A suffix is worth its tokens (docs/log.md); the prefix gets what the other parts leave free.
    SUFFIX_SHARE = 0.25
    SNIPPET_SHARE = 0.28

    def __init__(
        self, template: FimTemplate, tokenizer: CodeTokenizer, order: str = "psm", *, heal: bool = False
    ) -> None:
        """``heal``: leave the part of a word before the cursor to the middle (token healing)."""
        wanted, other = (template.psm, template.spm) if order == "psm" else (template.spm, template.psm)
        self.template = template
        self.tokenizer = tokenizer
        self._heal = heal
        self._hole = wanted or other or ()
        self._start = self._fill(template.start, {})

    @property
    def start_ids(self) -> list[int]:
        """The control ids that every prompt of the template begins with."""
        return list(self._start)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Control ids that end a middle according to the template; engines stop at every other control id as well."""
        ids = (self.tokenizer.id_of((name,)) for name in self.template.stops)
        return frozenset(token for token in ids if token is not None)

    @property
    def end_id(self) -> int | None:
        """The control id that training puts after a middle; None without fill-in-the-middle tokens."""
        return self.tokenizer.id_of(self.template.end or self.template.stops[:1])

    def render(
        self, snapshot: Snapshot, snippets: Sequence[Snippet] = (), budget: int = 1024, repo: str = "project"
    ) -> Prompt:
        """Return the prompt for the middle at the cursor of ``snapshot``, at most ``budget`` tokens long.

        Each part is cut to its share before the parts are put together, so a sentinel is never cut off. The file is
        always named, in the form that the template's models learned or in a comment: without a name, a model that sees
        only a few lines guesses their language. The prefix of a file without text begins with that comment in any case.
        Snippets are taken in their order while they fit. The prefix begins at a coarse step of lines, so that further
        typing keeps the head of the prompt, and with it the KV cache.
        """
        values, here, title = self._name(snapshot, repo, budget)
        repository = self._fill(self.template.repo, values)
        budget -= len(self._assemble([], title, [], [], values)) + len(here)
        files = self._files(snippets, int(budget * self.SNIPPET_SHARE) - len(repository))
        front = [*repository, *files, *here] if files or (self.template.path_needs_repo and title) else here
        budget -= len(front) - len(here)
        n_suffix = int(budget * self.SUFFIX_SHARE) if Placeholder.SUFFIX in self._hole else 0
        suffix = head(self.tokenizer, snapshot.suffix, n_suffix)
        forced_prefix = word_before(snapshot.prefix) if self._heal else ""
        before = snapshot.prefix.removesuffix(forced_prefix) if forced_prefix else snapshot.prefix
        if not snapshot.text.strip() and not title:  # a name alone leaves small models in doubt (docs/log.md)
            before = values[Placeholder.COMMENT] + before
        prefix = tail(self.tokenizer, before, budget - len(suffix))
        ids = self._assemble(front, title, prefix, suffix, values)
        n_control = sum(token in self.tokenizer.control_ids for token in ids)
        bounds = self._suffix_bounds(len(front) + len(title) + len(prefix), len(suffix))
        return Prompt(
            tuple(ids), n_control, len(prefix), len(suffix), len(files), suffix=bounds,
            prefix_end=bounds[0] - self._n_between() if bounds else 0, forced_prefix=forced_prefix,
        )  # fmt: skip

    def _name(self, snapshot: Snapshot, repo: str, budget: int) -> tuple[Values, list[int], list[int]]:
        """Return what the slots hold, and the ids that name the file before the hole and at the beginning of its
        prefix.

        A path that takes too much of the budget is cut to the file's own name, and then left out.
        """
        path = snapshot.path or languages.file_name(snapshot.language)
        values: dict[Placeholder, str] = {}
        for shown in (path[-MAX_PATH:], path.rpartition("/")[2][-MAX_PATH:], ""):
            values = {
                Placeholder.PATH: shown,
                Placeholder.REPO: repo,
                Placeholder.LANGUAGE: languages.title(snapshot.language),
                Placeholder.COMMENT: languages.comment(snapshot.language, shown),
            }
            here, title = (
                (self._fill(self.template.here, values), self._fill(self.template.title, values))
                if shown
                else (self._pure(self.template.here), self._pure(self.template.title))
            )
            if len(here) + len(title) + self._n_in_hole(values) <= budget * PATH_SHARE:
                break
        return values, here, title

    def _pure(self, parts: Sequence[Part]) -> list[int]:
        """Return ``parts`` of a heading without a path: nothing, except what the template has there in any case."""
        return [] if Placeholder.PATH in parts or Placeholder.COMMENT in parts else self._fill(parts, {})

    def _n_in_hole(self, values: Values) -> int:
        named = [part for part in self._hole if part in (Placeholder.PATH, Placeholder.LANGUAGE)]
        return len(self._fill(named, values))

    def _suffix_bounds(self, n_before: int, n_suffix: int) -> tuple[int, int] | None:
        """Return where the suffix is, if the prefix comes first.

        This excludes the sentinel before it, which tells the model where the prefix ended and must be read at each
        keystroke.
        """
        hole = self._hole
        if Placeholder.SUFFIX not in hole or hole.index(Placeholder.SUFFIX) < hole.index(Placeholder.PREFIX):
            return None
        start = len(self._start) + n_before
        for part in hole[: hole.index(Placeholder.SUFFIX)]:
            start += len(self._fixed(part)) if not isinstance(part, Placeholder) else 0
        return start, start + n_suffix

    def _n_between(self) -> int:
        """Return how many sentinels are between the prefix and the suffix behind it."""
        hole = self._hole
        between = hole[hole.index(Placeholder.PREFIX) + 1 : hole.index(Placeholder.SUFFIX)]
        return sum(len(self._fixed(part)) for part in between if not isinstance(part, Placeholder))

    def spell(self, prompt: Prompt) -> str:
        """Return the prompt as text, for a human reader."""
        return self.tokenizer.decode(prompt.ids)

    def _assemble(
        self, front: list[int], title: list[int], prefix: list[int], suffix: list[int], values: Values
    ) -> list[int]:
        ids = list(self._start)
        if not self.template.inside:
            ids += front
        for part in self._hole:
            if part is Placeholder.PREFIX:
                ids += [*front, *title, *prefix] if self.template.inside else title + prefix
            elif part is Placeholder.SUFFIX:
                ids += suffix
            else:
                ids += self._fill((part,), values)
        return ids

    def _files(self, snippets: Sequence[Snippet], budget: int) -> list[int]:
        """Return the ids of those ``snippets`` that fit, each with its path."""
        ids: list[int] = []
        for snippet in snippets if self.template.file is not None else ():
            piece = self._fill(
                self.template.file or (), {Placeholder.PATH: snippet.path, Placeholder.CODE: snippet.text}
            )
            if len(ids) + len(piece) <= budget:
                ids += piece
        return ids

    def _fill(self, parts: Sequence[Part], values: Values) -> list[int]:
        ids: list[int] = []
        for part in parts:
            ids += self.tokenizer.encode(values[part]) if isinstance(part, Placeholder) else self._fixed(part)
        return ids

    def _fixed(self, part: Part) -> list[int]:
        if isinstance(part, Control):
            token = self.tokenizer.id_of(part.names)
            if token is None and part.or_text:
                return self.tokenizer.encode(part.names[0])
            assert token is not None or part.or_nothing, part  # find() has checked this
            return [token] if token is not None else []
        assert isinstance(part, str)
        return self.tokenizer.encode(part)
