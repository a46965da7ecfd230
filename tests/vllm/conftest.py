"""Real vLLM on this machine's loopback interface, serving the embedded model with adapters that midfill trained.

``make test-vllm`` makes its environment; without one, these tests are skipped, and say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import midfill
from midfill.remote.probe import metric
from midfill.remote.published import publish

PYTHON = Path(os.environ.get("MIDFILL_VLLM_PYTHON", ".tools/vllm/bin/python"))
READY_S = 600.0
N_LAST = 40  # lines of its log that a failure shows
KEY = "a-key-for-tests"

pytestmark = pytest.mark.vllm


@dataclass
class Vllm:
    """One vLLM process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def host(self) -> str:
        return self.url.partition("//")[2].removesuffix("/v1")

    def running(self) -> float:
        """The requests that it works on now, by its own count."""
        return self._metric("vllm:num_requests_running")

    def finished(self) -> float:
        """The requests that it has finished; cancelled ones are not among them."""
        return self._metric("vllm:request_success_total")

    def _metric(self, name: str) -> float:
        answer = httpx.get(f"http://{self.host}/metrics", timeout=10.0, headers={"Authorization": f"Bearer {KEY}"})
        return metric(answer.text, name)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """Kill it with its children: the engine is one of them, and holds the memory."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
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
    """Write the adapter with another scale, and so other effective weights on the base; return its folder."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    file = target / "adapter_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, "lora_alpha": content["lora_alpha"] * factor}), encoding="utf-8")
    return target


def start(python: Path, model: Path, adapters: Path, log: Path) -> Vllm:
    """Start vLLM as docs/team.md says, but small and in float32. Raises AssertionError with the end of its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ, "VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "lora_filesystem_resolver", "VLLM_LORA_RESOLVER_CACHE_DIR": str(adapters),
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_API_KEY": KEY, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "DEBUG",
    }  # fmt: skip
    command = [
        str(python), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port),
        "--model", str(model), "--dtype", "float32", "--enforce-eager", "--max-model-len", "2048",
        "--max-num-seqs", "4", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "16", "--enable-prefix-caching",
        "--generation-config", "vllm", "--scheduling-policy", "priority",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    found, deadline = Vllm(f"http://127.0.0.1:{port}/v1", process, log), time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2.0).status_code == 200:
                return found
        except httpx.HTTPError:
            time.sleep(1.0)
    found.kill()
    last = "\n".join(found.said().splitlines()[-N_LAST:])
    raise AssertionError(f"vLLM did not start (exit status {process.returncode}); the end of {log}:\n{last}")


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm-logs")


@pytest.fixture(scope="session")
def vllm(python: Path, embedded_folder: Path, adapters: Path, logs: Path) -> Iterator[Vllm]:
    found = start(python, embedded_folder, adapters, logs / "first.log")
    try:
        yield found
    finally:
        found.kill()
