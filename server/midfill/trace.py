"""What became of one request, put together where it is answered: the answer to "why nothing?"."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from midfill.types import USAGE, Completion, PromptFacts, Snapshot, Stats, Trigger, one_line

MAX_TEXT = 4000  # characters of the model's output that are kept
REPLACED = "cancelled"  # ``refused`` of a request that the client gave up, as it does when a newer one follows
# Where a middle stopped, for users.
_STOPS = {
    "stop": "the model ended it", "length": "the token limit", "unit": "end of the statement or block",
    "run": "too many lines alike", "line": "end of the line", "invented": "a member that does not exist",
    "language": "a line of another language", "weak": "a line that the model was not sure of",
}  # fmt: skip


@dataclass(slots=True)
class Trace:
    """One request. Fields that it did not reach keep their defaults."""

    id: str = ""  # of the suggestion, once there is one
    uri: str = ""
    language: str = ""
    line: int = 0  # counted from 1
    column: int = 0  # in code points, from 1
    trigger: Trigger = "automatic"
    refused: str = ""  # the name of what refused it
    why: str = ""  # the same for users
    hit: str = ""  # "cache", "typed through", "growing": where the answer came from, if not from the engine
    scope: str = ""  # "code", "comment" ...; "" if nothing needed it
    snippets: list[dict[str, Any]] = field(default_factory=list)  # path, source, score, n_chars
    n_prefix: int = 0  # tokens
    n_suffix: int = 0
    n_snippets: int = 0
    budget: int = 0
    names: dict[str, Any] = field(
        default_factory=dict
    )  # names known after the dot or in the call: receiver, source, n, complete, only, likelier, kind
    raw: str = ""
    n_raw: int = 0  # in characters
    rules: list[tuple[str, int]] = field(
        default_factory=list
    )  # the rules that were applied, and how many characters each removed
    confidence: float | None = None  # 0 to 1: mean probability of a token
    hidden: str = ""  # for users: why the model's output is not shown, if it was not sure enough
    n_candidates: int = 0
    shown: str = ""
    n_shown: int = 0
    finish_reason: str = ""
    model: str = ""
    adapter: str = ""
    adapter_digest: str = ""  # of its version; "" if the engine does not report it
    stats: Stats | None = None
    debounce_s: float = 0.0
    context_s: float = 0.0
    render_s: float = 0.0
    answer_s: float = 0.0  # seconds from the request to its answer

    def place(self, snapshot: Snapshot, trigger: Trigger) -> None:
        """Where the request was made, and how."""
        self.uri, self.language, self.trigger = snapshot.uri, snapshot.language, trigger
        self.line = snapshot.text.count("\n", 0, snapshot.cursor) + 1
        self.column = len(snapshot.line_before) + 1

    def refuse(self, name: str, why: str) -> None:
        """Set why there is no suggestion; the first reason counts."""
        if not self.refused:
            self.refused, self.why = name, why

    def go_on(self) -> None:
        """What it waited for has come: it is not refused for that reason."""
        self.refused = self.why = ""

    def take(self, completion: Completion) -> None:
        """Take the completion, final or so far."""
        facts = completion.facts
        self.trigger, self.scope, self.debounce_s = facts.trigger, facts.scope, facts.debounce_s
        self.model, self.adapter, self.adapter_digest = facts.model, facts.adapter, facts.adapter_digest
        self.rules, self.confidence, self.hidden = list(facts.rules), facts.confidence, facts.hidden
        self._take_prompt(facts.prompt)
        self.id, self.stats = completion.id, completion.stats
        self.hit = "" if completion.origin == "engine" else completion.origin
        self.finish_reason = "" if completion.finish_reason in ("cancelled", "refused") else completion.finish_reason
        texts, raw = completion.texts, completion.raw
        self.raw, self.n_raw, self.n_candidates = raw[:MAX_TEXT], len(raw), len(texts)
        self.shown, self.n_shown = (texts[0][:MAX_TEXT], len(texts[0])) if texts else ("", 0)
        if facts.refusal is not None:
            self.refuse(facts.refusal.name, facts.refusal.why)

    def _take_prompt(self, prompt: PromptFacts) -> None:
        self.snippets = [
            {"path": each.path, "source": each.source, "score": each.score, "n_chars": len(each.text)}
            for each in prompt.snippets
        ]
        for name in ("n_prefix", "n_suffix", "n_snippets", "budget", "context_s", "render_s"):
            setattr(self, name, getattr(prompt, name))
        self.names = {} if prompt.names is None else dataclasses.asdict(prompt.names)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dataclasses.asdict(self)

    def without_text(self) -> dict[str, Any]:
        """Return it as JSON values without source text and names of files: what may be on disk."""
        values = self.plain()
        values.update(uri="", raw="", shown="")
        values["names"] = {**self.names, "receiver": ""} if self.names else {}
        values["snippets"] = [{**snippet, "path": ""} for snippet in self.snippets]
        return values


def trace_of(completion: Completion) -> Trace:
    """Return the trace of a request that ended with ``completion``."""
    trace = Trace()
    trace.place(completion.snapshot, completion.facts.trigger)
    trace.take(completion)
    return trace


def from_plain(values: dict[str, Any]) -> Trace:
    """Return the trace from the output of ``plain``; unknown fields are ignored. Raises TypeError, ValueError."""
    known = {key: value for key, value in values.items() if key in Trace.__dataclass_fields__}
    if isinstance(known.get("stats"), dict):
        known["stats"] = Stats(**{k: v for k, v in known["stats"].items() if k in Stats.__dataclass_fields__})
    known["rules"] = [(str(name), int(n)) for name, n in known.get("rules", [])]
    return Trace(**known)


def story(trace: Trace) -> str:
    """Return the story for users. The first line says what was shown, or why nothing was."""
    lines = [headline(trace), ""]
    lines += [f"  {name:<14}{text}" for name, text in _facts(trace) if text]
    return "\n".join(map(one_line, lines))


def headline(trace: Trace) -> str:
    """Return what was shown, or why nothing was."""
    if trace.refused:
        return f"Nothing was shown: {trace.why or trace.refused}."
    if trace.n_shown:
        more = f" and {trace.n_candidates - 1} more" if trace.n_candidates > 1 else ""
        origin = {"": "the model", "growing": "a generation that was still growing"}.get(trace.hit, "the cache")
        return f"Shown: {trace.n_shown} characters{more}, from {origin}, after {_seconds(trace.answer_s)}."
    if not trace.n_raw:
        what = "the model wrote nothing here" if trace.finish_reason else "it ended before the model wrote anything"
        return f"Nothing was shown: {what}."
    if trace.hidden:
        return f"Nothing was shown: {trace.hidden}."
    if trace.rules:
        name, n = max(trace.rules, key=lambda rule: rule[1])
        return f"Nothing was shown: the rule {name} removed {n} of the {trace.n_raw} characters that the model wrote."
    return "Nothing was shown: the model wrote only white space."


def _facts(trace: Trace) -> list[tuple[str, str]]:
    stats = trace.stats
    place = f"{trace.uri}:" if trace.uri else ""
    facts = [
        ("place", f"{place}{trace.line}:{trace.column} {trace.language}".strip()),
        ("trigger", trace.trigger + (f", in {trace.scope}" if trace.scope else "")),
        ("model", f"{trace.model}, adapter {trace.adapter or 'none'}" if trace.model else ""),
        ("reuse", trace.hit),
        ("prompt", _prompt(trace)),
    ]
    facts += [("snippet", _snippet(snippet)) for snippet in trace.snippets]
    facts.append(("names", _names(trace.names)))
    facts += [
        ("model output", _quoted(trace.raw) if trace.raw else f"{trace.n_raw} characters" if trace.n_raw else ""),
        ("stopped at", _STOPS.get(trace.finish_reason, trace.finish_reason)),
    ]
    facts += [
        ("trimmed" if n >= 0 else "added", f"{abs(n)} {'character' if abs(n) == 1 else 'characters'} ({name})")
        for name, n in trace.rules
    ]
    if trace.confidence is not None:
        facts.append(("confidence", f"{trace.confidence:.2f}"))
    facts += [
        ("shown", _quoted(trace.shown) if trace.shown else f"{trace.n_shown} characters" if trace.n_shown else ""),
        ("times", _times(trace)),
        ("tokens", f"{stats.n_decoded} decoded, {stats.n_accepted} of {stats.n_drafted} guessed" if stats else ""),
        ("suggestion", trace.id),
    ]
    return facts


def _prompt(trace: Trace) -> str:
    if not trace.budget:
        return ""
    n_cached = trace.stats.n_cached if trace.stats else 0
    return (
        f"{trace.n_prefix} tokens before the cursor, {trace.n_suffix} after, {trace.n_snippets} of other files; "
        f"{n_cached} reused from the cache; budget {trace.budget}"
    )


def _names(names: dict[str, Any]) -> str:
    if not names:
        return ""
    is_call = names.get("kind") == "parameters"
    whose = names["receiver"] or ("the callee" if is_call else "the receiver")
    what = f"{'all ' if names['complete'] else ''}{names['n']} {'parameters ' if is_call else ''}of {whose}"
    used = "made likelier" if names.get("likelier", True) else "used to check the arguments"
    done = "one of them was chosen" if names["only"] else used
    if names["source"] == USAGE:  # a guess: other files use them behind such a name
        return f"{what}, as other files use them; {done}"
    by = ", those first that other files use in similar code" if names.get("by_usage") else ""
    return f"{what}, from {names['source']}; {done}{by}"


def _snippet(snippet: dict[str, Any]) -> str:
    path = f"{snippet['path']} " if snippet.get("path") else ""
    return (
        f"{path}({snippet.get('source') or 'unnamed'} {snippet.get('score', 0):.2f}, {snippet['n_chars']} characters)"
    )


def _times(trace: Trace) -> str:
    parts = [
        ("waited for the next key", trace.debounce_s),
        ("context", trace.context_s),
        ("prompt", trace.render_s),
        ("queue", trace.stats.queue_s if trace.stats else 0.0),
        ("first token", trace.stats.ttft_s if trace.stats else 0.0),
        ("answered", trace.answer_s),
    ]
    return ", ".join(f"{name} {_seconds(value)}" for name, value in parts if value)


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _quoted(text: str) -> str:
    """Return a text on one line, so that the story keeps its shape whatever the model wrote."""
    return repr(text)
