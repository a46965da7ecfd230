"""Measure how suffix shift and token healing change the answers, on holes in the standard library.

    python -m scripts.bench.layouts [--holes 160] [--seed 1] [--form int8]

Each hole is answered in four ways: without both; with token healing only; and with token healing and a suffix that was
kept in the cache while 8, or 40, characters were typed before the cursor. The score is whether the first line is right,
character by character. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import torch

from midfill import fim
from midfill.bench.holes import KINDS, cut
from midfill.bench.prompts import shortened
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model.load import LoadedModel, load
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.healing import ForcedPrefix, TokenIndex
from midfill.engine.local.sequence.kv_cache import Rotate, Slot
from midfill.engine.local.store import models
from midfill.eval.about import measured
from midfill.eval.figures import compared
from midfill.eval.holes import first_line
from midfill.types import Snapshot

N_TOKENS = 24
BUDGET = 768
WAYS = {"plain": (False, 0), "healed": (True, 0), "shift 8": (True, 8), "shift 40": (True, 40)}


class Layouts:
    """One model, asked in several ways."""

    def __init__(self, form: str) -> None:
        folder = models.prepare(models.resolve("embedded"), lambda stage, fraction: None)
        self.loaded: LoadedModel = load(folder, "embedded", device="cpu", dtype=form, progress=lambda *_: None)
        self.runner = Runner(self.loaded.model)
        rotate = self.runner.find_rotation()
        assert rotate is not None
        self.rotate: Rotate = rotate
        self.slot = Slot()
        self.vocabulary = TokenIndex(self.loaded.tokenizer, self.loaded.vocabulary)
        template = fim.detect(self.loaded.tokenizer)
        self.renderers = {heal: fim.FimRenderer(template, self.loaded.tokenizer, heal=heal) for heal in (False, True)}

    def ask(self, snapshot: Snapshot, earlier: Snapshot | None, *, heal: bool) -> str:
        """Return the answer's first line. ``earlier``: where the cursor was when the suffix was read."""
        slot, renderer = self.slot, self.renderers[heal]  # the prefix is read once for all ways, which is exact
        if earlier is not None:
            before = renderer.render(earlier, budget=2 * BUDGET)
            slot.begin(before.ids, None, None)
            slot.suffix_start, slot.suffix_end = before.suffix or (0, 0)
            self.runner.forward([Generation(slot, Sampling()).rows(len(slot.ids))])
        prompt = renderer.render(snapshot, budget=2 * BUDGET)
        slot.begin(prompt.ids, prompt.suffix if earlier else None, self.rotate if earlier else None)
        forced_prefix = ForcedPrefix(prompt.forced_prefix, self.vocabulary) if prompt.forced_prefix else None
        generation = Generation(slot, Sampling(), forced_prefix=forced_prefix)
        control, decode = self.loaded.tokenizer.control_ids, self.loaded.tokenizer.decode
        said: list[int] = []
        while len(said) < N_TOKENS and not (said and said[-1] in control):
            rows = generation.rows()
            (logits,) = self.runner.forward([rows])
            said += [token.id for token in generation.take(rows, logits)]
            if "\n" in decode(said[-1:]):
                break
        return first_line(decode([token for token in said if token not in control]).removeprefix(prompt.forced_prefix))


def main() -> None:
    """Ask, judge, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--holes", type=int, default=160)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--form", default="int8")
    options = parser.parse_args()
    layouts = Layouts(options.form)
    right: dict[str, list[bool]] = {way: [] for way in WAYS}
    same, by_kind = Counter[str](), Counter[tuple[str, str]]()
    holes = [shortened(hole, layouts.loaded.tokenizer, BUDGET) for hole in cut(options.holes, options.seed, KINDS[:3])]
    with torch.inference_mode():
        for hole in holes:
            said = {
                way: layouts.ask(hole.snapshot(), hole.snapshot(n_untyped) if n_untyped else None, heal=heal)
                for way, (heal, n_untyped) in WAYS.items()
            }
            for way, text in said.items():
                right[way].append(hole.is_answered_by(text))
                by_kind[way, hole.kind] += right[way][-1]
                same[way] += text == said["healed"]
    found: dict[str, Any] = {}
    for way, marks in right.items():
        pairs = zip(holes, right["healed"], marks, strict=True)
        one = compared(way, "first_line", [(hole.source, float(a), float(b)) for hole, a, b in pairs])
        kinds = {kind: by_kind[way, kind] for kind in KINDS[:3]}
        print(f"{way:<9} {sum(marks):>4}/{one.n} = {one.b:.3f}  against healed {one.low:+.3f} .. {one.high:+.3f}"
              f"  same answer {same[way]}  {kinds}")  # fmt: skip
        found[way] = {"right": sum(marks), **asdict(one), "same": same[way], "kinds": kinds}
    about = {"holes": options.holes, "seed": options.seed, "form": options.form}
    print(json.dumps(measured("layouts", {**about, "ways": found})))


if __name__ == "__main__":
    main()
