"""Real vLLM on this machine's loopback, serving the embedded model with adapters that midfill trained.

``make test-vllm`` makes its environment; without one these tests are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import midfill
from midfill.remote.published import publish

PYTHON = Path(os.environ.get("MIDFILL_VLLM_PYTHON", ".tools/vllm/bin/python"))
READY_S = 600.0
KEY = "a-key-for-tests"

pytestmark = pytest.mark.vllm


@dataclass
class Vllm:
    """One process."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session", autouse=True)
def python() -> Path:
    if not PYTHON.is_file():
        pytest.skip(f"{PYTHON} is not there: make test-vllm makes it")
    return PYTHON.absolute()


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory, embedded_folder: Path) -> Path:
    """What engines and front ends share: "mine" and "other", which differ in their strength."""
    folder, source = tmp_path_factory.mktemp("adapters"), Path(midfill.__file__).parent / "embedded_adapter"
    publish("mine", source, folder, base=str(embedded_folder))
    publish("other", stronger(source, tmp_path_factory.mktemp("other"), 3.0), folder, base=str(embedded_folder))
    return folder


def stronger(source: Path, target: Path, factor: float) -> Path:
    """The adapter with another scale: other weights for whoever adds it to the base."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    file = target / "adapter_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, "lora_alpha": content["lora_alpha"] * factor}), encoding="utf-8")
    return target


def start(python: Path, model: Path, adapters: Path) -> Vllm:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ, "VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "lora_filesystem_resolver", "VLLM_LORA_RESOLVER_CACHE_DIR": str(adapters),
        "VLLM_API_KEY": KEY, "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [
        str(python), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port),
        "--model", str(model), "--dtype", "float32", "--enforce-eager", "--max-model-len", "2048",
        "--max-num-seqs", "4", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "16", "--enable-prefix-caching",
        "--generation-config", "vllm", "--scheduling-policy", "priority",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found, deadline = Vllm(f"http://127.0.0.1:{port}/v1", process), time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "vLLM ended while it started"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2.0).status_code == 200:
                return found
        except httpx.HTTPError:
            time.sleep(1.0)
    found.kill()
    raise AssertionError("vLLM did not start")


@pytest.fixture(scope="session")
def vllm(python: Path, embedded_folder: Path, adapters: Path) -> Iterator[Vllm]:
    found = start(python, embedded_folder, adapters)
    yield found
    found.kill()
