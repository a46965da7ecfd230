"""What context from other files does to cross-file holes: paired, over repositories given as folders.

    python bench/context.py FOLDER... [--holes 40] [--seed 1] [--form int8] [--ways none,all,-similar] [--dry]

A hole goes from a name to the end of its line. The name is one that exactly one other file of the repository defines,
and that this file says nowhere else, except where it imports it. The hole is cut out of the text before anything is
looked up. A way is ``none`` (no context), ``all``, ``-NAME`` (all but one source) or ``+NAME`` (one source alone). An
answer counts where its first line has the name. ``--dry`` asks no model: it tells how often the name stands in the
snippets. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midfill.context.choose import choose
from midfill.context.focus import Focus
from midfill.context.index import WORD, Index, SourceFile
from midfill.context.kinds import KINDS
from midfill.context.outline import source_file
from midfill.context.sources import SOURCES
from midfill.context.view import View
from midfill.context.walk import Folder
from midfill.eval.figures import interval
from midfill.fim import Prompt
from midfill.syntax import languages
from midfill.syntax.parsers import parser_for
from midfill.types import Snapshot, Snippet

MIN_NAME = 4
MIN_BEFORE = 400  # characters before a hole


@dataclass(frozen=True, slots=True)
class Hole:
    """A middle that needs ``name``."""

    repo: str
    file: SourceFile
    start: int
    end: int
    name: str

    @property
    def text(self) -> str:
        """The file without the middle."""
        return self.file.text[: self.start] + self.file.text[self.end :]

    @property
    def middle(self) -> str:
        """What was there."""
        return self.file.text[self.start : self.end]

    def is_met_by(self, answer: str) -> bool:
        """Whether the answer's first line has the name."""
        return self.name in WORD.findall(answer.split("\n", 1)[0])


def read(folder: Path) -> Index:
    """The files of one repository."""
    index, where = Index(), Folder(folder)
    for found in where.walk():
        text = where.read(found) if found is not None else None
        if found is not None and text is not None:
            index.put(source_file(found.key, found.path, languages.indexed(found.path), text, found.stamp))
    return index


def holes(repo: str, index: Index, n: int, seed: int) -> list[Hole]:
    """``n`` holes, no two in the same line, spread over the files and names."""
    rng = random.Random(f"{seed}/{repo}")  # noqa: S311
    files = [file for file in index.files.values() if file.language in KINDS and len(file.text) > 2 * MIN_BEFORE]
    rng.shuffle(files)
    places = {file.key: list(_places(index, file)) for file in files}
    found: list[Hole] = []
    names: dict[str, int] = {}
    for _ in range(8):  # rounds over the files
        for file in files:
            rng.shuffle(places[file.key])
            for at, name in places[file.key]:
                hole = _cut(repo, file, at, name)
                used = any(one.file is file and abs(one.start - at) < 200 for one in found)
                if hole is not None and not used and names.get(name, 0) < 2:
                    found.append(hole)
                    names[name] = names.get(name, 0) + 1
                    break
            if len(found) == n:
                return found
    return found


def _places(index: Index, file: SourceFile) -> Iterator[tuple[int, str]]:
    """Where the file uses a name of another one: offset and name."""
    parser = parser_for(file.language)
    assert parser is not None
    own = {definition.name for definition in file.definitions}
    said: dict[str, list[int]] = {}
    skipped = list(_texts(parser.parse(file.text.encode()).root_node)) if file.text.isascii() else []
    for match in WORD.finditer(file.text) if file.text.isascii() else ():
        inside = next((kind for start, end, kind in skipped if start <= match.start() < end), "")
        if inside != "import":
            said.setdefault(match[0], []).append(-1 if inside else match.start())
    for name, places in said.items():
        if len(places) > 1 or places[0] < 0 or len(name) < MIN_NAME or name in own or name.startswith("__"):
            continue
        definers = {place.file.key for place in index.defining(name) if place.file.family == file.family}
        if len(definers) == 1:
            yield places[0], name


