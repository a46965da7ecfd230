"""From the settings to an engine that answers: probes the replicas, compares tokenizers, names adapters."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from midfill.addresses import EngineAddress, leaving, read_address
from midfill.config import Config
from midfill.engine.base import Engine, EngineError
from midfill.remote import probe
from midfill.remote.capabilities import NAMES, Capabilities
from midfill.remote.client import RemoteEngine
from midfill.remote.credentials import make_client, read_key
from midfill.remote.published import Pointers
from midfill.remote.replicas import Replica, Replicas
from midfill.remote.tokenizer_file import tokenizer_of
from midfill.remote.vocabulary import Vocabulary
from midfill.types import MidfillError, ModelInfo

BUDGET = 2048  # tokens of a prompt if the settings name no number: what a GPU reads in some milliseconds
MIN_CONTEXT = 512

MakeVocabulary = Callable[[Path, str], Awaitable[Vocabulary]]  # the tokenizer's file and the model's name


@dataclass(slots=True)
class Remote:
    """The replicas and what is known of them. ``problems`` by name: why one is not used."""

    engine: Replicas
    info: ModelInfo
    pointers: Pointers
    binds: bool
    problems: dict[str, MidfillError] = field(default_factory=dict)

    @property
    def table(self) -> dict[str, Capabilities]:
        """Return the capabilities by the replica's name."""
        engines = {name: replica.engine for name, replica in self.engine.replicas.items()}
        return {name: engine.capabilities for name, engine in engines.items() if isinstance(engine, RemoteEngine)}


async def connect(
    config: Config, make_vocabulary: MakeVocabulary, *, fallback: Engine | None = None, cancel: bool = False
) -> Remote:
    """Probe every replica at once. ``cancel``: also whether closing a stream stops it.

    Raises MidfillError if none can be used: the first one's reason.
    """
    read_key(config)  # reports a mistake in it before anything is asked
    addresses = list(map(read_address, dict.fromkeys(config.engine)))
    connecting = _Connecting(config, make_vocabulary, cancel)
    try:
        seen = await asyncio.gather(*map(connecting.look, addresses))
        good = [one for one in seen if isinstance(one, _Seen)]
        if not good:
            raise next(one for one in seen if isinstance(one, MidfillError))
        file = await asyncio.to_thread(tokenizer_of, config.model, good[0].capabilities, good[0].address.host)
        vocabulary = await make_vocabulary(file, good[0].capabilities.base)
        engines = await asyncio.gather(*(connecting.finish(one, vocabulary) for one in good))
        return await _assembled(config, addresses, seen, engines, file, vocabulary, fallback)
    except BaseException:
        await connecting.aclose()
        raise


async def _assembled(
    config: Config, addresses: Sequence[EngineAddress], seen: Sequence[Any], engines: Sequence[Any], file: Path,
    vocabulary: Vocabulary, fallback: Engine | None,
) -> Remote:  # fmt: skip
    """Return what was found as one engine."""
    ready = {one.address.name: one for one in engines if isinstance(one, RemoteEngine)}
    problems = {
        address.name: one for address, one in zip(addresses, seen, strict=True) if isinstance(one, MidfillError)
    }
    looked = [one.address for one in seen if isinstance(one, _Seen)]
    problems |= {a.name: one for a, one in zip(looked, engines, strict=True) if isinstance(one, MidfillError)}
    if not ready:
        raise next(iter(problems.values()))
    table = [engine.capabilities for engine in ready.values()]
    facts = await vocabulary.facts()
    pointers = Pointers(config.engine_adapters, (_root(table[0]), table[0].base), facts.template)
    replicas = [Replica(address.name, ready.get(address.name)) for address in addresses]
    for replica in replicas:
        if isinstance(problem := problems.get(replica.name), EngineError):
            replica.problem = problem
    engine = Replicas(replicas, deadline_s=config.engine_deadline_s, resolve=pointers.resolve, fallback=fallback)
    return Remote(engine, info_of(config, table, file, facts.template), pointers, all(c.binds for c in table), problems)


def info_of(config: Config, table: Sequence[Capabilities], file: Path, template: str) -> ModelInfo:
    """Return what a language server must know to write prompts for all replicas."""
    told = [capabilities.max_context for capabilities in table if capabilities.max_context]
    max_context = max(MIN_CONTEXT, min(told, default=8192))
    hosts = list(dict.fromkeys(address.host for address in map(read_address, config.engine)))
    kinds = ", ".join(dict.fromkeys(NAMES[capabilities.kind] for capabilities in table))
    return ModelInfo(
        table[0].base, str(file), template, min(BUDGET, max_context // 2), max_context,
        f"{kinds} at {', '.join(hosts)}", "remote",
    )  # fmt: skip


def told_to_people(config: Config, remote: Remote | None = None) -> tuple[str, str]:
    """Return what the status shows beside "ready": where code goes, and what is wrong with a replica; and a remedy."""
    parts = [leaving(config.engine)]
    problems = remote.problems if remote is not None else {}
    parts += [problem.message for problem in problems.values()]
    remedies = [problem.remedy for problem in problems.values()]
    if remote is not None and any(one.kind == "text" for one in remote.table.values()):
        parts.append("text only: sentinels are sent as text, no adapters")
    swallowing = [name for name, one in remote.table.items() if one.cancel.swallowed] if remote is not None else []
    parts += [f"{name}: {probe.SWALLOWED}" for name in swallowing]
    remedies += ["see docs/remote.md on proxies"] if swallowing else []
    return "; ".join(part for part in parts if part), "; ".join(dict.fromkeys(filter(None, remedies)))


def _root(capabilities: Capabilities) -> str:
    return next((model.root for model in capabilities.models if model.id == capabilities.base and model.root), "")


@dataclass(frozen=True, slots=True)
class _Seen:
    address: EngineAddress
    client: httpx.AsyncClient
    capabilities: Capabilities


class _Connecting:
    """The clients that were made, until another object owns them."""

    def __init__(self, config: Config, make_vocabulary: MakeVocabulary, cancel: bool) -> None:
        self._config, self._cancel = config, cancel
        self._clients: list[httpx.AsyncClient] = []

    async def look(self, address: EngineAddress) -> _Seen | MidfillError:
        """Return what a replica is, or why it cannot be used."""
        try:
            client = await asyncio.to_thread(make_client, address, self._config)
            self._clients.append(client)
            wanted = "" if self._config.model in ("auto", "embedded") else self._config.model
            return _Seen(address, client, await probe.look(address, client, wanted))
        except MidfillError as error:
            return error

    async def finish(self, seen: _Seen, vocabulary: Vocabulary) -> RemoteEngine | MidfillError:
        """Return its engine, if its tokenizer is ours."""
        try:
            facts = await vocabulary.facts()
            found = await probe.complete(seen.address, seen.client, seen.capabilities, vocabulary, facts)
            engine = RemoteEngine(seen.address, seen.client, found, vocabulary, facts, _salt(self._config))
            if self._cancel:
                engine = replace(engine, capabilities=replace(found, cancel=await probe.cancelled(engine)))
            return engine
        except MidfillError as error:
            return error

    async def aclose(self) -> None:
        """Close everything, because connecting failed."""
        for client in self._clients:
            await client.aclose()


def _salt(config: Config) -> str:
    """Return the salt of the engine's prefix cache: the members of a named team share one, and so do users of the same
    key."""
    key = read_key(config)
    if not key and not config.engine_team:
        return ""
    secret = config.engine_team or key
    return hashlib.sha256(f"midfill cache\0{secret}".encode()).hexdigest()
