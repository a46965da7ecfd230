"""Fill-in-the-middle prompts: templates, token budgets, token ids.

One function, ``FimRenderer.render``, writes the prompts of serving, training and evaluation.

Orders: PSM is prefix, suffix, middle; SPM has the suffix first and the prefix beside the middle (Bavarian et al. 2022,
"Efficient Training of Language Models to Fill in the Middle", arXiv:2207.14255; its SPM keeps the prefix sentinel in
front). What each model was trained on comes from its authors' model card or report, named beside the template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError, Snapshot, Snippet


class Slot(Enum):
    """What a prompt is filled with."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    PATH = "path"
    CODE = "code"
    REPO = "repo"


@dataclass(frozen=True, slots=True)
class Control:
    """A control token by its name, or by the first of several spellings that the tokenizer has."""

    names: tuple[str, ...]


Part = Slot | Control | str


def _control(*names: str) -> Control:
    return Control(names)


@dataclass(frozen=True, slots=True)
class FimTemplate:
    """How one family of models writes a hole.

    ``psm`` and ``spm`` are the file with the hole; ``repo`` opens a prompt of several files, ``file`` is one of the
    others, ``here`` comes before the file with the hole and ``title`` begins its prefix. ``inside`` puts the other
    files into the prefix (after its sentinel) instead of before the sentinels.
    """

    name: str
    psm: tuple[Part, ...] | None = None
    spm: tuple[Part, ...] | None = None
    bos: tuple[str, ...] = ()
    repo: tuple[Part, ...] = ()
    file: tuple[Part, ...] | None = None
    here: tuple[Part, ...] = ()
    title: tuple[Part, ...] = ()
    inside: bool = False
    stops: tuple[str, ...] = ()
    end: tuple[str, ...] = ()  # what is learned to stand behind a middle, if not the first of ``stops``


P, S = Slot.PREFIX, Slot.SUFFIX
_PIPE_PRE, _PIPE_SUF, _PIPE_MID = _control("<|fim_prefix|>"), _control("<|fim_suffix|>"), _control("<|fim_middle|>")
_STAR_PRE, _STAR_SUF, _STAR_MID = _control("<fim_prefix>"), _control("<fim_suffix>"), _control("<fim_middle>")
_LLAMA_PRE, _LLAMA_SUF, _LLAMA_MID = (
    _control("▁<PRE>", "<PRE>"),
    _control("▁<SUF>", "<SUF>"),
    _control("▁<MID>", "<MID>"),
)
_DEEP_PRE, _DEEP_HOLE, _DEEP_END = _control("<｜fim▁begin｜>"), _control("<｜fim▁hole｜>"), _control("<｜fim▁end｜>")
_MISTRAL_SUF, _MISTRAL_PRE = _control("[SUFFIX]"), _control("[PREFIX]")

_PIPE_PSM: tuple[Part, ...] = (_PIPE_PRE, P, _PIPE_SUF, S, _PIPE_MID)
_PIPE_SPM: tuple[Part, ...] = (_PIPE_PRE, _PIPE_SUF, S, _PIPE_MID, P)
_STAR_PSM: tuple[Part, ...] = (_STAR_PRE, P, _STAR_SUF, S, _STAR_MID)
_STAR_SPM: tuple[Part, ...] = (_STAR_PRE, _STAR_SUF, S, _STAR_MID, P)

