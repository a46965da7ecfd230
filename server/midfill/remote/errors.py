"""Turns what an engine elsewhere answers instead of a middle into one line with its remedy."""

from __future__ import annotations

import ssl

import httpx

from midfill.engine.base import AdapterMissingError, BadRequestError, EngineError

MAX_WAIT_S = 60.0  # the longest wait that a replica may ask for


class BadKeyError(EngineError):
    """The engine refuses the key; the user has to fix that."""


class BusyError(EngineError):
    """The engine asks to be left alone for ``wait_s`` seconds."""

    def __init__(self, message: str, remedy: str, wait_s: float) -> None:
        super().__init__(message, remedy)
        self.wait_s = wait_s


class BrokenOffError(EngineError):
    """The answer broke off before its end: what came of it is not shown."""


def refused(host: str, status: int, body: bytes, headers: httpx.Headers, adapter: str | None) -> EngineError:
    """Return the error for an answer with another status than 200.

    The engine's own words are left out: they may repeat the prompt, and errors are logged.
    """
    if status in (401, 403):
        message = f"{host} refuses the key (HTTP {status})"
        return BadKeyError(message, "set MIDFILL_ENGINE_KEY or engine_key_file to a valid key")
    lacks_adapter = status == 404 or (status == 400 and b"lora" in body[:4096].lower())  # SGLang answers 400
    if adapter is not None and lacks_adapter:
        remedy = "publish it with midfill adapters publish, or set adapter to one that midfill doctor --engine lists"
        if "@" in adapter:  # published, according to our pointer, but the engine does not find it
            remedy = (
                "run midfill adapters publish with the folder that the engine looks into; "
                "vLLM looks there with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 alone"
            )
        return AdapterMissingError(f"{host} has no adapter {adapter!r}", remedy)
    if status == 404:
        return EngineError(f"{host} has no such route or model (HTTP 404)", "check engine: it ends in /v1")
    if status == 429 or (status == 503 and "retry-after" in headers):
        wait_s = _wait_s(headers.get("retry-after", ""))
        return BusyError(f"{host} is busy (HTTP {status})", f"midfill asks it again in {wait_s:.0f} s", wait_s)
    if 300 <= status < 400:
        return EngineError(
            f"{host} redirects, which midfill does not follow (HTTP {status})",
            "set engine to the address it redirects to",
        )
    if status in (400, 413, 422):
        return BadRequestError(f"{host} refuses the request (HTTP {status})", "run: midfill doctor --engine")
    return EngineError(f"{host} failed (HTTP {status})", "see the engine's log")


def unreachable(host: str, error: Exception) -> EngineError:
    """Return the error for a request that got no answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return EngineError(
                f"{host}: its certificate is not trusted", "set engine_ca_file to your company's certificates"
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return BrokenOffError(
            f"{host} broke off its answer ({type(error).__name__})", "ask again; see the engine's log"
        )
    if isinstance(error, httpx.ProxyError):
        return EngineError("the proxy does not answer", "check engine_proxy")
    return EngineError(f"{host} does not answer ({type(error).__name__})", "check engine, or start it there")


def _wait_s(text: str) -> float:
    """Return the seconds to wait: what the engine says, within bounds."""
    try:
        return min(MAX_WAIT_S, max(1.0, float(text)))
    except ValueError:
        return 5.0
