"""How likely held-out middles are with each of two adapters: the same middles, the same numbers as in training, honest
intervals."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from midfill import fim
from midfill.engine.local.scoring import Scorer
from midfill.train import middles
from midfill.train.base import Lora, with_lora
from midfill.train.collect import Collection, collect, split
from midfill.train.middles import ALL, END, ONE, Scored, ScoreJob
from midfill.train.steps import losses
from midfill.train.worker import INTERRUPTED
from tests.engine.made import load_tiny, save_tiny
from tests.tokenizers_made import make
from tests.train.made import project

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return collect([project(tmp_path_factory.mktemp("repo"))])


def renderer() -> fim.FimRenderer:
    tokenizer = make("qwen2.5-coder")
    return fim.FimRenderer(fim.detect(tokenizer), tokenizer, heal=True)


def test_every_file_gives_a_middle_before_one_gives_two(collection: Collection) -> None:
    files = collection.files
    found = middles.cut(files, renderer(), n=len(files) + 3)
    counts = [sum(one.file == file.key for one in found) for file in files]
    assert sum(counts) == len(files) + 3
    assert max(counts) - min(counts) <= 2  # a file that gave none in its turn gives one in the next
    assert found == middles.cut(files, renderer(), n=len(files) + 3)
    assert all(len(one.example.ids) <= middles.MAX_TOKENS for one in found)


def test_a_small_repository_gives_what_it_has_without_repeating_itself(collection: Collection) -> None:
    one_file = collection.files[:1]
    found = middles.cut(one_file, renderer(), n=5000)
    assert 10 < len(found) < 5000
    assert len({one.example.ids for one in found}) == len(found)


def test_the_process_that_scores_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """A killed command cannot tell its child; but the child's standard input closes."""
    root = project(tmp_path / "repo")
    job = ScoreJob(
        model=str(save_tiny("qwen2", tmp_path / "model")), device="cpu", dtype="float32", template="auto", order="psm",
        before=(), after=(), roots=(str(root),), held_out=(), n=4000,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-m", "midfill.train.score"], input=json.dumps(dataclasses.asdict(job)) + "\n",
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == INTERRUPTED
    assert '"scored"' not in done.stdout


@pytest.mark.parametrize("kind", ["qwen2", "starcoder2"])
def test_the_engine_scores_as_training_does(kind: str, collection: Collection, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    model = load_tiny(folder, modules=True)
    adapted = with_lora(model, Lora(dropout=0.0), str(folder), 1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    scorer = Scorer(str(folder), device="cpu", dtype="float32", progress=lambda stage, fraction: None)
    adapter = scorer.read("a", [tmp_path / "adapter"])
    subject = fim.FimRenderer(fim.detect(model.tokenizer), model.tokenizer, heal=True)
    examples = [one.example for one in middles.cut(split(collection.files)[1], subject, n=6)]
    trained = list(losses(adapted, examples, CPU))
    for example, expected in zip(examples, trained, strict=True):
        nats = scorer.nats(example.ids, example.n_prompt, adapter)
        assert len(nats) == example.n_labels
        assert sum(nats) / len(nats) == pytest.approx(expected, rel=1e-3)
        bare = scorer.nats(example.ids, example.n_prompt, None)
        assert bare != pytest.approx(nats, rel=1e-2)
        assert scorer.nats(example.ids, example.n_prompt, None) == pytest.approx(bare)


def scored(n_files: int, better: float, *, noise: float = 0.0, end: float = 0.0) -> list[Scored]:
    """Ten middles a file of ten tokens each: ``better`` nats less a token, ``noise`` a file to either side."""
    return [
        Scored(
            f"f{file}", "python", 1 + (at % 2), 10, (10.0, 1.0),
            (10.0 - 10 * better + 10 * noise * (-1) ** file, 1.0 - end),
        )
        for file in range(n_files) for at in range(10)
    ]  # fmt: skip


def test_the_table() -> None:
    rows = {row.name: row for row in middles.table(scored(20, 0.1))}
    assert next(iter(rows)) == ALL
    assert rows[ALL].is_better
    assert rows[ALL].difference == pytest.approx(-1 / 11)
    assert rows[ONE].n == 100
    assert (rows[END].before, rows[END].is_better, rows[END].is_worse) == (1.0, False, False)
    assert "python" not in rows  # the only language


@pytest.mark.parametrize(("better", "noise", "is_better", "is_worse"), [
    (0.1, 0.05, True, False),
    (0.01, 0.3, False, False),
    (-0.1, 0.05, False, True),
])  # fmt: skip
def test_files_that_disagree_widen_the_interval(better: float, noise: float, is_better: bool, is_worse: bool) -> None:
    row = middles.table(scored(20, better, noise=noise))[0]
    assert (row.is_better, row.is_worse) == (is_better, is_worse)
    assert row.low < row.difference < row.high


def test_middles_of_few_files_show_less() -> None:
    few, many = (middles.table(scored(n, 0.0, noise=0.2))[0] for n in (4, 40))
    assert few.detectable > 1.5 * many.detectable