# In the order in which they are looked for: the more demanding first.
TEMPLATES = {
    template.name: template
    for template in (
        FimTemplate(  # CodeGemma technical report and model card (Google, 2024)
            "codegemma",
            psm=_PIPE_PSM,
            spm=_PIPE_SPM,
            bos=("<bos>",),
            file=(Slot.CODE, _control("<|file_separator|>")),
            stops=("<|file_separator|>", "<eos>", "<end_of_turn>"),
        ),
        FimTemplate(  # Qwen2.5-Coder technical report and README (Alibaba, 2024)
            "qwen2.5-coder",
            psm=_PIPE_PSM,
            spm=_PIPE_SPM,
            repo=(_control("<|repo_name|>"), Slot.REPO, "\n"),
            file=(_control("<|file_sep|>"), Slot.PATH, "\n", Slot.CODE, "\n"),
            here=(_control("<|file_sep|>"), Slot.PATH, "\n"),
            stops=("<|endoftext|>", "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|im_end|>"),
        ),
        FimTemplate(  # StarCoder2 paper, section on repository context (BigCode, 2024)
            "starcoder2",
            psm=_STAR_PSM,
            spm=_STAR_SPM,
            repo=(_control("<repo_name>"), Slot.REPO),
            file=(_control("<file_sep>"), Slot.PATH, "\n", Slot.CODE),
            here=(_control("<file_sep>"),),
            title=(Slot.PATH, "\n"),
            stops=("<|endoftext|>", "<file_sep>", "<repo_name>"),
        ),
        FimTemplate(  # Granite code models follow StarCoder's tokens (IBM, 2024)
            "granite",
            psm=_STAR_PSM,
            spm=_STAR_SPM,
            repo=(_control("<reponame>"), Slot.REPO),
            file=(_control("<filename>"), Slot.PATH, "\n", Slot.CODE),
            here=(_control("<filename>"), Slot.PATH, "\n"),
            stops=("<|endoftext|>", "<filename>", "<reponame>"),
        ),
        FimTemplate(  # Code Llama paper (Meta, 2023); the spaces belong to the sentinels
            "codellama",
            psm=(_LLAMA_PRE, " ", P, _LLAMA_SUF, S, _LLAMA_MID),
            spm=(_LLAMA_PRE, _LLAMA_SUF, S, _LLAMA_MID, " ", P),
            bos=("<s>",),
            stops=("▁<EOT>", "<EOT>", "</s>"),
            end=("▁<EOT>", "<EOT>"),
        ),
        FimTemplate(  # DeepSeek-Coder README (2023)
            "deepseek-coder",
            psm=(_DEEP_PRE, P, _DEEP_HOLE, S, _DEEP_END),
            bos=("<｜begin▁of▁sentence｜>",),
            file=("#", Slot.PATH, "\n", Slot.CODE, "\n"),
            here=("#", Slot.PATH, "\n"),
            inside=True,
            stops=("<｜end▁of▁sentence｜>", "<|EOT|>"),
        ),
        FimTemplate(  # mistral-common's FIM encoding of Codestral (Mistral, 2024)
            "codestral",
            spm=(_MISTRAL_SUF, S, _MISTRAL_PRE, P),
            bos=("<s>",),
            file=("+++++ ", Slot.PATH, "\n", Slot.CODE, "\n"),
            here=("+++++ ", Slot.PATH, "\n"),
            inside=True,
            stops=("[PREFIX]", "[SUFFIX]", "</s>"),
            end=("</s>",),
        ),
        FimTemplate(  # Granite 4 documentation (IBM, 2025)
            "granite4",
            psm=_PIPE_PSM,
            spm=_PIPE_SPM,
            stops=("<|end_of_text|>", "<|fim_pad|>"),
        ),
    )
}

# For a model that was never taught to fill: the text before the cursor, and nothing else.
PREFIX_ONLY = FimTemplate("prefix", psm=(P,), bos=("<bos>", "<s>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>"))


def detect(tokenizer: CodeTokenizer) -> FimTemplate:
    """The template whose control tokens ``tokenizer`` has, or PREFIX_ONLY."""
    return next((template for template in TEMPLATES.values() if _fits(template, tokenizer)), PREFIX_ONLY)


def find(name: str, tokenizer: CodeTokenizer) -> FimTemplate:
    """The template called ``name`` ("auto" detects it). Raises MidfillError where the tokenizer does not fit it."""
    if name == "auto":
        return detect(tokenizer)
    template = PREFIX_ONLY if name == PREFIX_ONLY.name else TEMPLATES.get(name)
    if template is None:
        raise MidfillError(f"unknown template {name!r}", f"use auto, prefix or one of {', '.join(TEMPLATES)}")
    if missing := _missing(template, tokenizer):
        raise MidfillError(f"the model has no token {missing!r}, which template {name} needs", 'set template = "auto"')
    return template


def _parts(template: FimTemplate) -> tuple[Part, ...]:
    hole = template.psm or template.spm or ()
    return (*hole, *template.repo, *(template.file or ()), *template.here, *template.title)


def _missing(template: FimTemplate, tokenizer: CodeTokenizer) -> str | None:
    for part in _parts(template):
        if isinstance(part, Control) and tokenizer.id_of(part.names) is None:
            return part.names[0]
    return None


