"""Finds out by real requests what an engine elsewhere can do; its name alone decides little."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import httpx

from midfill.addresses import EngineAddress
from midfill.engine.base import EngineError, GenerateRequest
from midfill.remote import dialects
from midfill.remote.capabilities import Cancel, Capabilities, Kind, Served
from midfill.remote.client import RemoteEngine
from midfill.remote.errors import BrokenOffError, refused, unreachable
from midfill.remote.vocabulary import TokenizerFacts, Vocabulary
from midfill.types import MidfillError

# Words, digits, indentation, several scripts and a character of four bytes, repeated again and again: any model
# continues it if the ids mean the same to the model as they do to us.
LINE = "def größe_of(x1, данные):\n    return {'名前': x1 + 42, 'n': данные[-1]}  # 🙂\n\n\n"
N_LINES = 4
N_SAID = 12  # tokens of the answer that are compared
N_LONG = 512  # tokens of the answer that is broken off
PROBE_S = 20.0
SWALLOWED = "a closed stream does not stop the engine: this proxy swallows cancels"
N_LOOKS = 8  # for a moment in which the engine runs nothing
N_SEEN = 8  # pieces of the answer that are read first
FREED_AT_ONCE_S = 0.1  # freed this early, it was freed by the closing, however fast the engine is
FREED_S = 1.0  # a slot that is busy for longer after its stream was closed was not freed by that
WATCHED_S = 3.0


async def look(address: EngineAddress, client: httpx.AsyncClient, wanted: str = "") -> Capabilities:
    """Return kind, version and models; what needs a tokenizer is still unknown. ``wanted``: which base, if there are
    several.

    Raises EngineError.
    """
    listed = await _get(client, address, f"{address.base}/models", must=True)
    entries = listed.get("data") if isinstance(listed, dict) else None
    models = [_served(entry) for entry in entries or () if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    owners = {entry.get("owned_by") for entry in entries or () if isinstance(entry, dict)}
    kind, version = await _kind(address, client, owners)
    if kind == "llama.cpp":
        models += await _llama_adapters(address, client, models)
    bases = [model for model in models if not model.parent]
    if kind == "midfill":
        bases = bases[:1]  # its adapters follow, without a parent
    fitting = [model for model in bases if wanted in (model.id, model.root)] or bases
    if not fitting:
        raise EngineError(f"{address.host} lists no model", "start it with one, or check engine")
    is_one = len({model.root for model in fitting}) == 1 and fitting[0].root  # one model under several names
    if len(fitting) > 1 and not is_one:
        names = ", ".join(model.id for model in fitting[:5])
        raise EngineError(f"{address.host} serves several models: {names}", "set model to one of them")
    return Capabilities(
        kind, fitting[0].id, tuple(models), version, takes_ids=kind != "text", returns_ids=kind in ("vllm", "sglang"),
        gives_several=kind == "midfill", has_priority=kind == "midfill", tells_logprobs=kind == "midfill",
    )  # fmt: skip


async def complete(
    address: EngineAddress, client: httpx.AsyncClient, seen: Capabilities, vocabulary: Vocabulary, facts: TokenizerFacts
) -> Capabilities:
    """Return ``seen`` with what needs a tokenizer to find out. Raises EngineError if the engine's ids are not ours."""
    engine = RemoteEngine(address, client, seen, vocabulary, facts)
    text = LINE * N_LINES
    ids = await vocabulary.encode(text)
    if seen.kind == "text":
        return seen
    found = await _ids_of(address, client, seen, text)
    how = ""
    if found is not None:
        how = "it tokenises a fixed string as we do"
        sentinels = await _ids_of(address, client, seen, "".join(name for name, _ in facts.sentinels))
        if found != ids or (sentinels or []) != [token for _, token in facts.sentinels]:
            raise _differs(address, seen)
    seen = await _said(engine, ids, how)
    if seen.kind in ("vllm", "sglang"):
        probing = dataclasses.replace(engine, capabilities=seen)
        seen = dataclasses.replace(seen, has_priority=await _has_priority(probing))
    return seen


async def cancelled(engine: RemoteEngine) -> Cancel:
    """Return whether closing a stream, on the way that requests take, stops the engine. Never raises."""
    count = await _counter(engine)
    if count is None:
        return Cancel(None, "unknown: the engine shows no count of running requests on this way (/metrics)")
    try:
        async with asyncio.timeout(PROBE_S):
            return await _broken_off(engine, count)
    except (MidfillError, TimeoutError, httpx.HTTPError, LookupError, ValueError) as error:
        return Cancel(None, f"unknown: {type(error).__name__} while trying")


