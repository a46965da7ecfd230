"""Several replicas as one Engine: a file stays on one replica, and a failing one is left alone for a while.

Another replica is asked only if nothing came from the one before: a suggestion never changes its author. Closing the
stream ends everything, so nothing is retried once the user has typed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from midfill.engine.base import AdapterMissingError, BadRequestError, Delta, Engine, EngineError, GenerateRequest
from midfill.remote.errors import BadKeyError, BusyError

MAX_FAILURES = 3  # consecutive failures after which the replica is left alone
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
BAD_KEY_S = 30.0  # until a refused key is tried again

Clock = Callable[[], float]


class Breaker:
    """Decides whether a replica is asked. After a pause one request is let through; its outcome decides."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._n_failures = 0
        self._pause_s = 0.0
        self._open_until = 0.0  # 0: closed, requests go through
        self._is_trying = False

    @property
    def lets_through(self) -> bool:
        """Whether a request may go to the replica now."""
        if not self._open_until:
            return True
        return self._clock() >= self._open_until and not self._is_trying

    @property
    def is_closed(self) -> bool:
        """Whether the replica answered last, or has not failed too often yet."""
        return not self._open_until

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside the block, no other request tries a replica that failed. Leaving it without a verdict decides
        nothing."""
        trying = bool(self._open_until)
        self._is_trying |= trying
        try:
            yield
        finally:
            if trying:
                self._is_trying = False

    def succeeded(self) -> None:
        """Note that the replica answers."""
        self._n_failures, self._pause_s, self._open_until = 0, 0.0, 0.0

    def failed(self) -> None:
        """Note that the replica failed. An attempt that fails makes the pause longer."""
        self._n_failures += 1
        if self._n_failures >= MAX_FAILURES or self._open_until:
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
            self._open_until = self._clock() + self._pause_s

    def pause(self, seconds: float) -> None:
        """Note that the replica asks to be left alone."""
        self._open_until = max(self._open_until, self._clock() + seconds)


class Replica:
    """One replica: its engine, and its state. ``engine`` None: nothing is known about it yet."""

    def __init__(self, name: str, engine: Engine | None = None, clock: Clock = time.monotonic) -> None:
        self.name, self.engine = name, engine
        self.breaker = Breaker(clock)
        self.problem: EngineError | None = None

    @property
    def may_be_asked(self) -> bool:
        """Whether a request may go to it now."""
        return self.engine is not None and self.breaker.lets_through

    def note(self, error: EngineError) -> None:
        """Note that a request failed there."""
        if isinstance(error, AdapterMissingError | BadRequestError):
            return  # not the replica's fault
        self.problem = error
        if isinstance(error, BusyError):
            self.breaker.pause(error.wait_s)
        elif isinstance(error, BadKeyError):
            self.breaker.pause(BAD_KEY_S)
        else:
            self.breaker.failed()

    def note_success(self) -> None:
        """Note that it answered."""
        self.problem = None
        self.breaker.succeeded()


def ranked(names: Sequence[str], session: str) -> list[str]:
    """Return ``names`` in the order in which they are asked for ``session``.

    Rendezvous hashing: when a replica goes or comes, only its own files move.
    """
    return sorted(names, key=lambda name: hashlib.blake2s(f"{session}\0{name}".encode(), digest_size=8).digest())


class Replicas:
    """``resolve`` returns an adapter's present name on the engines; ``fallback`` answers if no replica does."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        deadline_s: float = 10.0,
        resolve: Callable[[str], str] = lambda name: name,
        fallback: Engine | None = None,
    ) -> None:
        self.replicas = {replica.name: replica for replica in replicas}
        self.fallback = fallback
        self._deadline_s, self._resolve = deadline_s, resolve

    def as_another_sees_it(self) -> Replicas:
        """Return the same replicas with breakers of their own, as another user's front end has them."""
        replicas = [Replica(replica.name, replica.engine) for replica in self.replicas.values()]
        return Replicas(replicas, deadline_s=self._deadline_s, resolve=self._resolve, fallback=self.fallback)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        has_begun = False
        try:
            async with aclosing(self.elsewhere(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    has_begun = True
                    yield delta
            return
        except EngineError:
            if self.fallback is None or has_begun:
                raise
        async with aclosing(self.fallback.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield delta

    async def elsewhere(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle like ``stream``, but only from the replicas. Raises EngineError."""
        ends_at = time.monotonic() + self._deadline_s
        asked, error, has_begun = self._ready(request.session), self.problem, False
        resolved = request
        if request.adapter is not None:
            resolved = replace(request, adapter=self._resolve(request.adapter))
        for n_left, replica in zip(range(len(asked) - 1, -1, -1), asked, strict=True):
            try:
                with replica.breaker.attempt():
                    async with aclosing(self._timed(replica, resolved, ends_at, n_left)) as deltas:  # type: ignore[type-var]
                        async for delta in deltas:
                            if not has_begun and (delta.text or delta.finish_reason is not None):
                                has_begun = True
                                replica.note_success()
                            yield delta
                return
            except EngineError as failure:
                replica.note(failure)
                error = failure
                if has_begun or isinstance(failure, BadRequestError) or time.monotonic() >= ends_at:
                    break
        raise error or EngineError("no replica answers", "run: midfill doctor --engine")

    @property
    def problem(self) -> EngineError | None:
        """What is wrong, if every replica is left alone or being tried; None if one answers."""
        if any(replica.engine is not None and replica.breaker.is_closed for replica in self.replicas.values()):
            return None
        problems = [replica.problem for replica in self.replicas.values() if replica.problem is not None]
        return problems[0] if problems else None

    def _ready(self, session: str) -> list[Replica]:
        order = (self.replicas[name] for name in ranked(list(self.replicas), session))
        return [replica for replica in order if replica.may_be_asked]

    async def _timed(
        self, replica: Replica, request: GenerateRequest, ends_at: float, n_left: int
    ) -> AsyncIterator[Delta]:
        """Yield the replica's answer; once it has begun, it is cut at the deadline.

        The first piece may take half of the remaining time, so that another replica can still be asked.
        """
        assert replica.engine is not None
        has_begun = False
        async with aclosing(replica.engine.stream(request)) as deltas:  # type: ignore[type-var]
            while True:
                left_s = max(0.0, ends_at - time.monotonic())
                try:
                    limit = left_s / 2 if n_left and not has_begun else left_s
                    delta = await asyncio.wait_for(anext(deltas), limit)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not has_begun:
                        message = f"{replica.name} sent nothing for {limit:.1f} s"
                        raise EngineError(message, "see the engine's log, or raise engine_deadline_s") from None
                    for index in range(request.n):
                        yield Delta("", "length", index=index)
                    return
                has_begun |= bool(delta.text) or delta.finish_reason is not None
                yield delta

    async def aclose(self) -> None:
        """Close the connections."""
        for replica in self.replicas.values():
            if replica.engine is not None:
                await replica.engine.aclose()
        if self.fallback is not None:
            await self.fallback.aclose()