def _fits(template: FimTemplate, tokenizer: CodeTokenizer) -> bool:
    return _missing(template, tokenizer) is None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it is sent. ``text`` spells it out with its control tokens, for people."""

    ids: tuple[int, ...]
    n_control: int
    n_prefix: int
    n_suffix: int
    n_snippets: int
    text: str = ""
    suffix: tuple[int, int] | None = None  # where the text after the cursor stands, if it comes after the prefix
    beginning: str = ""  # text before the cursor that is not in the prompt: the middle has to begin with it


class FimRenderer:
    """Writes prompts of one template with one tokenizer."""

    # Shares of the budget. A suffix is worth its tokens (docs/log.md); what one part leaves free, the prefix gets.
    SUFFIX_SHARE = 0.25
    SNIPPET_SHARE = 0.28

    def __init__(
        self, template: FimTemplate, tokenizer: CodeTokenizer, order: str = "psm", *, heal: bool = False
    ) -> None:
        """``heal``: leave the part of a word that stands before the cursor to the middle (token healing)."""
        wanted, other = (template.psm, template.spm) if order == "psm" else (template.spm, template.psm)
        self.template = template
        self.tokenizer = tokenizer
        self._heal = heal
        self._hole = wanted or other or ()
        self._bos = [bos] if template.bos and (bos := tokenizer.id_of(template.bos)) is not None else []

    @property
    def stop_ids(self) -> frozenset[int]:
        """Control ids that end a middle by the template; engines stop at every other control id as well."""
        ids = (self.tokenizer.id_of((name,)) for name in self.template.stops)
        return frozenset(token for token in ids if token is not None)

    @property
    def end_id(self) -> int | None:
        """The control id that training puts behind a middle; None without fill-in-the-middle tokens."""
        return self.tokenizer.id_of(self.template.end or self.template.stops[:1])

    def render(
        self, snapshot: Snapshot, snippets: Sequence[Snippet] = (), budget: int = 1024, repo: str = "project"
    ) -> Prompt:
        """The prompt for the middle at the cursor of ``snapshot``, at most ``budget`` tokens long.

        Each part is cut to its share before the parts are put together, so a sentinel is never cut off. Snippets
        are taken in their order while they fit. The prefix begins at a coarse step of lines, so that typing on
        keeps the head of the prompt, and with it the KV cache.
        """
        budget -= len(self._assemble([], [], [], []))
        files: list[int] = []
        title: list[int] = []
        if snippets and self.template.file is not None:
            title = self._fill(self.template.title, {Slot.PATH: snapshot.path or "untitled"})
            files = self._files(snapshot, snippets, int(budget * self.SNIPPET_SHARE) - len(title), repo)
            title = title if files else []
            budget -= len(files) + len(title)
        n_suffix = int(budget * self.SUFFIX_SHARE) if Slot.SUFFIX in self._hole else 0
        suffix = head(self.tokenizer, snapshot.suffix, n_suffix)
        beginning = word_before(snapshot.prefix) if self._heal else ""
        before = snapshot.prefix.removesuffix(beginning) if beginning else snapshot.prefix
        prefix = tail(self.tokenizer, before, budget - len(suffix))
        ids = self._assemble(files, title, prefix, suffix)
        n_control = sum(token in self.tokenizer.control_ids for token in ids)
        n_files = len(files) + len(title)
        bounds = self._suffix_bounds(n_files + len(prefix), len(suffix))
        return Prompt(
            tuple(ids), n_control, len(prefix), len(suffix), n_files, suffix=bounds, beginning=beginning
        )  # fmt: skip

    def _suffix_bounds(self, n_before: int, n_suffix: int) -> tuple[int, int] | None:
        """Where the suffix stands, if the prefix comes first.

        Without the sentinel before it, which tells the model where the prefix ended and must be read at each keystroke.
        """
        hole = self._hole
        if Slot.SUFFIX not in hole or hole.index(Slot.SUFFIX) < hole.index(Slot.PREFIX):
            return None
        start = len(self._bos) + n_before
        for part in hole[: hole.index(Slot.SUFFIX)]:
            start += len(self._fixed(part)) if not isinstance(part, Slot) else 0
        return start, start + n_suffix

    def spell(self, prompt: Prompt) -> str:
        """The prompt as text, for people."""
        return self.tokenizer.decode(prompt.ids)

    def _assemble(self, files: list[int], title: list[int], prefix: list[int], suffix: list[int]) -> list[int]:
        ids = list(self._bos)
        if not self.template.inside:
            ids += files
        for part in self._hole:
            if part is Slot.PREFIX:
                ids += files + prefix if self.template.inside else title + prefix
            elif part is Slot.SUFFIX:
                ids += suffix
            else:
                ids += self._fixed(part)
        return ids

    def _files(self, snapshot: Snapshot, snippets: Sequence[Snippet], budget: int, repo: str) -> list[int]:
        assert self.template.file is not None
        ids = self._fill(self.template.repo, {Slot.REPO: repo})
        here = self._fill(self.template.here, {Slot.PATH: snapshot.path or "untitled"})
        start = len(ids)
        for snippet in snippets:
            piece = self._fill(self.template.file, {Slot.PATH: snippet.path, Slot.CODE: snippet.text})
            if len(ids) + len(piece) + len(here) <= budget:
                ids += piece
        return ids + here if len(ids) > start else []

    def _fill(self, parts: Sequence[Part], values: dict[Slot, str]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            ids += self.tokenizer.encode(values[part]) if isinstance(part, Slot) else self._fixed(part)
        return ids

    def _fixed(self, part: Part) -> list[int]:
        if isinstance(part, Control):
            token = self.tokenizer.id_of(part.names)
            assert token is not None, part  # find() has looked
            return [token]
        assert isinstance(part, str)
        return self.tokenizer.encode(part)


# A longer word is no name that somebody is typing.
MAX_WORD = 40
_WORD = re.compile(r" ?[^\W\d]\w{0,39}\Z")


def word_before(text: str) -> str:
    """The word that ``text`` ends in, with the space in front of it, which is part of its first token."""
    match = _WORD.search(text, max(0, len(text) - MAX_WORD - 1))
    if match is None or (match.group()[0] != " " and re.match(r"\w", text[match.start() - 1 : match.start()])):
        return ""  # the end of a longer word or number
    return match.group()


# More characters than this a token are rare in code; a window of so many characters is enough to fill a budget.
CHARS_PER_TOKEN = 8


def tail(tokenizer: CodeTokenizer, text: str, budget: int) -> list[int]:
    """The last at most ``budget`` tokens of ``text``, begun at a coarse step of lines where one is near."""
    if budget <= 0:
        return []
    clip = max(0, len(text) - budget * CHARS_PER_TOKEN)
    ids, starts = tokenizer.encode_with_offsets(text[clip:])
    if clip == 0 and len(ids) <= budget:
        return ids
    at = _whole_character(starts, len(ids) - budget, 1)
    first = clip + starts[at] if at < len(starts) else len(text)
    start = _coarse_start(text, first, step=_step(budget), latest=len(text) - (len(text) - first) // 2)
    ids, starts = tokenizer.encode_with_offsets(text[start:])
    return ids[_whole_character(starts, len(ids) - budget, 1) :]


def head(tokenizer: CodeTokenizer, text: str, budget: int) -> list[int]:
    """The first at most ``budget`` tokens of ``text``, ended at a line end where one is near."""
    if budget <= 0:
        return []
    text = text[: budget * CHARS_PER_TOKEN]
    ids, starts = tokenizer.encode_with_offsets(text)
    if len(ids) <= budget:
        return ids
    end = text.rfind("\n", starts[budget] // 2, starts[budget])
    if end >= 0:
        ids, starts = tokenizer.encode_with_offsets(text[: end + 1])
    return ids[: _whole_character(starts, budget, -1)]


def _whole_character(starts: Sequence[int], at: int, step: int) -> int:
    """The token nearest to ``at``, in the direction of ``step``, that does not begin inside a character of several."""
    at = max(at, 0)
    while 0 < at < len(starts) and starts[at] == starts[at - 1]:
        at += step
    return at


MAX_STEP = 256


def _step(budget: int) -> int:
    """Lines a window's start moves at once: about a quarter of what the budget holds at ten tokens a line."""
    step = 8
    while step * 2 * 40 <= budget and step < MAX_STEP:
        step *= 2
    return step


def _coarse_start(text: str, first: int, step: int, latest: int) -> int:
    """The first line start from ``first`` on whose number is a multiple of ``step``, else the next line start."""
    number = text.count("\n", 0, first)
    at, fallback = first, first
    if first > 0 and text[first - 1] != "\n":
        at = text.find("\n", first) + 1
        if not 0 < at <= latest:
            return first
        number += 1
        fallback = at
    while at <= latest:
        if number % step == 0:
            return at
        following = text.find("\n", at) + 1
        if following <= 0:
            break
        at, number = following, number + 1
    return fallback
