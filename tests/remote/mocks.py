"""Mocks of other engines that answer as those engines' sources do, over real sockets, with a model that writes what it
is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from midfill.remote.probe import LINE
from midfill.tokenizer import CodeTokenizer
from tests.tokenizers_made import describe, make

BASE = "Qwen/made-coder"
EOS = "<|endoftext|>"
# The fields of their requests, as far as they are of use here; any other field would be a warning, or refused.
OPENAI = frozenset({"model", "prompt", "max_tokens", "temperature", "stream", "stop"})
BATCHING = OPENAI | {
    "stream_options", "logprobs", "stop_token_ids", "cache_salt", "priority", "return_token_ids", "ignore_eos", "n",
}  # fmt: skip
KNOWN: dict[str, frozenset[str]] = {
    "vllm": BATCHING | {"request_id", "return_tokens_as_token_ids"},
    "sglang": BATCHING | {"rid"},
    "llama.cpp": frozenset({
        "prompt", "n_predict", "temperature", "stream", "cache_prompt", "return_tokens", "n_probs", "stop",
        "ignore_eos",
    }),
    "text": OPENAI,
}  # fmt: skip
FORBIDDEN = frozenset({"suffix", "echo", "midfill", "load_inplace"})


@dataclass
class Mock:
    """One engine. ``says`` by adapter ("" is the base); ``requests`` are the received bodies of completions."""

    kind: str = "vllm"
    says: dict[str, str] = field(default_factory=lambda: {"": "a + b"})
    tokenizer: CodeTokenizer = field(default_factory=lambda: make("qwen2.5-coder"))
    root: str = BASE
    key: str = ""
    priority: bool = False
    aliases: dict[str, str] = field(default_factory=dict)  # further models: name and root
    tokenize_route: bool = True
    metrics: bool = True
    swallows: bool = False  # is behind a proxy that keeps reading after its client has gone
    fault: Callable[[int], Response | None] = lambda _n: None
    others: tuple[str, ...] = ()  # what it would write after another first token: the likeliest first
    delay_s: float = 0.0  # before the first token
    pace_s: float = 0.0  # between tokens
    cut_after: int | None = None  # pieces, after which the connection breaks
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    n_running: int = 0
    n_decoded: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests that were not probes."""
        return [body for body in self.requests if not str(_id(body)).startswith("midfill-probe")]

    # ---- routes ----------------------------------------------------------------------------------------------------

    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self._guarded(self._models)),
            Route("/metrics", self._guarded(self._metrics)),
            Route("/version", self._guarded(self._version)),
            Route("/props", self._guarded(self._version)),
            Route("/get_server_info", self._guarded(self._version)),
            Route("/lora-adapters", self._guarded(self._lora)),
            Route("/slots", self._guarded(self._slots)),
            Route("/tokenize", self._guarded(self._tokenize), methods=["POST"]),
            Route("/v1/completions", self._guarded(self._completions), methods=["POST"]),
            Route("/completion", self._guarded(self._completions), methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def _guarded(self, handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                return JSONResponse({"error": "Unauthorized"}, 401)
            answer: Response = await handler(request)
            return answer

        return guarded

    async def _models(self, _: Request) -> Response:
        owner = {"vllm": "vllm", "sglang": "sglang", "llama.cpp": "llamacpp", "text": "library"}[self.kind]
        entry: dict[str, Any] = {"id": BASE, "object": "model", "owned_by": owner}
        if self.kind in ("vllm", "sglang"):
            entry |= {"root": self.root, "parent": None, "max_model_len": 4096}
        data = [entry]
        if self.kind in ("vllm", "sglang"):
            data += [{"id": name, "owned_by": owner, "root": "/a", "parent": BASE} for name in self.says if name]
        data += [{**entry, "id": name, "root": root} for name, root in self.aliases.items()]
        return JSONResponse({"object": "list", "data": data})

    async def _version(self, request: Request) -> Response:
        route = {"vllm": "/version", "sglang": "/get_server_info", "llama.cpp": "/props"}.get(self.kind)
        if request.url.path != route:
            return JSONResponse({"detail": "Not Found"}, 404)
        return JSONResponse({"version": "0.32.0", "build_info": "b9000"})

    async def _metrics(self, _: Request) -> Response:
        if not self.metrics or self.kind == "text":
            return JSONResponse({"detail": "Not Found"}, 404)
        name = {"vllm": "vllm:num_requests_running", "sglang": "sglang:num_running_reqs"}.get(self.kind, "x")
        return PlainTextResponse(f'# TYPE {name} gauge\n{name}{{engine="0",model_name="m"}} {float(self.n_running)}\n')

    async def _slots(self, _: Request) -> Response:
        if self.kind != "llama.cpp":
            return JSONResponse({"detail": "Not Found"}, 404)
        return JSONResponse([{"id": 0, "is_processing": self.n_running > 0}])

    async def _lora(self, _: Request) -> Response:
        if self.kind != "llama.cpp":
            return JSONResponse({"detail": "Not Found"}, 404)
        names = [name for name in self.says if name]
        return JSONResponse([{"id": n, "path": f"/l/{name}.gguf", "scale": 1.0} for n, name in enumerate(names)])

    async def _tokenize(self, request: Request) -> Response:
        body = await request.json()
        if not self.tokenize_route or self.kind not in ("vllm", "llama.cpp"):
            return JSONResponse({"detail": "Not Found"}, 404)
        text = body["content"] if self.kind == "llama.cpp" else body["prompt"]
        return JSONResponse({"tokens": _with_control(self.tokenizer, text)})

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if (answer := self.fault(len(self.requests))) is not None:
            return answer
        if (refusal := self._refusal(body, request.url.path)) is not None:
            return refusal
        adapter = self._adapter(body)
        ids = self._answer(body, adapter)
        source = self._generate(body, ids)
        if self.swallows:
            source = _read_to_the_end(source)
        return StreamingResponse(source, media_type="text/event-stream")

    # ---- what it refuses -------------------------------------------------------------------------------------------

    def _refusal(self, body: dict[str, Any], path: str) -> Response | None:
        assert not FORBIDDEN & body.keys(), body
        assert body.keys() <= KNOWN[self.kind], body.keys() - KNOWN[self.kind]
        assert body["temperature"] == 0
        assert body.get("n", 1) == 1
        assert path == ("/completion" if self.kind == "llama.cpp" else "/v1/completions")
        if self.kind == "text" and not isinstance(body["prompt"], str):
            return JSONResponse({"error": {"message": "prompt must be a string"}}, 400)
        if body.get("priority") and not self.priority:
            return JSONResponse({"error": {"message": "Got priority but Priority scheduling is not enabled."}}, 400)
        if self._adapter(body) not in self.says:
            if self.kind == "sglang":
                return JSONResponse({"message": "The following requested LoRA adapters are not loaded"}, 400)
            return JSONResponse({"error": {"message": "The model does not exist.", "code": 404}}, 404)
        return None

    def _adapter(self, body: dict[str, Any]) -> str:
        if self.kind == "llama.cpp":
            return next((name for name in self.says if name), "")
        model = str(body["model"])
        if self.kind == "sglang":
            base, _, adapter = model.partition(":")
            return adapter if base == BASE else model
        return "" if model == BASE else model

    # ---- what it says ----------------------------------------------------------------------------------------------

    def _answer(self, body: dict[str, Any], adapter: str) -> list[int]:
        """Return the ids of the answer: a fixed string continues for ever, anything else is answered with what was
        told."""
        prompt = body["prompt"]
        text = prompt if isinstance(prompt, str) else self.tokenizer.decode(prompt)
        limit = int(body.get("max_tokens", body.get("n_predict", 16)))
        if text.endswith(LINE):
            n = len(self.tokenizer.encode(LINE))
            return (self.tokenizer.encode(LINE) * (limit // n + 1))[:limit]
        eos = self.tokenizer.id_of([EOS])
        assert eos is not None
        for first, *rest in map(self.tokenizer.encode, self.others):
            if prompt[-1] == first:
                return [*rest, eos][:limit]
        return [*self.tokenizer.encode(self.says[adapter]), eos][:limit]

    def _likeliest(self, token: int, logprob: float, n: int) -> dict[str, float]:
        """Return ``token``, then the end of the middle and the other possible beginnings of the answer; at most
        ``n``."""
        eos = self.tokenizer.id_of([EOS])
        others = [eos, *(self.tokenizer.encode(text)[0] for text in self.others)]
        return {f"token_id:{one}": logprob - at for at, one in enumerate([token, *others][:n])}

    async def _generate(self, body: dict[str, Any], ids: list[int]) -> AsyncIterator[str]:
        self.n_running += 1
        try:
            await asyncio.sleep(self.delay_s)
            held: list[int] = []
            control = self.tokenizer.control_ids
            for n, token in enumerate(ids, 1):
                if self.cut_after is not None and n > self.cut_after:
                    raise ConnectionAbortedError("cut")
                await asyncio.sleep(self.pace_s)
                self.n_decoded += 1
                held.append(token)
                text = self.tokenizer.decode([one for one in held if one not in control])
                if text.endswith("\ufffd") and n < len(ids):
                    text = ""
                else:
                    held = []
                reason = "stop" if token in control else "length" if n == len(ids) else None
                yield self._chunk(body, text, token, reason, n)
            for line in self._end(body, len(ids)):
                yield line
        finally:
            self.n_running -= 1

    def _chunk(self, body: dict[str, Any], text: str, token: int, reason: str | None, n: int) -> str:
        logprob = -n / 1024  # so sure that no line ends at a doubt
        if self.kind == "llama.cpp":
            chunk: dict[str, Any] = {"content": text, "tokens": [token], "stop": False}
            chunk["completion_probabilities"] = [{"id": token, "token": text, "logprob": logprob}]
            return f"data: {json.dumps(chunk)}\n\n"
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
        if body.get("logprobs"):
            top = {text: logprob}
            if body.get("return_tokens_as_token_ids"):
                top = self._likeliest(token, logprob, body["logprobs"])
            choice["logprobs"] = {"tokens": [text], "token_logprobs": [logprob], "top_logprobs": [top]}
        if body.get("return_token_ids"):
            choice["token_ids"] = [token]
            if n == 1:
                choice["prompt_token_ids"] = body["prompt"]
        return f"data: {json.dumps({'id': 'cmpl-1', 'object': 'text_completion', 'choices': [choice]})}\n\n"

    def _end(self, body: dict[str, Any], n: int) -> list[str]:
        n_prompt = len(body["prompt"])
        if self.kind == "llama.cpp":
            last = {
                "content": "", "tokens": [], "stop": True, "stop_type": "eos", "tokens_evaluated": n_prompt,
                "tokens_predicted": n, "timings": {"prompt_n": 3},
            }  # fmt: skip
            return [f"data: {json.dumps(last)}\n\n"]
        lines = []
        if body.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": n_prompt, "completion_tokens": n, "prompt_tokens_details": {"cached_tokens": 2}}
            lines.append(f"data: {json.dumps({'id': 'x', 'choices': [], 'usage': usage})}\n\n")
        return [*lines, "data: [DONE]\n\n"]


def _with_control(tokenizer: CodeTokenizer, text: str) -> list[int]:
    """Tokenise text as a server does: a spelled control token becomes one."""
    names = {tokenizer.decode([token]): token for token in tokenizer.control_ids}
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, names)) + ")", text):
        ids += [names[part]] if part in names else tokenizer.encode(part)
    return ids


def other_tokenizer() -> CodeTokenizer:
    """Return a tokenizer with the same pieces of text under other ids."""
    description = json.loads(json.dumps(describe("qwen2.5-coder")))
    control = {token["content"] for token in description["added_tokens"]}
    vocabulary = description["model"]["vocab"]
    pieces = [piece for piece in vocabulary if piece not in control]
    ids = [vocabulary[piece] for piece in pieces]
    vocabulary.update(zip(pieces, [*ids[1:], ids[0]], strict=True))
    return CodeTokenizer(description)


def _id(body: dict[str, Any]) -> object:
    return body.get("request_id", body.get("rid", ""))


async def _read_to_the_end(source: AsyncIterator[str]) -> AsyncIterator[str]:
    """Read on, like a proxy that does not pass on that its client has gone."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def read() -> None:
        async for line in source:
            queue.put_nowait(line)
        queue.put_nowait(None)

    task = asyncio.create_task(read())
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)
    while (line := await queue.get()) is not None:
        yield line


_BACKGROUND: set[asyncio.Task[None]] = set()


@contextlib.asynccontextmanager
async def running(*mocks: Mock) -> AsyncIterator[None]:
    """Run every one of ``mocks``, listening."""
    servers, tasks = [], []
    for mock in mocks:
        listener = socket.socket()
        listener.bind(("127.0.0.1", mock.port))
        mock.port = listener.getsockname()[1]
        settings = uvicorn.Config(mock.app(), log_config=None, access_log=False, lifespan="off", ws="none")
        server = uvicorn.Server(settings)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        servers.append(server)
        tasks.append(asyncio.create_task(server._serve([listener])))
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        for task in _BACKGROUND:
            task.cancel()
        for server in servers:
            server.should_exit = server.force_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
