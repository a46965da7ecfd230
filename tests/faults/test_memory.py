"""Memory that runs out: a limit on the address space of real processes with a tiny model.

The limit makes the system refuse what torch, Python and the native libraries ask for, wherever they are just then.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from midfill.client import spawn
from midfill.engine.base import EngineError, GenerateRequest
from tests.fuzz.wire import folders
from tests.serve.made import config_of, ready

pytestmark = [
    pytest.mark.usefixtures("own_runtime"),
    pytest.mark.model,
    pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux"),
]
MIB = 1 << 20
SHORT, LONG = (1, 2, 3), tuple((7 * k) % 300 + 1 for k in range(1500))


def address_space(pid: int) -> int:
    """Return the address space of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize"))


async def test_an_engine_that_gets_no_more_memory(tiny: Path) -> None:
    """It refuses a long prompt and reports the limit, answers short ones as before, and goes on."""
    import resource

    engine = await spawn.find_or_spawn(config_of(tiny))
    pid = (await ready(engine))["pid"]

    async def whole(prompt: tuple[int, ...]) -> str:
        return "".join([delta.text async for delta in engine.stream(GenerateRequest(prompt, 4))])

    said = await whole(SHORT)
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space(pid), resource.RLIM_INFINITY))
    with pytest.raises(EngineError, match="ran out of memory") as refused:
        await whole(LONG)
    assert refused.value.remedy == "the engine uses a shorter context for a while"
    state = (await engine.client.get("/midfill/status")).json()
    assert state["status"]["state"] == "ready"
    assert state["info"]["most_tokens"] == len(LONG) // 2
    assert await whole(SHORT) == said
    with pytest.raises(EngineError, match="memory is short: prompts of 1500 tokens are refused for now"):
        await whole(LONG)
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert await whole(LONG[: len(LONG) // 2]) != ""
    await engine.aclose()


@pytest.mark.parametrize("mebibytes", [300, 500, None])
def test_a_command_that_gets_too_little(tiny: Path, tmp_path: Path, own_runtime: Path, mebibytes: int | None) -> None:
    """A library's file, its threads or the weights may fail first; in each case the user reads that memory is short."""
    import resource

    def limit() -> None:
        if mebibytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (mebibytes * MIB, mebibytes * MIB))

    (tmp_path / "a.py").write_text("a = 1\n")
    settings = {"model": str(tiny), "device": "cpu", "dtype": "float32", "max_tokens": 4}
    env = folders(tmp_path, **settings) | {"MIDFILL_RUNTIME_DIR": str(own_runtime)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "midfill", "complete", "a.py:1", "--raw"], env={**os.environ, **env}, cwd=tmp_path,
        preexec_fn=limit, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if mebibytes is None else 1), done.stderr
    if mebibytes is not None:
        *_, message, remedy = done.stderr.splitlines()
        assert "memory" in message
        assert remedy.startswith("  -> close other programs")
