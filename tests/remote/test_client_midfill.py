"""Our own engine as a remote one: over TLS, with a token, through the whole client."""

from __future__ import annotations

from pathlib import Path

import pytest

from midfill.engine.base import AdapterMissingError, GenerateRequest
from midfill.serve.team import tokens
from midfill.serve.team.listen import Listen
from midfill.types import MidfillError
from tests.remote.conftest import Connect, text_of
from tests.remote.made import Resident
from tests.serve.made import FakeResident, certified, listening


async def test_with_a_token_and_the_companys_certificate(
    resident: Resident, tmp_path: Path, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certified(tmp_path)
    file = tmp_path / "tokens.json"
    token = tokens.add("ada", file)
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", token)
    async with listening(resident, Listen("127.0.0.1", 0, certificate, key, tokens=file)) as server:
        settings = {"engine": (server.address,), "engine_ca_file": str(certificate)}
        async with connected(**settings) as remote:
            (capabilities,) = remote.table.values()
            assert (capabilities.kind, capabilities.base, capabilities.max_context) == ("midfill", "made", 2048)
            assert remote.binds
            request = GenerateRequest((1, 2), 8, forced_prefix="", suffix=(1, 2), n=1, window="9", session="s")
            assert await text_of(remote, request) == "a + b"
            assert (resident.asked[-1].suffix, resident.asked[-1].window) == ((1, 2), "ada")
            with pytest.raises(AdapterMissingError):
                await text_of(remote, GenerateRequest((1, 2), 8, adapter="unheard-of"))
        with pytest.raises(MidfillError, match="certificate is not trusted") as caught:
            async with connected(**{**settings, "engine_ca_file": ""}):
                pass
        assert caught.value.remedy == "set engine_ca_file to your company's certificates"
        tokens.revoke("ada", file)
        with pytest.raises(MidfillError, match=r"refuses the key \(HTTP 401\)"):
            async with connected(**settings):
                pass


async def test_another_tokenizer(resident: Resident, tmp_path: Path, connected: Connect) -> None:
    async with listening(resident, Listen("127.0.0.1", 0, tokens=tmp_path / "none.json")) as server:
        async with connected(engine=(server.address,)):
            pass
        resident.stream = FakeResident.stream.__get__(resident)  # type: ignore[method-assign]
        with pytest.raises(MidfillError, match="a different tokenizer"):
            async with connected(engine=(server.address,)):
                pass