async def _broken_off(engine: RemoteEngine, count: Callable[[], Awaitable[float]]) -> Cancel:
    """Read the beginning of a long answer, close its stream, and watch the count of running requests."""
    for _ in range(N_LOOKS):
        if not await count():
            break
        await asyncio.sleep(1.0)
    else:
        return Cancel(None, "unknown: others use the engine now")  # one of theirs that ends would look like ours
    ids = await engine.vocabulary.encode(LINE * N_LINES)
    going_on = {} if engine.capabilities.kind == "midfill" else {"ignore_eos": True}
    request = GenerateRequest(tuple(ids), N_LONG, request_id="midfill-probe-cancel")
    n_seen, first_at = 0, 0.0
    async with aclosing(dataclasses.replace(engine, extra=going_on).stream(request)) as deltas:  # type: ignore[type-var]
        async for delta in deltas:
            n_seen += bool(delta.text)
            first_at = first_at or time.monotonic()
            if n_seen == N_SEEN:
                break
    if n_seen < N_SEEN:
        return Cancel(None, "unknown: its answer was over too soon")
    closed = time.monotonic()
    by_itself_s = (closed - first_at) / (N_SEEN - 1) * (N_LONG - N_SEEN)  # until it would have ended anyway
    passed_s = 0.0
    while passed_s < WATCHED_S:
        n_running = await count()
        passed_s = time.monotonic() - closed
        if not n_running:
            if passed_s > min(FREED_S, max(FREED_AT_ONCE_S, by_itself_s / 2)):
                break
            return Cancel(passed_s)
        await asyncio.sleep(0.01)
    return Cancel(None, SWALLOWED, swallowed=True)


# ---- kind ----------------------------------------------------------------------------------------------------------


async def _kind(address: EngineAddress, client: httpx.AsyncClient, owners: set[Any]) -> tuple[Kind, str]:
    """Return (kind, version): by the owner's name in the list of models, or by a route that only this kind has."""
    if "midfill" in owners:
        status = await _get(client, address, f"{address.root}/midfill/status")
        return "midfill", str(status.get("version", "")) if isinstance(status, dict) else ""
    if "vllm" in owners:
        version = await _get(client, address, f"{address.root}/version")
        return "vllm", str(version.get("version", "")) if isinstance(version, dict) else ""
    if "sglang" in owners:
        info = await _get(client, address, f"{address.root}/get_server_info")
        info = info or await _get(client, address, f"{address.root}/server_info")
        return "sglang", str(info.get("version", "")) if isinstance(info, dict) else ""
    if "llamacpp" in owners:
        info = await _get(client, address, f"{address.root}/props")
        return "llama.cpp", str(info.get("build_info", "")) if isinstance(info, dict) else ""
    return "text", ""


def _served(entry: dict[str, Any]) -> Served:
    def text(key: str) -> str:
        return value if isinstance(value := entry.get(key), str) else ""

    meta = entry.get("meta")
    n = entry.get("max_model_len") or (meta.get("n_ctx") or meta.get("n_ctx_train") if isinstance(meta, dict) else 0)
    return Served(text("id"), text("root"), text("parent"), n if type(n) is int else 0)


async def _llama_adapters(address: EngineAddress, client: httpx.AsyncClient, models: list[Served]) -> list[Served]:
    """Return the adapter that the engine was started with, if it is on; only one, since the prompt cache does not tell
    adapters apart."""
    found = await _get(client, address, f"{address.root}/lora-adapters")
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    on = [str(entry.get("path", "")) for entry in entries if entry.get("scale")]
    base = models[0].id if models else ""
    return [Served(path.rpartition("/")[2].removesuffix(".gguf"), path, base) for path in on[:1]]


async def _get(client: httpx.AsyncClient, address: EngineAddress, url: str, *, must: bool = False) -> Any:
    """Return the JSON at ``url``; None if there is none. Raises EngineError if it ``must`` be there."""
    try:
        answer = await client.get(url, timeout=5.0)
        if answer.status_code == 200:
            return answer.json()
        if must:
            raise refused(address.host, answer.status_code, answer.content, answer.headers, None)
    except httpx.HTTPError as error:
        if must:
            raise unreachable(address.host, error) from error
    except ValueError as error:
        if must:
            raise EngineError(f"{address.host} sent no list of models", "check engine: it ends in /v1") from error
    return None


# ---- the tokenizer -------------------------------------------------------------------------------------------------


async def _ids_of(address: EngineAddress, client: httpx.AsyncClient, seen: Capabilities, text: str) -> list[int] | None:
    """Return the engine's own ids of ``text``, if it has a route for that and this address reaches it."""
    if seen.kind == "llama.cpp":
        body: dict[str, Any] = {"content": text, "add_special": False, "parse_special": True}
    else:
        body = {"model": seen.base, "prompt": text, "add_special_tokens": False}
    try:
        answer = await client.post(f"{address.root}/tokenize", json=body, timeout=5.0)
        ids = answer.json().get("tokens") if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError, AttributeError):
        return None
    return ids if isinstance(ids, list) and all(type(token) is int for token in ids) else None


