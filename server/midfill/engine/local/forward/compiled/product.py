"""Int8 weights in the layout that the tile reads, and their product with many rows."""

from __future__ import annotations

import numpy as np
import torch

from midfill.engine.local.forward.compiled import products
from midfill.engine.local.forward.compiled.sharing import LINE
from midfill.engine.local.forward.compiled.team import n_threads, team
from midfill.engine.local.forward.compiled.tiles import DEPTH, OUTPUTS


class CompiledKernel:
    """A weight in panels of OUTPUTS rows.

    Activations are quantised to some thousand levels: products of 16-bit numbers cost AVX2 no more than FBGEMM's, which
    takes seven bits of a weight and eight of an activation, and almost no quality is lost (docs/log.md).
    """

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        """``weight``: int8 (out, in); ``scale``: the value of one level, (out,)."""
        outputs, inputs = weight.shape
        self.inputs = inputs
        self.depth = -(-inputs // DEPTH) * DEPTH
        self.levels = products.levels_of(self.depth)
        self.packed = np.empty((-(-outputs // OUTPUTS), self.depth // DEPTH, OUTPUTS, DEPTH), np.int8)
        self.outputs = outputs
        self.scale = np.zeros(len(self.packed) * OUTPUTS, np.float32)
        self.scale[:outputs] = scale.detach().float().numpy()
        threads = n_threads()
        team.run(products.pack, threads, weight.detach().contiguous().numpy(), self.packed, threads=threads)

    def __call__(self, rows: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        """See Kernel."""
        n, threads = len(rows), n_threads()
        if rows.shape[1] != self.inputs:
            raise ValueError(f"rows of {rows.shape[1]} instead of {self.inputs}")
        out = torch.empty((n, len(self.scale)))
        x, row_scales = np.empty((n, self.depth), np.int16), np.empty(n, np.float32)
        counters = np.zeros((2, LINE), np.int64)
        given = np.ones(n, np.float32) if factor is None else factor.reshape(-1).numpy()
        team.run(
            products.multiply, threads, rows.contiguous().numpy(), given, self.levels, self.packed, self.scale, x,
            row_scales, out.numpy(), counters, threads=threads,
        )  # fmt: skip
        return out if out.shape[1] == self.outputs else out[:, : self.outputs].contiguous()

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """Return rows of the weight: (...) -> int8 (..., in)."""
        panels, lanes = np.divmod(indices.numpy(), OUTPUTS)
        found = torch.from_numpy(self.packed[panels, :, lanes])  # (..., depth / DEPTH, DEPTH)
        return found.flatten(-2)[..., : self.inputs]