def _texts(node: Any) -> Iterator[tuple[int, int, str]]:
    """Comments, strings and imports: bounds and which."""
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if re.search(r"import|include|package|using|future", at.type):
            yield at.start_byte, at.end_byte, "import"
        elif re.search(r"comment|string", at.type):
            yield at.start_byte, at.end_byte, "text"
        else:
            waiting += at.named_children


def _cut(repo: str, file: SourceFile, at: int, name: str) -> Hole | None:
    text = file.text
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    if at < MIN_BEFORE or end - at > 160:
        return None
    return Hole(repo, file, at, end, name)


def snippets(index: Index, hole: Hole, way: str, budget: int) -> tuple[Snippet, ...]:
    """The context of a hole; the index sees the file without the middle."""
    if way == "none":
        return ()
    chosen = SOURCES
    if way[0] in "-+":
        chosen = {name: source for name, source in SOURCES.items() if (name == way[1:]) == (way[0] == "+")}
    file = hole.file
    index.put(source_file(file.key, file.path, file.language, hole.text))
    focus = Focus(file.key, file.path, file.language, hole.text, hole.start)
    try:
        return choose(View(index), focus, budget, None, chosen).snippets
    finally:
        index.put(file)


class Model:
    """The embedded model, asked in process."""

    def __init__(self, form: str, n_tokens: int, answers: Path | None) -> None:
        from midfill import fim
        from midfill.engine.local.forward.runner import Runner
        from midfill.engine.local.model.load import load
        from midfill.engine.local.sequence.healing import Vocabulary
        from midfill.engine.local.sequence.kv_cache import Slot
        from midfill.engine.local.store import models

        folder = models.prepare(models.resolve("embedded"), lambda stage, fraction: None)
        self.loaded = load(folder, "embedded", device="cpu", dtype=form, progress=lambda *_: None)
        self.runner = Runner(self.loaded.model)
        self.slot, self.n_tokens = Slot(), n_tokens
        self.file = answers
        self.answers: dict[str, str] = {}
        if answers is not None and answers.exists():
            self.answers = json.loads(answers.read_text())
        self.vocabulary = Vocabulary(self.loaded.tokenizer, self.loaded.vocabulary)
        self.renderer = fim.FimRenderer(fim.detect(self.loaded.tokenizer), self.loaded.tokenizer, heal=True)

    def ask(self, snapshot: Snapshot, context: Sequence[Snippet], budget: int) -> tuple[str, int]:
        """The answer's first line, and how many tokens of context were in the prompt."""
        prompt = self.renderer.render(snapshot, context, budget)
        known = " ".join(map(str, (*prompt.ids, prompt.forced_prefix, self.n_tokens)))
        if known not in self.answers:
            self.answers[known] = self._answer(prompt)
            if self.file is not None and len(self.answers) % 5 == 0:
                self.file.write_text(json.dumps(self.answers))
        return self.answers[known], prompt.n_snippets

    def _answer(self, prompt: Prompt) -> str:
        import torch

        from midfill.engine.local.sequence.generation import Generation, Sampling
        from midfill.engine.local.sequence.healing import ForcedPrefix

        self.slot.begin(prompt.ids, None, None)
        forced_prefix = ForcedPrefix(prompt.forced_prefix, self.vocabulary) if prompt.forced_prefix else None
        generation = Generation(self.slot, Sampling(), forced_prefix=forced_prefix)
        control, decode = self.loaded.tokenizer.control_ids, self.loaded.tokenizer.decode
        said: list[int] = []
        with torch.inference_mode():
            while len(said) < self.n_tokens and not (said and said[-1] in control):
                rows = generation.rows()
                (logits,) = self.runner.forward([rows])
                said += [token.id for token in generation.take(rows, logits)]
                if "\n" in decode(said[-1:]).lstrip("\n"):
                    break
        text = decode([token for token in said if token not in control]).removeprefix(prompt.forced_prefix)
        return text.lstrip("\n").split("\n", 1)[0]


