"""Which addresses are asked, with which key, and what midfill never tells an engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from midfill import config, safe_path
from midfill.addresses import leaving, read_address
from midfill.config import Config
from midfill.lsp.settings import Client, ConfigLayers
from midfill.remote.credentials import make_client, read_key
from midfill.types import MidfillError


@pytest.mark.parametrize(
    ("text", "base", "root", "name", "is_loopback"),
    [
        ("https://ai.example/v1", "https://ai.example/v1", "https://ai.example", "ai.example", False),
        ("https://ai.example/v1/", "https://ai.example/v1", "https://ai.example", "ai.example", False),
        ("https://ai.example", "https://ai.example/v1", "https://ai.example", "ai.example", False),
        ("https://ai.example:8443/qwen/v1", "https://ai.example:8443/qwen/v1", "https://ai.example:8443/qwen",
         "ai.example:8443/qwen", False),
        ("https://ai.example/api", "https://ai.example/api", "https://ai.example/api", "ai.example/api", False),
        ("http://localhost:8000/v1", "http://localhost:8000/v1", "http://localhost:8000", "localhost:8000", True),
        ("http://127.0.0.2:1", "http://127.0.0.2:1/v1", "http://127.0.0.2:1", "127.0.0.2:1", True),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", "http://[::1]:8000", "[::1]:8000", True),
    ],
)  # fmt: skip
def test_addresses(text: str, base: str, root: str, name: str, is_loopback: bool) -> None:
    found = read_address(text)
    assert (found.base, found.root, found.name, found.is_loopback) == (base, root, name, is_loopback)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://ai.example/v1", "without encryption"), ("http://10.0.0.1/v1", "without encryption"),
        ("http://127.0.0.1.evil.example/v1", "without encryption"), ("http://0.0.0.0/v1", "without encryption"),
        ("https://user:s3cret@ai.example/v1", "user or a password"), ("https://s3cret@ai.example/v1", "a user or"),
        ("ai.example", "must begin with"), ("ftp://ai.example", "must begin with"), ("", "must begin"),
        ("https://", "must begin with"), ("file:///etc/passwd", "must begin"), ("https://a b/v1", "must begin"),
        ("https://ai.example/v1?key=s3cret", "has a query"), ("https://ai.example/v1#s3cret", "has a query"),
        ("https://ai.example:x/v1", "not an address"), ("https://[::1/v1", "not an address"),
    ],
)  # fmt: skip
def test_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(MidfillError, match=message) as caught:
        Config(engine=(text,))
    assert "s3cret" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ("https://a.example", ("https://a.example",)),
        (["https://a.example"], ("https://a.example",)),
        ("", ()),
        ([], ()),
    ],
)
def test_one_or_several(value: Any, held: tuple[str, ...]) -> None:
    assert config.merged(config.DEFAULT, {"engine": value}, "x").engine == held


def test_a_client_that_names_what_is_not_known() -> None:
    settings = ConfigLayers(Config(), Client(options={"disabledRules": ["balance", "balanse"], "candidates": 2}))
    assert settings.config == Config(disabled_rules=("balance",), candidates=2)
    assert "'balanse' is not known" in str(settings.trouble)
    settings.tell({"disabledRules": ["balanse"]}, "didChangeConfiguration")
    assert settings.config.disabled_rules == ("balance",)  # what was told before goes on
    settings.tell({"disabledRules": ["only_open"]}, "didChangeConfiguration")
    assert (settings.config.disabled_rules, settings.trouble) == (("only_open",), None)


def test_too_many() -> None:
    with pytest.raises(MidfillError, match="33 replicas"):
        Config(engine=tuple(f"https://r{n}.example" for n in range(33)))


@pytest.mark.parametrize("key", sorted(config.USER_ONLY))
def test_an_editor_may_not_say_where_code_goes(key: str) -> None:
    """Its settings hold those of the workspace; no client tells them apart."""
    value = {"engine": "https://evil.example", "engine_deadline_s": 3.0}.get(key, "x")
    settings = ConfigLayers(Config(), Client(options={key: value}))
    assert settings.config == Config()
    assert "may not set" in str(settings.trouble)
    assert "config.toml" in str(settings.trouble)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ((), ""), (("http://localhost:1/v1",), ""),
        (("https://a.example/v1", "http://localhost:1", "https://b.example", "https://a.example/x/v1"),
         "code leaves this machine for a.example, b.example"),
    ],
)  # fmt: skip
def test_what_leaves(engine: tuple[str, ...], said: str) -> None:
    assert leaving(engine) == said


# ---- the key -------------------------------------------------------------------------------------------------------


def key_file(tmp_path: Path, content: str = "from-file\n", mode: int = 0o600) -> str:
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(mode)
    return str(file)


def test_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Config(engine_key_file=key_file(tmp_path))
    assert read_key(Config()) == ""
    assert read_key(settings) == "from-file"
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", " from-environment ")
    assert read_key(settings) == "from-environment"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read(tmp_path: Path, mode: int) -> None:
    with pytest.raises(MidfillError, match="is open to others") as caught:
        read_key(Config(engine_key_file=key_file(tmp_path, mode=mode)))
    assert caught.value.remedy.startswith("run: chmod 600")


@pytest.mark.parametrize("content", ["s3cret two", "s3cret\nline", "s3crét"])
def test_what_is_no_key(tmp_path: Path, content: str) -> None:
    with pytest.raises(MidfillError, match="holds no key") as caught:
        read_key(Config(engine_key_file=key_file(tmp_path, content)))
    assert "s3cr" not in str(caught.value).replace(str(tmp_path), "")


def test_key_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MidfillError, match="cannot read"):
        read_key(Config(engine_key_file=str(tmp_path / "gone")))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(MidfillError, match="is not a file"):
        read_key(Config(engine_key_file=str(tmp_path / "pipe")))


def test_children_do_not_inherit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", "s3cret")
    assert "s3cret" not in safe_path.child_environment().values()


# ---- the client ----------------------------------------------------------------------------------------------------


async def test_redirects_and_the_environment_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    client = make_client(read_address("https://ai.example"), Config())
    assert (client.follow_redirects, client.trust_env) == (False, False)
    assert "authorization" not in client.headers
    await client.aclose()


def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "gone.pem"):
        with pytest.raises(MidfillError, match="holds no certificates"):
            make_client(read_address("https://ai.example"), Config(engine_ca_file=str(tmp_path / name)))


@pytest.mark.parametrize("proxy", ["ai.example:80", "http://user:pw@p:80", "socks5://p:1", "http://p"])
def test_what_is_no_proxy(proxy: str) -> None:
    with pytest.raises(MidfillError, match="engine_proxy"):
        Config(engine_proxy=proxy)
