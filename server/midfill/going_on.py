"""A middle that was asked for explicitly goes on until the text below follows from it.

A model that fills in the middle often stops too early: after the first of three statements that are missing. What
stands below the cursor tells. So the model writes on past its end, and after each of its lines the first tokens of the
text below are scored, read from left to right as what follows that line. The middle ends where they are most likely,
if that is surely better than where the model stopped. It only ever gets longer, because it is on the screen by then.
Figures are in docs/log.md.

Choosing among whole candidates by how likely the text on both sides becomes is known from InCoder (Fried et al. 2022,
arXiv:2204.05999); here it chooses the end of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from midfill.engine.base import Engine, EngineError, GenerateRequest
from midfill.fim import Prompt
from midfill.in_flight import InFlight
from midfill.postprocess import Place
from midfill.postprocess.place import opens_block
from midfill.syntax.names import indent

# The text below counts by its first tokens; fewer than the least say too little.
N_BELOW, MIN_BELOW = 12, 4
MARGIN = 3.0  # nats by which a later end must be better
LINE = 1.0  # nats that a line more costs
PATIENCE = 6  # lines without a better end after which the model stops writing
MAX_LINES, MAX_TOKENS = 24, 300  # that it writes on

Encode = Callable[[str], Awaitable[list[int]]]


async def go_on(
    running: InFlight, engine: Engine, encode: Encode, prompt: Prompt, request: GenerateRequest
) -> None:  # fmt: skip
    """Let the first candidate of ``running``, which has ended, go on if more lines are missing. ``request`` is the one
    that it answers, with ``prompt``. If the engine fails meanwhile, it ends where it did."""
    first = running.candidates[0]
    said, place = first.shown, first.processor.place
    if first.processor.goes_on and may_go_on(said, first.reason, place):
        running.publish()
        with contextlib.suppress(EngineError):
            first.go_on(await _longer(engine, encode, prompt, request, said, place))


def may_go_on(said: str, reason: str, place: Place) -> bool:
    """Whether lines may be missing between ``said``, which ended for ``reason``, and the text below: whole lines of the
    same function."""
    if reason not in ("stop", "unit") or place.kind != "block" or place.joint or not said.strip() or not place.below:
        return False
    return indent(place.below) >= _least(said, place)


async def _longer(
    engine: Engine, encode: Encode, prompt: Prompt, request: GenerateRequest, said: str, place: Place
) -> str:
    """Return the text with which the middle that begins with ``said`` ends best; ``said`` itself if that is as good.
    Raises EngineError."""
    below = prompt.ids[prompt.suffix[0] : prompt.suffix[1]][:N_BELOW] if prompt.suffix else ()
    if len(below) < MIN_BELOW or not prompt.prefix_end:
        return said
    request = replace(request.without_bias(), n=1, within_s=None)

    async def score(text: str, n_lines: int) -> float:
        ids = await encode(prompt.forced_prefix + text)
        scoring = replace(
            request, request_id=f"{request.request_id}-on{n_lines}", prompt=(*prompt.ids[: prompt.prefix_end], *ids),
            suffix=None, forced_prefix="", given=below, max_tokens=len(below),
        )  # fmt: skip
        return await _logprob(engine, scoring) - LINE * n_lines

    writing = replace(
        request, request_id=f"{request.request_id}-on", forced_prefix=f"{prompt.forced_prefix}{said}\n",
        max_tokens=MAX_TOKENS, ignore_eos=True,
    )  # fmt: skip
    best, most, n_missed = said, (before := await score(said, 0)), 0
    if before > -MARGIN - LINE:  # nothing can be that much better
        return said
    async with aclosing(_written(engine, writing, _least(said, place))) as texts:  # type: ignore[type-var]
        async for text in texts:
            n_missed += 1
            if _may_end(text, place) and (its := await score(f"{said}\n{text}", text.count("\n") + 1)) > most:
                best, most, n_missed = f"{said}\n{text}", its, 0
            if n_missed == PATIENCE:
                break
    return best if most > before + MARGIN else said


def _may_end(text: str, place: Place) -> bool:
    """Whether the text below may follow the last line of ``text``: not if that opens a block, and it is no body."""
    last = text.rpartition("\n")[2]
    return indent(place.below or "") > indent(last) or not opens_block(last, place.language)


async def _written(engine: Engine, request: GenerateRequest, least: int) -> AsyncIterator[str]:
    """Yield what the model writes on, after each whole line, up to a line that is less indented than ``least``."""
    text, end = "", 0
    async with aclosing(engine.stream(request)) as deltas:  # type: ignore[type-var]
        async for delta in deltas:
            text += delta.text
            while (at := text.find("\n", end)) >= 0:
                line, end = text[end:at], at + 1
                if line.strip() and indent(line) < least:
                    return
                if line.strip():
                    yield text[:at]
            if text.count("\n") >= MAX_LINES:
                return


async def _logprob(engine: Engine, request: GenerateRequest) -> float:
    """Return the log probability of the given answer of ``request``. Raises EngineError if not all of it was scored,
    which would look likely."""
    found: list[float] = []
    async with aclosing(engine.stream(request)) as deltas:  # type: ignore[type-var]
        async for delta in deltas:
            found += delta.logprobs
    if len(found) != len(request.given):
        raise EngineError("the engine scored only a part of the text", "ask again")
    return sum(found)


def _least(said: str, place: Place) -> int:
    """Return the least indentation of lines in the function where ``said`` is."""
    lines = (place.before + said).split("\n")
    depth = next((indent(line) for line in lines if line.strip()), 0)
    body = place.names(depth).body
    return min(depth, 1) if body is None else min(body, depth)
