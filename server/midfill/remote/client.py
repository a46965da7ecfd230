"""One engine elsewhere as an Engine: token ids in, text out, cancelled by closing the stream."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from midfill.addresses import EngineAddress
from midfill.engine import wire
from midfill.engine.base import AdapterMissingError, Delta, GenerateRequest
from midfill.remote import dialects
from midfill.remote.capabilities import Capabilities
from midfill.remote.dialects import Piece
from midfill.remote.errors import BrokenOffError, refused, unreachable
from midfill.remote.several import First, OnFirst, merged
from midfill.remote.vocabulary import Decoded, TokenizerFacts, Vocabulary
from midfill.types import Stats

SESSION_HEADER = "X-Session-ID"  # balancers use it to keep a file's requests on one replica


@dataclass(frozen=True, slots=True)
class RemoteEngine:
    """A replica with known capabilities. ``salt`` separates the prefix caches of teams."""

    address: EngineAddress
    client: httpx.AsyncClient
    capabilities: Capabilities
    vocabulary: Vocabulary
    facts: TokenizerFacts
    salt: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)  # extra fields of the body, for experiments

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        if self.capabilities.kind == "midfill":
            answer = self._ours(request)
        elif request.n > 1 and self.capabilities.gives_several:
            answer = merged(lambda first, others: self._candidate(request, first, others))
        else:
            answer = self._foreign(request)
        async with aclosing(answer) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    # ---- the wire --------------------------------------------------------------------------------------------------

    async def _lines(self, url: str, content: bytes, request: GenerateRequest) -> AsyncIterator[str]:
        headers = {"Content-Type": "application/json"}
        if request.session:
            headers[SESSION_HEADER] = request.session
        host = self.address.host
        try:
            async with self.client.stream("POST", url, content=content, headers=headers) as response:
                if response.status_code != 200:
                    body = (await response.aread())[:65536]
                    raise refused(host, response.status_code, body, response.headers, request.adapter)
                async for line in response.aiter_lines():
                    yield line
        except httpx.HTTPError as error:
            raise unreachable(host, error) from error

    async def _ours(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        content = wire.request_body(request)
        async with aclosing(self._lines(f"{self.address.base}/completions", content, request)) as lines:  # type: ignore[type-var]
            async for delta in wire.read_deltas(lines):
                yield delta

    # ---- other engines ---------------------------------------------------------------------------------------------

    async def _candidate(self, request: GenerateRequest, first: First | None, others: OnFirst) -> AsyncIterator[Delta]:
        """Yield one of several candidates: the most probable one, or the one that begins with ``first``."""
        if first is not None:
            ids = await self._prompt(request)
            assert isinstance(ids, list)
            request = replace(
                request, prompt=(*ids, first.token), forced_prefix="", n=1, max_tokens=request.max_tokens - 1,
                request_id=f"{request.request_id}-{first.token}",
            )  # fmt: skip
        async with aclosing(self._foreign(request, first, others)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield delta

    async def _foreign(
        self, request: GenerateRequest, begun: First | None = None, others: OnFirst | None = None
    ) -> AsyncIterator[Delta]:
        """``begun``: the token at the prompt's end, with which the answer begins. ``others`` is called once with the
        tokens with which other candidates may begin."""
        n_begun = begun is not None
        start, first_at, n_ids, n_prompt = time.monotonic(), 0.0, 0, len(request.prompt)
        told, stop_logprob, reason = Stats(), 0.0, ""
        decoded, stops = Decoded(self.vocabulary), _Stops((*request.stop, *self.facts.stops))
        if begun is not None and (text := await decoded.push((begun.token,))):
            yield Delta(text, logprobs=(begun.logprob,) if request.logprobs else ())
        async with aclosing(self.pieces(request)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                told = piece.stats or told
                if reason:
                    continue  # the usage follows the end
                if piece.reason not in (None, "stop", "length"):
                    break  # "abort", "error": the engine dropped it for another request
                if others is not None and piece.likeliest and piece.ids:
                    others(self._other_firsts(request, piece.likeliest, piece.ids[0]))
                    others = None
                ids, logprobs, stopped = self._until_control(piece)
                stop_logprob = stopped if stopped is not None else stop_logprob
                text = await decoded.push(ids) if ids is not None else piece.text
                n_ids += len(piece.ids) if piece.ids is not None else bool(piece.text)
                ends = stopped is not None or piece.reason is not None
                if ids is not None and ends:
                    text += await decoded.flush()
                elif ids is None:
                    text, met = stops.push(text, last=ends)
                    ends |= met
                if ends:
                    reason = "length" if piece.reason == "length" and stopped is None else "stop"
                first_at = first_at or (time.monotonic() if text or ends else 0.0)
                if text or logprobs:
                    yield Delta(text, logprobs=logprobs if request.logprobs else ())
                if ends and piece.reason is None:
                    break  # we saw the end before the engine did: closing the stream stops it
        if not reason:
            raise BrokenOffError(f"{self.address.host} broke off its answer", "ask again; see the engine's log")
        now = time.monotonic()
        yield Delta("", reason, replace(
            told, n_prompt=(told.n_prompt or n_prompt) - n_begun, n_decoded=(told.n_decoded or n_ids) + n_begun,
            stop_logprob=stop_logprob, ttft_s=(first_at or now) - start, total_s=now - start,
        ))  # fmt: skip

    async def pieces(self, request: GenerateRequest) -> AsyncIterator[Piece]:
        """Yield the answer as it comes from an engine that is not ours. Raises EngineError."""
        if self.capabilities.kind == "llama.cpp" and request.adapter not in (None, *self.capabilities.adapters):
            remedy = f'start it with --lora {request.adapter}.gguf, or set adapter = "none"'
            raise AdapterMissingError(f"{self.address.host} serves a single adapter, not {request.adapter!r}", remedy)
        if self.capabilities.kind == "text" and request.adapter is not None:
            raise AdapterMissingError(f"{self.address.host} takes only text, without adapters", 'set adapter = "none"')
        prompt = await self._prompt(request)
        sent = {**dialects.body(request, prompt, self.capabilities, self.facts, self.salt), **self.extra}
        where = dialects.route(self.capabilities)
        url = self.address.root + where[1:] if where.startswith("~") else self.address.base + where
        async with aclosing(self._lines(url, json.dumps(sent).encode("ascii"), request)) as lines:  # type: ignore[type-var]
            async for piece in dialects.pieces(lines, self.capabilities):
                yield piece

    async def _prompt(self, request: GenerateRequest) -> list[int] | str:
        """Return ids if the engine takes them. A forced prefix is put at the front of the middle, as nothing enforces
        it here."""
        ids = list(request.prompt)
        if request.forced_prefix:
            ids += await self.vocabulary.encode(request.forced_prefix)
        if self.capabilities.takes_ids:
            return ids
        text = await self.vocabulary.spell_safely(ids)
        if text is None:
            raise dialects.unspeakable(self.address.host)
        return text

    def _other_firsts(self, request: GenerateRequest, likeliest: Sequence[First], taken: int) -> list[First]:
        """Return the first tokens of further candidates: the most probable ones except ``taken`` and those that end a
        middle."""
        not_these = {taken, *self.facts.control_ids}
        ranked = sorted(likeliest, key=lambda first: -first.logprob)
        found = [first for first in ranked if first.token not in not_these]
        return found[: request.n - 1] if request.max_tokens > 1 else []

    def _until_control(self, piece: Piece) -> tuple[tuple[int, ...] | None, tuple[float, ...], float | None]:
        """Return the ids up to the first control token, their log probabilities, and that token's (0 if unknown)."""
        if piece.ids is None:
            return None, piece.logprobs, None
        control = frozenset(self.facts.control_ids)
        at = next((at for at, token in enumerate(piece.ids) if token in control), None)
        if at is None:
            return piece.ids, piece.logprobs, None
        return piece.ids[:at], piece.logprobs[:at], piece.logprobs[at] if at < len(piece.logprobs) else 0.0


class _Stops:
    """Cuts text at the first of some strings; holds back text that may become one."""

    def __init__(self, strings: tuple[str, ...]) -> None:
        self._strings = tuple(string for string in strings if string)
        self._held = ""

    def push(self, text: str, *, last: bool) -> tuple[str, bool]:
        """Return the text that is certain, and whether a string was met."""
        text, self._held = self._held + text, ""
        found = [at for string in self._strings if (at := text.find(string)) >= 0]
        if found:
            return text[: min(found)], True
        if last:
            return text, False
        beginnings = (string[:n] for string in self._strings for n in range(1, len(string)))
        n_held = max((len(forced_prefix) for forced_prefix in beginnings if text.endswith(forced_prefix)), default=0)
        text, self._held = text[: len(text) - n_held], text[len(text) - n_held :]
        return text, False
