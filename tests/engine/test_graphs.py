"""The order of calls to CUDA around captures; the streams and graphs here only write down what is called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from midfill.engine.local.forward.graphs import N_REHEARSALS, Graphs, Streams

DEVICE = torch.device("cuda", 0)


class Cuda:
    """Takes the place of torch.cuda for Graphs. ``log``: the calls so far, ``stream``: the current one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.n_streams = self.n_graphs = 0
        self.stream: Any = FakeStream(self, "main")
        self.end_fails = False
        for name in ("Stream", "CUDAGraph", "graph", "synchronize", "current_stream", "set_stream", "device"):
            patch.setattr(torch.cuda, name, getattr(self, name))
        patch.setattr(torch.cuda, "stream", self.on)
        patch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: self.log.append("clear"), raising=False)

    def Stream(self, device: torch.device) -> FakeStream:
        self.n_streams += 1
        return FakeStream(self, f"s{self.n_streams}")

    def CUDAGraph(self) -> FakeGraph:
        self.n_graphs += 1
        return FakeGraph(self, self.n_graphs)

    @contextlib.contextmanager
    def on(self, stream: FakeStream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    @contextlib.contextmanager
    def graph(self, graph: FakeGraph, pool: Any, stream: FakeStream, capture_error_mode: str) -> Iterator[None]:
        """As torch's, which leaves the capture's stream current where the end of a capture fails."""
        self.log.append(f"capture {graph.number} into {pool}")
        graph.own_pool = pool or f"pool {graph.number}"
        before, self.stream = self.stream, stream
        yield
        if self.end_fails:
            raise RuntimeError("the capture was invalidated")
        self.stream = before

    def synchronize(self, device: torch.device) -> None:
        self.log.append("synchronize")

    def current_stream(self, device: torch.device) -> FakeStream:
        assert isinstance(self.stream, FakeStream)
        return self.stream

    def set_stream(self, stream: FakeStream) -> None:
        self.stream = stream

    def device(self, device: torch.device) -> Any:
        return contextlib.nullcontext()


class FakeStream:
    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: FakeStream) -> None:
        self.cuda.log.append(f"{self.name} after {other.name}")


class FakeGraph:
    own_pool: str

    def __init__(self, cuda: Cuda, number: int) -> None:
        self.cuda, self.number = cuda, number

    def pool(self) -> str:
        return self.own_pool

    def replay(self) -> None:
        self.cuda.log.append(f"replay {self.number}")

    def reset(self) -> None:
        self.cuda.log.append(f"reset {self.number}")

    def __del__(self) -> None:
        self.cuda.log.append(f"destroy {self.number}")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return Cuda(monkeypatch)


@pytest.fixture
def streams(cuda: Cuda) -> Streams:
    return Streams(DEVICE)


def compute(cuda: Cuda) -> Any:
    return lambda: cuda.log.append(f"compute on {cuda.stream.name}")


def test_a_capture(cuda: Cuda, streams: Streams) -> None:
    Graphs[str](streams, streams.plain).capture("a", compute(cuda))
    assert cuda.log[:8] == [
        "synchronize", "clear", "s1 after main", *["compute on s1"] * N_REHEARSALS, "main after s1",
        "capture 1 into None", "compute on s2",
    ]  # fmt: skip
    assert cuda.stream.name == "main"


def test_no_stream_is_made_twice_and_the_workspaces_are_cleared_once(cuda: Cuda, streams: Streams) -> None:
    """A workspace a stream, for ever: three, however many graphs there are. Cleared later it would be in use."""
    plain, adapted = Graphs[int](streams, streams.plain), Graphs[int](streams, streams.adapted)
    for number in range(40):
        (plain if number % 2 else adapted).capture(number, compute(cuda))
    assert (cuda.n_streams, cuda.log.count("clear")) == (3, 1)
    assert cuda.log.index("clear") < cuda.log.index("capture 1 into None")
    on = {line for line in cuda.log if line.startswith("compute")}
    assert on == {"compute on s1", "compute on s2", "compute on s3"}
    pools = {line.split(" into ")[1] for line in cuda.log if line.startswith("capture")}
    assert pools == {"None", "pool 1", "pool 2"}  # one for each generation


def test_a_generation_is_dropped_whole_after_the_device_is_done(cuda: Cuda, streams: Streams) -> None:
    plain, adapted = Graphs[int](streams, streams.plain), Graphs[int](streams, streams.adapted)
    for number in range(3):
        adapted.capture(number, compute(cuda))
    plain.capture(0, compute(cuda))
    cuda.log.clear()
    adapted.drop()
    assert cuda.log[0] == "synchronize"
    assert [line for line in cuda.log if line.startswith("reset")] == ["reset 1", "reset 2", "reset 3"]
    assert (len(adapted), len(plain), 0 in plain, 0 in adapted) == (0, 1, True, False)
    plain.replay(0)
    assert cuda.log[-1] == "replay 4"
    adapted.capture(7, compute(cuda))
    assert "capture 5 into None" in cuda.log  # a new pool
    cuda.log.clear()
    Graphs[int](streams, streams.plain).drop()
    assert cuda.log == []


@pytest.mark.parametrize("where", ["inside", "at the end"])
def test_a_failed_capture_destroys_nothing_before_the_others(cuda: Cuda, streams: Streams, where: str) -> None:
    """Destroying it would take the workspace that the others use; and the stream is the one before."""
    graphs = Graphs[int](streams, streams.plain)
    graphs.capture(0, compute(cuda))

    def fail() -> None:
        if cuda.stream.name == "s2" and where == "inside":
            raise torch.OutOfMemoryError("CUDA out of memory")

    cuda.end_fails = where == "at the end"
    with pytest.raises(RuntimeError):
        graphs.capture(1, fail)
    cuda.end_fails = False
    assert cuda.stream.name == "main"
    assert (len(graphs), 1 in graphs) == (1, False)
    assert not any(line.startswith(("reset", "destroy")) for line in cuda.log)
    graphs.capture(2, compute(cuda))
    graphs.drop()
    lost = [line for line in cuda.log if line.startswith(("reset", "destroy"))]
    assert lost[:3] == ["reset 1", "reset 3", "reset 2"]
