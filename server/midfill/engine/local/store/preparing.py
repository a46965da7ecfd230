"""The one-time work of the first start on a machine, in separate processes: their memory is free when they end.

One process prepares the model (models.py), one beside it compiles the kernels for this CPU, which takes about as long.
They end with the process that started them. Run as ``python -m midfill.engine.local.store.preparing``, this module is a
child of either kind, which reports its progress in lines of JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midfill import paths, safe_path
from midfill.engine.local.store import models
from midfill.engine.local.store.embedded import Progress
from midfill.engine.local.store.models import ModelSource
from midfill.faults import described
from midfill.types import MidfillError

if TYPE_CHECKING:
    from midfill.engine.local.model.decoder import Decoder

log = logging.getLogger(__name__)
GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))  # CUDA, ROCm, and a GPU seen from WSL
KILLED = -9  # exit status: ended by the system, for lack of memory, or by the user


def prepare(source: ModelSource, progress: Progress, *, floats: bool = False) -> Path:
    """As models.prepare; if something must be made, a child makes it. Raises MidfillError."""
    folder = models.find_prepared(source) if source.kind in ("embedded", "gguf") else None
    if source.kind not in ("embedded", "gguf") or (folder is not None and not (floats and models.lacks_floats(folder))):
        return models.prepare(source, progress, floats=floats)
    told = {**dataclasses.asdict(source), "path": str(source.path) if source.path else None}
    with _child("model", json.dumps({"source": told, "floats": floats})) as child:
        assert child.stdout is not None
        for line in child.stdout:
            message = json.loads(line)
            if "folder" in message:
                return Path(message["folder"])
            if "error" in message:
                raise MidfillError(message["error"], message["remedy"])
            progress(str(message["stage"]), float(message["fraction"]))
        code = child.wait()
    if code == KILLED:
        raise MidfillError("preparing the model was ended by the system", "close other programs: memory ran out")
    raise MidfillError(f"preparing the model ended with code {code}", "run: midfill model prepare")


class Compiling:
    """The compilation of the kernels in a child, if this machine has not done it yet."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._end = contextlib.ExitStack()
        if not _is_compiled():
            with contextlib.suppress(OSError, MidfillError):
                self._child = self._end.enter_context(_child("kernels", ""))

    def wait(self) -> None:
        """Wait until it is done. If it failed, the code that needs a kernel compiles it, and reports what is wrong."""
        if self._child is not None:
            self._child.wait()
        self._end.close()

    def end(self) -> None:
        """End it before it is done; what is compiled so far is kept."""
        self._end.close()


def compile_early(device: str, dtype: str) -> Compiling | None:
    """Return the compilation for an engine with these settings, begun before torch is imported, which takes seconds.

    None if a GPU may serve: that is not known without torch.
    """
    may_be_gpu = sys.platform != "linux" or any(file.exists() for file in GPUS)
    on_cpu = device == "cpu" or (device == "auto" and not may_be_gpu)
    return Compiling() if on_cpu and dtype in ("auto", "int8") else None


@contextlib.contextmanager
def _child(kind: str, argument: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process of this module, which is ended at the end. Raises MidfillError, OSError."""
    child = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", "midfill.engine.local.store.preparing", kind, argument],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=safe_path.child_environment(), cwd=paths.runtime_dir(),
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _is_compiled() -> bool:
    """Whether the kernels of this version are compiled for this CPU, or cannot be used here."""
    try:
        return _mark().exists()
    except ImportError:
        return True
    except Exception as error:  # noqa: BLE001 - any error of numba or its libraries: there are other kernels
        log.debug("the compiled kernels cannot be used: %s", described(error))
        return True


def _mark() -> Path:
    """Return the file that records this: numba keeps compiled code separate for each CPU, in
    names that only it understands."""
    import numba
    from llvmlite import binding

    from midfill.engine.local.forward.compiled import cache

    cache.choose()
    cpu = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    return Path(numba.config.CACHE_DIR) / f"compiled-{hashlib.sha256(cpu.encode()).hexdigest()[:16]}"


def compile_kernels() -> None:
    """Compile and keep every kernel of a step, by running one. Raises ValueError if this CPU has no int8 products."""
    from midfill.engine.local.forward.runner import Runner

    mark = _mark()
    Runner(tiny()).warm_up()
    mark.touch()


def tiny() -> Decoder:
    """Return a Qwen2 of one layer that fills the kernels' tiles, of zeros."""
    from midfill.engine.local.model.linear_int8 import Int8
    from midfill.engine.local.model.read import architecture, read_decoder
    from midfill.engine.local.store.checkpoint import Zeros

    wanted = architecture({
        "model_type": "qwen2", "hidden_size": 128, "intermediate_size": 256, "vocab_size": 256, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True, "max_position_embeddings": 64,
    })  # fmt: skip
    assert wanted is not None
    return read_decoder(wanted, Zeros(wanted.shapes()), Int8(), lambda stage, fraction: None)[0]


# ---- the child -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Do a child's work; return the exit status."""
    kind, argument = sys.argv[1:3]
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def tell(**message: Any) -> None:
        print(json.dumps(message), flush=True)

    try:
        if kind == "kernels":
            compile_kernels()
            return 0
        told = json.loads(argument)
        path = told["source"].pop("path")
        source = ModelSource(path=Path(path) if path else None, **told["source"])
        tell(folder=str(models.prepare(source, _seldom(tell), floats=told["floats"])))
    except MidfillError as error:
        tell(error=error.message, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001 - only the error's kind is told: its text may hold anything
        tell(error=f"preparing the model failed ({described(error)})", remedy="run: midfill doctor")
    return 0


def _seldom(tell: Callable[..., None]) -> Progress:
    """Return a progress that reports only whole hundredths."""
    last = ("", -1)

    def progress(stage: str, fraction: float) -> None:
        nonlocal last
        if (now := (stage, int(100 * fraction))) != last:
            last = now
            tell(stage=stage, fraction=fraction)

    return progress


def _leave_with_parent() -> None:
    """End when the input closes: the parent process holds its other end."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