async def _said(engine: RemoteEngine, ids: list[int], how: str) -> Capabilities:
    """Return what the answer to the ids of a fixed string shows: whether the ids are ours, and whether the engine
    returns ids and log probabilities."""
    seen, host = engine.capabilities, engine.address.host
    request = GenerateRequest(tuple(ids), N_SAID, request_id="midfill-probe-ids", logprobs=True)
    if seen.kind == "midfill":
        text = "".join([delta.text async for delta in engine.stream(request)])
        if not how and not _goes_on(text):
            raise _differs(engine.address, seen)
        return dataclasses.replace(seen, same_ids=how or "it goes on with a fixed string")
    told, said, ended, names_others = False, "", False, False
    own: list[int] = []
    logprobs: tuple[float, ...] = ()
    several = dataclasses.replace(engine, capabilities=dataclasses.replace(seen, gives_several=seen.kind == "vllm"))
    async for piece in _timed(several.pieces(dataclasses.replace(request, n=2)), host):
        told |= piece.ids is not None and bool(piece.ids)
        names_others |= len(piece.likeliest) > 1
        own += piece.ids or ()
        said += piece.text
        logprobs += piece.logprobs
        ended |= piece.reason is not None
    if not ended:
        raise BrokenOffError(f"{host} broke off its answer", "ask again; see the engine's log")
    spelled = await engine.vocabulary.decode([token for token in own if token not in engine.facts.control_ids])
    if told and not _agree(spelled, said):
        raise _differs(engine.address, seen)
    if not told and not how:
        if not _goes_on(said):
            raise _differs(engine.address, seen)
        how = "it goes on with a fixed string"
    return dataclasses.replace(
        seen, same_ids=how or "the ids that it returns spell its text", returns_ids=told, tells_logprobs=bool(logprobs),
        gives_several=told and names_others,
    )  # fmt: skip


def _goes_on(said: str) -> bool:
    """Whether an answer is the beginning of the line that the prompt repeats."""
    whole = said.rstrip("\N{REPLACEMENT CHARACTER}")[: len(LINE)]
    return bool(whole) and LINE.startswith(whole)


def _agree(spelled: str, said: str) -> bool:
    """Whether the two are the same text. Each may end in a part of a character, which the other may lack."""
    one, other = spelled.rstrip("\N{REPLACEMENT CHARACTER}"), said.rstrip("\N{REPLACEMENT CHARACTER}")
    shorter, longer = sorted((one, other), key=len)
    return bool(one) == bool(other) and longer.startswith(shorter) and len(longer) - len(shorter) <= 2


async def _timed(pieces: AsyncIterator[dialects.Piece], host: str) -> AsyncIterator[dialects.Piece]:
    try:
        async with asyncio.timeout(PROBE_S), aclosing(pieces) as found:  # type: ignore[type-var]
            async for piece in found:
                yield piece
    except TimeoutError:
        raise EngineError(f"{host} did not answer within {PROBE_S:.0f} s", "see the engine's log") from None


def _differs(address: EngineAddress, seen: Capabilities) -> EngineError:
    return EngineError(
        f"{address.host} has a different tokenizer than this machine's for {seen.base}",
        "set model to what it serves: a folder with its tokenizer.json, or its name on the hub",
    )


async def _has_priority(engine: RemoteEngine) -> bool:
    """Whether the engine accepts a request of lower priority: an engine without such a queue refuses it."""
    asking = dataclasses.replace(engine, capabilities=dataclasses.replace(engine.capabilities, has_priority=True))
    ids = await engine.vocabulary.encode("x = ")
    request = GenerateRequest(tuple(ids), 1, request_id="midfill-probe-priority", background=True)
    try:
        async for _ in _timed(asking.pieces(request), engine.address.host):
            pass
    except EngineError:
        return False
    return True


# ---- cancelling ----------------------------------------------------------------------------------------------------


async def _counter(engine: RemoteEngine) -> Callable[[], Awaitable[float]] | None:
    """Return a function that counts the requests running on the engine, on the way that requests take; None if there is
    no such count."""
    client, root, kind = engine.client, engine.address.root, engine.capabilities.kind

    async def of_metrics() -> float:
        name = {
            "vllm": "vllm:num_requests_running",
            "sglang": "sglang:num_running_reqs",
            "midfill": "midfill_requests_running",
        }[kind]
        answer = await client.get(f"{root}/metrics", timeout=5.0)
        return metric(answer.text, name)

    async def of_slots() -> float:
        answer = await client.get(f"{root}/slots", timeout=5.0)
        return sum(bool(slot.get("is_processing")) for slot in answer.json())

    if kind == "text":
        return None
    count = of_slots if kind == "llama.cpp" else of_metrics
    try:
        await count()
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return count


def metric(text: str, name: str) -> float:
    """Return the sum of a gauge over its labels in Prometheus' text. Raises ValueError if it is not there."""
    values = re.findall(rf"(?m)^{re.escape(name)}(?:\{{[^}}\n]*\}})?\s+([0-9.eE+-]+)", text)
    if not values:
        raise ValueError(name)
    return sum(map(float, values))
