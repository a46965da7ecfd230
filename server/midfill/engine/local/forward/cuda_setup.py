"""From a loaded model to its steps of fixed shape (cuda_graphs.py): measures and plans memory, and chooses the pass."""

from __future__ import annotations

import logging

import torch

from midfill.engine.local.forward.attention import ROWWISE, Rows
from midfill.engine.local.forward.cuda_graphs import Fused, StaticDecoder
from midfill.engine.local.forward.fixed_shape import RANK_STEP, bytes_per_token, make_slots
from midfill.engine.local.forward.kernel_guard import guarded
from midfill.engine.local.forward.memory_plan import Demand, chunks, memory, peak_of, plan, usual_length
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, LoraPair
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.types import MidfillError

log = logging.getLogger(__name__)

NO_ROOM = 'choose a smaller model, dtype = "int4" or device = "cpu"'


def static_decoder(
    runner: Runner, context_tokens: int, max_context: int, n_slots: int, *, free: int | None = None,
    graphs: bool = True, fused: bool = True,
) -> StaticDecoder:  # fmt: skip
    """Return the decoder for ``runner`` with slots for prompts of ``context_tokens`` in ``free`` bytes (default: the
    device's free memory). Without ``fused``, Triton's kernels are not tried.

    Raises MidfillError if they do not fit.
    """
    device, model = runner.device, runner.model if isinstance(runner.model, Decoder) else None
    usual = usual_length(context_tokens, max_context)
    to_try = chunks(memory(device)[1] if device.type == "cuda" else 1 << 60)
    with torch.inference_mode():
        for chunk in to_try:
            try:
                like, logits, demand = measure(runner, context_tokens, chunk)
                wanted = plan(
                    free if free is not None else memory(device)[0], demand, context_tokens, max_context, n_slots
                )
                slots = make_slots(like, wanted)
                break
            except (MidfillError, torch.OutOfMemoryError) as error:
                if chunk == to_try[-1]:
                    if isinstance(error, MidfillError):
                        raise
                    raise MidfillError(f"no room for a prompt of {context_tokens} tokens", NO_ROOM) from error
        if graphs and model is None:
            log.warning("no CUDA graphs: %s has no forward pass of ours", type(runner.model).__name__)
        decoder = StaticDecoder(model, slots, logits, usual=usual, chunk=chunk, graphs=graphs)
        if fused and graphs and model is not None and device.type == "cuda" and (other := fused_pass(model)):
            kernels = f"Triton's kernels on {torch.cuda.get_device_name(device)}, torch {torch.__version__}"
            with guarded(kernels) as may_try:
                if may_try:
                    decoder.choose(other)
                decoder.warm_up()
        else:
            decoder.warm_up()
    log.info("%d slots of %d tokens, %d at once; %s", wanted.n_slots, wanted.capacity, chunk, demand)
    return decoder


def measure(runner: Runner, context_tokens: int, chunk: int) -> tuple[Slot, torch.Tensor, Demand]:
    """Return a slot that was written to (emptied), logits (1, vocabulary), and the memory the
    model needs besides its weights.

    It is measured by the steps that need most: the last chunk of a prompt of ``context_tokens``, and one
    of ROWWISE rows, with an adapter on every linear layer. They also load the kernels that the first
    request would otherwise wait for.
    """
    device, like, found = runner.device, Slot(), list[torch.Tensor]()
    like.begin([1] * context_tokens, None, None)

    def read(n: int) -> None:
        at = range(context_tokens - n, context_tokens)
        found[:] = runner.forward([Rows(like, [1] * n, at, 1)], adapter)

    adapter = null_adapter(runner.model) if isinstance(runner.model, Decoder) else None
    read(1)  # allocates the slot's buffers, and what libraries keep for good
    prefill = peak_of(lambda: read(min(chunk, context_tokens)), device)
    step = peak_of(lambda: read(min(ROWWISE, context_tokens)), device)
    logits = found[0]
    demand = Demand(
        token=bytes_per_token(like), prefill=prefill, step=step, adapter=adapter.n_bytes if adapter is not None else 0,
        logits=ROWWISE * logits.numel() * logits.element_size(),
    )  # fmt: skip
    like.keys, like.values = ([t[:, :1].clone() for t in tensors] for tensors in (like.keys, like.values))
    return like, logits, demand


def null_adapter(decoder: Decoder) -> Adapter:
    """Return an adapter of rank RANK_STEP on every linear layer of the decoder's layers that changes nothing."""
    adapter, like = Adapter("", (), "", RANK_STEP, 1.0, "", {}), torch.empty(0, dtype=decoder.kv_dtype)
    for linear in (linear for layer in decoder.layers for linear in layer.linears):
        for path, size in zip(linear.paths, linear.sizes, strict=True):
            a, b = like.new_zeros((RANK_STEP, linear.in_features)), like.new_zeros((size, RANK_STEP))
            adapter.pairs[path] = LoraPair(a, b, 1.0)
        adapter.stack(linear.paths, linear.sizes)
    return adapter.to(decoder.device, decoder.kv_dtype)


def fused_pass(decoder: Decoder) -> Fused | None:
    """Return the pass with Triton's kernels if Triton is installed and they support ``decoder``, else None."""
    try:
        from midfill.engine.local.forward import fused
    except Exception as error:  # noqa: BLE001 - besides ImportError, what Triton raises if it finds no driver
        log.info("no kernels by Triton: %s", str(error)[:200])
        return None
    return fused.forward if fused.is_possible(decoder) else None
