"""Capturing CUDA graphs so that no capture damages another one.

Three facts of torch decide how this is done. cuBLAS keeps a workspace for each stream it was used on, for as long as
the process lives: 32 MiB on Hopper. A workspace first needed during a capture lies in the memory pool of that capture.
And destroying a graph also frees the workspace of its capture stream (pytorch #193402), even if another graph was
captured on that stream and still reads it.

So the streams are few and kept: one for rehearsals, and one for each generation of graphs, on which nothing else ever
runs. A generation has its own pool and is dropped as a whole, after the device has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import torch

# Before a capture the step runs normally: libraries initialise on first use, which a capture does not allow.
N_REHEARSALS = 2

K = TypeVar("K", bound=Hashable)


class Streams:
    """The streams of one decoder. They are made together, so torch's ring of 32 gives three different ones."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        streams: Any = [torch.cuda.Stream(device) for _ in range(3)]  # type: ignore[no-untyped-call]
        self.rehearsal, self.plain, self.adapted = streams
        self._is_clean = False

    def rehearse(self, compute: Callable[[], object]) -> None:
        """Run ``compute`` on its own stream, so that libraries' first allocations are done, and
        wait for it in stream order."""
        current = torch.cuda.current_stream(self.device)
        self.rehearsal.wait_stream(current)
        with torch.cuda.stream(self.rehearsal):
            for _ in range(N_REHEARSALS):
                compute()
        current.wait_stream(self.rehearsal)

    def before_capture(self) -> None:
        """Free cuBLAS' workspaces, once and before there is any graph: the workspace of a capture stream must lie in
        its pool, and other code may have used torch's streams before."""
        if not self._is_clean:
            torch.cuda.synchronize(self.device)
            torch._C._cuda_clearCublasWorkspaces()
            self._is_clean = True


class Graphs(Generic[K]):
    """One generation of graphs: captured on one stream into one pool, dropped together."""

    def __init__(self, streams: Streams, stream: torch.cuda.Stream) -> None:
        """``stream``: of ``streams``, for this generation's captures and nothing else."""
        self._streams, self._stream = streams, stream
        self._captured: dict[K, torch.cuda.CUDAGraph] = {}
        self._failed: list[torch.cuda.CUDAGraph] = []  # kept, as destroying one would free the others' workspace
        self._pool: Any = None

    def __len__(self) -> int:
        return len(self._captured)

    def __contains__(self, key: K) -> bool:
        return key in self._captured

    def capture(self, key: K, compute: Callable[[], object]) -> None:
        """Capture ``compute`` as the graph ``key``. Raises RuntimeError if it cannot be captured or memory runs out."""
        streams = self._streams
        with torch.cuda.device(streams.device):
            streams.before_capture()
            streams.rehearse(compute)
            graph = torch.cuda.CUDAGraph()
            self._failed.append(graph)
            before = torch.cuda.current_stream(streams.device)
            try:
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):  # fmt: skip
                    compute()
            finally:
                torch.cuda.set_stream(before)  # torch leaves its own stream current if the end of a capture fails
        self._failed.remove(graph)
        self._captured[key] = graph
        self._pool = graph.pool()

    def replay(self, key: K) -> None:
        """Launch the graph ``key``; its results are where ``compute`` put them."""
        self._captured[key].replay()

    def drop(self) -> None:
        """Destroy all graphs once the device has finished them. Afterwards others may be captured."""
        graphs = [*self._captured.values(), *self._failed]
        if not graphs:
            return
        torch.cuda.synchronize(self._streams.device)
        self._captured.clear()
        self._failed.clear()
        self._pool = None
        for graph in graphs:
            graph.reset()
