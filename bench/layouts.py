"""What suffix shift and token healing do to the answers: paired, over holes cut from real code.

    python bench/layouts.py [--holes 160] [--seed 1] [--form int8]

Each hole is asked for in four ways: plain (exact layout, no healing), healed (exact layout), and healed after the
suffix was kept while 8 and while 40 characters were typed before the cursor. Judged by exact match of the first line.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import collections
import configparser
import csv
import difflib
import json
import random
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch

from midfill import fim
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model.load import LoadedModel, load
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.healing import ForcedPrefix, Vocabulary
from midfill.engine.local.sequence.kv_cache import Rotate, Slot
from midfill.engine.local.store import models
from midfill.types import Snapshot

SOURCES = (argparse, collections, configparser, csv, difflib, json.decoder, statistics, textwrap, random)
KINDS = ("rest of line", "call arguments", "mid-word")
N_TOKENS = 24
BUDGET = 768


def holes(n: int, seed: int) -> list[tuple[str, Snapshot, str]]:
    """(kind, snapshot with the hole cut out, what was there): ``n`` of them, the kinds in turn."""
    chance = random.Random(seed)  # noqa: S311
    texts = [Path(module.__file__).read_text(encoding="utf-8") for module in SOURCES if module.__file__]
    found: list[tuple[str, Snapshot, str]] = []
    while len(found) < n:
        text = chance.choice(texts)
        start = chance.randrange(len(text) // 4, len(text) - 200)
        kind = KINDS[len(found) % len(KINDS)]
        if (place := _place(text, start, kind)) is not None:
            begin, end = place
            cut = text[:begin] + text[end:]
            found.append((kind, Snapshot("", 0, "python", cut, begin), text[begin:end]))
    return found


def _place(text: str, start: int, kind: str) -> tuple[int, int] | None:
    """Bounds of a hole of ``kind`` in the first line after ``start`` that has one."""
    begin = text.find("\n", start) + 1
    end = text.find("\n", begin)
    line = text[begin:end]
    code = line.strip()
    if len(code) < 12 or code.startswith(("#", '"', "'")):
        return None
    if kind == "call arguments":
        opening = line.find("(")
        if opening < 0 or not line.rstrip(":").endswith(")") or line.endswith("()"):
            return None
        return begin + opening + 1, begin + line.rfind(")")
    words = [i for i in range(len(line) - 1) if line[i].isalpha() and line[i + 1].isalpha() and i > len(line) // 4]
    breaks = [i for i in range(len(line)) if i > len(line) // 3 and line[i] in " .(" and line[i + 1 :].strip()]
    if kind == "mid-word":
        return (begin + words[len(words) // 2] + 1, end) if words else None
    return (begin + breaks[0] + 1, end) if breaks else None


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
        self.vocabulary = Vocabulary(self.loaded.tokenizer, self.loaded.vocabulary)
        template = fim.detect(self.loaded.tokenizer)
        self.renderers = {heal: fim.FimRenderer(template, self.loaded.tokenizer, heal=heal) for heal in (False, True)}

    def ask(self, snapshot: Snapshot, *, heal: bool, typed: int = 0) -> str:
        """The answer's first line. ``typed``: the suffix was read so many characters before."""
        slot = self.slot  # the prefix is read once for all ways, which is exact
        if typed:
            earlier = Snapshot("", 0, "python", snapshot.text[: snapshot.cursor - typed] + snapshot.suffix,
                               snapshot.cursor - typed)  # fmt: skip
            before = self.renderers[heal].render(earlier, budget=BUDGET)
            slot.begin(before.ids, None, None)
            slot.suffix_start, slot.suffix_end = before.suffix or (0, 0)
            self.runner.forward([Generation(slot, Sampling()).rows(len(slot.ids))])
        prompt = self.renderers[heal].render(snapshot, budget=BUDGET)
        slot.begin(prompt.ids, prompt.suffix if typed else None, self.rotate if typed else None)
        forced_prefix = ForcedPrefix(prompt.forced_prefix, self.vocabulary) if prompt.forced_prefix else None
        generation = Generation(slot, Sampling(), forced_prefix=forced_prefix)
        said: list[int] = []
        while len(said) < N_TOKENS and not (said and said[-1] in self.loaded.tokenizer.control_ids):
            rows = generation.rows()
            (logits,) = self.runner.forward([rows])
            said += [token.id for token in generation.take(rows, logits)]
            if "\n" in self.loaded.tokenizer.decode(said[-1:]):
                break
        text = self.loaded.tokenizer.decode([token for token in said if token not in self.loaded.tokenizer.control_ids])
        return text.removeprefix(prompt.forced_prefix).split("\n", 1)[0]


def is_right(said: str, hole: str, rest: str) -> bool:
    """Whether the first line is the hole's, or begins with it where text follows on the line."""
    wanted = hole.split("\n", 1)[0].rstrip()
    return said.rstrip() == wanted or (bool(rest.strip()) and said.startswith(wanted + rest.strip()[:1]))


def interval(differences: Sequence[int], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean difference."""
    chance, n = random.Random(seed), len(differences)  # noqa: S311
    means = sorted(sum(chance.choices(differences, k=n)) / n for _ in range(2000))
    return means[50], means[1949]


def main() -> None:
    """Ask, judge, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--holes", type=int, default=160)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--form", default="int8")
    options = parser.parse_args()
    layouts = Layouts(options.form)
    ways = {"plain": (False, 0), "healed": (True, 0), "shift 8": (True, 8), "shift 40": (True, 40)}
    right: dict[str, list[int]] = {way: [] for way in ways}
    same: dict[str, int] = dict.fromkeys(ways, 0)
    by_kind: dict[str, dict[str, int]] = {kind: dict.fromkeys(ways, 0) for kind in KINDS}
    with torch.inference_mode():
        for kind, snapshot, hole in holes(options.holes, options.seed):
            said = {way: layouts.ask(snapshot, heal=heal, typed=typed) for way, (heal, typed) in ways.items()}
            for way, text in said.items():
                ok = is_right(text, hole, snapshot.line_after)
                right[way].append(ok)
                by_kind[kind][way] += ok
                same[way] += text == said["healed"]
    report = {"bench": "layouts", "holes": options.holes, "seed": options.seed, "form": options.form, "ways": {}}
    for way, marks in right.items():
        low, high = interval([a - b for a, b in zip(marks, right["healed"], strict=True)])
        rate = sum(marks) / len(marks)
        kinds = {kind: by_kind[kind][way] for kind in KINDS}
        print(f"{way:<9} {sum(marks):>4}/{len(marks)} = {rate:.3f}  against healed {low:+.3f} .. {high:+.3f}"
              f"  same answer {same[way]}  {kinds}")  # fmt: skip
        report["ways"][way] = {"right": sum(marks), "interval": [low, high], "same": same[way], "kinds": kinds}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