def main() -> None:
    """Cut, ask, judge, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--holes", type=int, default=40, help="a repository")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--form", default="int8")
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--share", type=float, default=0.28, help="of the budget for context")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--ways", default="none,all")
    parser.add_argument("--answers", type=Path, help="a file that keeps answers between runs")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    ways = options.ways.split(",")
    model = None if options.dry else Model(options.form, options.tokens, options.answers)
    if model is not None:
        model.renderer.SNIPPET_SHARE = options.share
    met: dict[str, list[int]] = {way: [] for way in ways}
    within: dict[str, list[int]] = {way: [] for way in ways}
    seen: list[int] = []
    by_repo: dict[str, dict[str, list[int]]] = {}
    choosing = 0.0
    indexes = {folder.name: read(folder) for folder in options.folders}
    cut = [holes(name, index, options.holes, options.seed) for name, index in indexes.items()]
    for of_round in itertools.zip_longest(*cut):
        for hole in filter(None, of_round):
            index = indexes[hole.repo]
            of_repo = by_repo.setdefault(hole.repo, {way: [] for way in ways})
            snapshot = Snapshot("", 0, hole.file.language, hole.text, hole.start, path=hole.file.path)
            focus = Focus(hole.file.key, hole.file.path, hole.file.language, hole.text, hole.start)
            seen.append(hole.name in WORD.findall(focus.shown))
            for way in ways:
                began = time.perf_counter()
                context = snippets(index, hole, way, int(options.budget * options.share))
                choosing += time.perf_counter() - began
                within[way].append(any(hole.name in WORD.findall(one.text) for one in context))
                said, n = model.ask(snapshot, context, options.budget) if model is not None else ("", 0)
                ok = hole.is_met_by(said) if model is not None else bool(within[way][-1])
                met[way].append(ok)
                of_repo[way].append(ok)
                if options.show:
                    print(f"--- {way} {hole.repo} {hole.file.path} needs {hole.name}: {'yes' if ok else 'NO'} ({n})")
                    print(f"    wanted {snapshot.line_before!r} | {hole.middle!r}\n    said   {said!r}")
                    if way != "none" and not ok:
                        print("\n".join(f"    > {one.path} [{one.source} {one.score}]\n{one.text}" for one in context))
    report: dict[str, Any] = {
        "bench": "context",
        "holes": len(seen),
        "seed": options.seed,
        "seen": sum(seen),
        "dry": options.dry,
        "budget": options.budget,
        "share": options.share,
        "choose_s": round(choosing / max(1, len(seen) * len(ways)), 4),
        "ways": {},
    }
    for way in ways:
        marks = met[way]
        low, high = (
            round(end, 3) for end in interval([[a - b] for a, b in zip(marks, met[ways[0]], strict=True)], 2000)
        )
        unseen = [mark for mark, was_seen in zip(marks, seen, strict=True) if not was_seen]
        repos = {repo: round(sum(of[way]) / max(1, len(of[way])), 2) for repo, of in by_repo.items()}
        rate, known = sum(marks) / len(marks), sum(within[way]) / len(marks)
        print(f"{way:<10} {sum(marks):>4}/{len(marks)} = {rate:.3f} ({low:+.3f} .. {high:+.3f})  in context {known:.3f}"
              f"  not in the text {sum(unseen)}/{len(unseen)}  {repos}")  # fmt: skip
        report["ways"][way] = {
            "met": sum(marks), "interval": [low, high], "within": sum(within[way]), "unseen": [sum(unseen), len(unseen)]
        }  # fmt: skip
    print(json.dumps(report))
    if model is not None and options.answers is not None:
        options.answers.write_text(json.dumps(model.answers))


if __name__ == "__main__":
    main()
