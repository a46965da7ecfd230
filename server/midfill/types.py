"""The nouns that every layer shares. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "ready", "generating", "off", "error"]
Trigger = Literal["automatic", "invoked"]
# Where a completion comes from: from the engine for this request; from a generation in flight that another request
# began; from a finished middle, at its place or typed into.
Origin = Literal["engine", "growing", "cache", "typed through"]

# What would break a line or steer a terminal: control characters, line separators, bidirectional overrides.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Return ``text`` from a file or another process in a form that is safe to print."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


class MidfillError(Exception):
    """A problem that the user can fix: one line says what is wrong, and one says what to do.

    Users see both texts as they are, so they hold no source code and no secrets.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.remedy = one_line(remedy)

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the editor showed when the request arrived.

    ``text`` has ``\\n`` line ends whatever the buffer has; ``eol`` is what the buffer uses, and what a completion
    is given back in. ``cursor`` counts code points of ``text``.
    """

    uri: str
    version: int
    language: str
    text: str
    cursor: int
    eol: str = "\n"
    path: str = ""  # relative to the workspace, separated by "/"; the model sees it as the file's name
    name: str = ""  # the same as the editor has it, which globs match; "": as the model sees it

    @property
    def prefix(self) -> str:
        """The text before the cursor."""
        return self.text[: self.cursor]

    @property
    def suffix(self) -> str:
        """The text after the cursor."""
        return self.text[self.cursor :]

    @property
    def line_before(self) -> str:
        """The cursor's line up to the cursor."""
        return self.text[self.text.rfind("\n", 0, self.cursor) + 1 : self.cursor]

    @property
    def line_after(self) -> str:
        """The cursor's line from the cursor on, without its line end."""
        end = self.text.find("\n", self.cursor)
        return self.text[self.cursor :] if end < 0 else self.text[self.cursor : end]


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another file that goes into the prompt."""

    path: str
    text: str
    source: str = ""  # the context source that found it
    score: float = 0.0  # how likely it is needed, up to about 1


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of one generation. Counts are tokens; ``*_s`` are seconds on a monotonic clock."""

    n_prompt: int = 0
    n_cached: int = 0  # prompt tokens whose keys and values were cached
    n_decoded: int = 0
    queue_s: float = 0.0
    ttft_s: float = 0.0  # seconds from the request's arrival at the engine to its first token
    total_s: float = 0.0
    n_drafted: int = 0  # tokens drafted by prompt lookup, and how many of them were right
    n_accepted: int = 0
    stop_logprob: float = 0.0  # log probability of the control token that ended it, if requested


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no suggestion."""

    name: str
    why: str  # for users: the rest of "Nothing was shown: ..."


USAGE = "usage"  # a source of names: the other files use them like that


@dataclass(frozen=True, slots=True)
class NamesFacts:
    """What was known about the names at the cursor when the prompt was sent."""

    receiver: str
    source: str
    n: int
    complete: bool  # there are no others
    only: bool  # the model had to choose one of them
    likelier: bool = True  # some of them were made likelier
    kind: Literal["members", "parameters"] = "members"
    by_usage: bool = False  # other files told which are likely


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What a generation's prompt was made of. Counts are tokens; ``*_s`` are seconds."""

    snippets: tuple[Snippet, ...] = ()
    n_prefix: int = 0
    n_suffix: int = 0
    n_snippets: int = 0
    budget: int = 0
    context_s: float = 0.0
    render_s: float = 0.0
    names: NamesFacts | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """How a completion came about, for explaining and measuring it."""

    trigger: Trigger = "automatic"
    model: str = ""
    adapter: str = ""
    adapter_digest: str = ""  # of its version; "" if the engine does not report it
    refusal: Refusal | None = None
    scope: str = ""  # "code", "comment" ...; "" if nothing needed it
    debounce_s: float = 0.0
    prompt: PromptFacts = PromptFacts()
    rules: tuple[tuple[str, int], ...] = ()  # the rules that were applied, and how many characters each removed
    confidence: float | None = None  # 0 to 1: mean probability of a token
    hidden: str = ""  # for users: why the model's output is not shown, if it was not sure enough


@dataclass(frozen=True, slots=True)
class Completion:
    """A middle so far. Each value of one stream replaces the one before."""

    text: str  # with "\n" line ends, ready to be shown; may be empty
    snapshot: Snapshot
    finished: bool = False
    origin: Origin = "engine"
    finish_reason: str = ""  # "stop", "length", "unit" (ended by our own rule), "cancelled", "refused"
    stats: Stats | None = None
    raw: str = ""  # the model's output before post-processing
    id: str = ""  # of the suggestion; it stays the same while the user types along it
    others: tuple[str, ...] = ()  # further candidates, the most probable first
    facts: Facts = Facts()

    @property
    def texts(self) -> tuple[str, ...]:
        """Return every candidate that shows something, the best first."""
        return tuple(text for text in (self.text, *self.others) if text)

    @property
    def from_cache(self) -> bool:
        """Whether a finished middle answered, without the engine."""
        return self.origin in ("cache", "typed through")


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the user sees of the engine."""

    state: State
    message: str = ""
    remedy: str = ""
    stage: str = ""  # while starting: "assembling", "converting", "loading" ...
    progress: float | None = None  # 0..1, of that stage as the engine reports it, of the whole start as it is shown
    left_s: int | None = None  # seconds until it is ready, if known
    model: str = ""
    adapter: str = "none"
    device: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a language server must know of the engine's model to write prompts for it."""

    name: str
    tokenizer_file: str
    template: str | None  # a key of fim.TEMPLATES, or None: prefix only
    context_tokens: int  # prompt budget that this device answers quickly
    max_context: int  # the longest prompt that the model can take
    device: str
    dtype: str
    parameters: int = 0
    suffix_shift: bool = False  # whether keeping the suffix's keys and values pays here; it is approximate
    scores: bool = False  # whether it gives the log probabilities of given tokens
    most_tokens: int = 0  # while memory is short, the longest prompt; 0: no limit but max_context
