"""The request that the engine gets for a prompt, with everything that the settings and the model require."""

from __future__ import annotations

import hashlib
import itertools
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from midfill.config import Config
from midfill.context.knowledge.names import NOTHING, Known
from midfill.context.likely_names import likely_names
from midfill.engine.base import GenerateRequest
from midfill.fim import Prompt
from midfill.types import ModelInfo, NamesFacts, PromptFacts, Snapshot, Snippet

_numbers = itertools.count(1)
MAX_LIFT = 4.0  # nats that usage gives a name over names that are not listed


def request_of(
    prompt: Prompt, snapshot: Snapshot, config: Config, info: ModelInfo, adapter: str | None, max_tokens: int,
    snippets: Sequence[Snippet] = (), known: Known = NOTHING,
) -> GenerateRequest:  # fmt: skip
    """Return the request for ``prompt``, which holds ``snippets``: one candidate with at most ``max_tokens`` tokens."""
    likely, only = likely_names(snapshot, snippets, known) if config.favour_names else ((), False)
    told = known.here.advantages if known.here is not None else {}
    shift = config.suffix_shift
    keeps_suffix = info.suffix_shift if shift == "auto" else shift == "on"
    return GenerateRequest(
        prompt.ids, max_tokens, adapter=adapter, request_id=_new_id(), logprobs=True,
        suffix=prompt.suffix if keeps_suffix else None, forced_prefix=prompt.forced_prefix,
        bias_names=likely, bias_only=only, bias_advantages=_advantages(likely, told, only=only) if told else (),
        speculate=config.prompt_lookup, window=str(os.getpid()),
        within_s=config.first_answer_s, session=_session(adapter, snapshot.uri),
    )  # fmt: skip


def _advantages(names: Sequence[str], told: Mapping[str, float], *, only: bool) -> tuple[float, ...]:
    """Return the additional advantage of each of ``names`` by its usage. If there are others (not ``only``), no name
    gets less than those have."""
    least = min(told.values())
    values = [told.get(name, least) for name in names]
    if only:
        return tuple(round(value, 3) for value in values)
    middle = statistics.fmean(values) if values else 0.0
    return tuple(round(min(max(0.0, value - middle), MAX_LIFT), 3) for value in values)


def prompt_facts(
    facts: PromptFacts, prompt: Prompt, budget: int, render_s: float, known: Known, request: GenerateRequest
) -> PromptFacts:
    """Return ``facts`` with what is known once the prompt is written; ``known``: the names that may follow the dot, or
    the parameters of the call."""
    names = None
    if (here := known.here) is not None:
        names = NamesFacts(
            here.receiver, here.source, len(here.names), here.is_complete, request.bias_only,
            by_usage=bool(request.bias_advantages),
        )  # fmt: skip
    elif known.call is not None:
        signature, _ = known.call
        names = NamesFacts(
            signature.callee, signature.source, len(signature.parameters), signature.is_complete, False,
            bool(set(request.bias_names) & signature.names), "parameters",
        )  # fmt: skip
    return replace(
        facts, n_prefix=prompt.n_prefix, n_suffix=prompt.n_suffix, n_snippets=prompt.n_snippets, budget=budget,
        render_s=render_s, names=names,
    )  # fmt: skip


def again(request: GenerateRequest, forced_prefix: str) -> GenerateRequest:
    """Return the request for more of a middle that begins with ``forced_prefix``.

    A model that has learned to stop sometimes stops too early. Here it has to spell its output again, which the engine
    verifies in one pass, and a new line; then it continues.
    """
    return replace(request.without_bias(), request_id=_new_id(), n=1, forced_prefix=forced_prefix)


def prefill_only(request: GenerateRequest) -> GenerateRequest:
    """Return a background request that only reads the prompt of ``request``."""
    return replace(request, max_tokens=1, background=True, prefill_only=True, forced_prefix="")


def _new_id() -> str:
    return f"{os.getpid()}-{next(_numbers)}"


def _session(adapter: str | None, uri: str) -> str:
    """Return a name of (adapter, workspace, file) that reveals none of them; a document's URI holds the last two."""
    return hashlib.blake2s(f"{adapter}\0{uri}".encode("utf-8", "replace"), digest_size=12).hexdigest()
