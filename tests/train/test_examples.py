"""Examples: the server's own prompt, then the middle, then the token that ends it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from midfill import fim
from midfill.train.collect import SourceText, collect
from midfill.train.examples import Batch, Example, Loss, Maker, batch
from midfill.train.spans import WEIGHTS, FileSpans
from midfill.types import MidfillError
from tests.support import at
from tests.tokenizers_made import NAMES, make
from tests.train.made import project, python_file, renderer, write

KEY = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2"


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(collect([project(tmp_path / "p")]).files, renderer())


@pytest.mark.parametrize("name", [name for name in NAMES if fim.detect(make(name)).psm or fim.detect(make(name)).spm])
def test_every_template_ends_a_middle_with_a_control_token(name: str) -> None:
    subject = renderer(name)
    if not subject.template.stops:
        assert subject.end_id is None
        return
    assert subject.end_id in subject.stop_ids
    example = Maker([SourceText("p", "a.py", "python", python_file(1))], subject).of_hole(
        at("def f(a, b):\n    return a ‸ b\n"), "+", (), "line", 400
    )
    assert example is not None
    assert example.ids[-1] == subject.end_id
    assert subject.end_id not in example.ids[example.n_prompt : -1]


def test_a_begun_word_is_learned_from_its_beginning() -> None:
    subject = renderer()
    example = Maker([SourceText("p", "a.py", "python", python_file(1))], subject).of_hole(
        at("total = 1\nprint(tot‸)\n"), "al", (), "mid-word", 400
    )
    assert example is not None
    assert subject.tokenizer.decode(example.ids[example.n_prompt : -1]) == "total"
    assert subject.tokenizer.decode(example.ids[: example.n_prompt]).count("tot") == 1  # the one of the first line


def test_prompt_and_middle_are_the_file(maker: Maker) -> None:
    """With room for all of it, what comes before, the middle and what comes after are the file's text."""
    tokenizer, texts = renderer().tokenizer, {python_file(i) for i in range(16)}
    pre, suf, mid = (tokenizer.id_of((f"<|fim_{name}|>",)) or -1 for name in ("prefix", "suffix", "middle"))
    n_whole = 0
    for i in range(60):
        example = maker.draw(random.Random(i), 6000)
        ids = list(example.ids)
        assert len(ids) <= 6000
        prefix = tokenizer.decode(ids[ids.index(pre) + 1 : ids.index(suf)])
        suffix = tokenizer.decode(ids[ids.index(suf) + 1 : ids.index(mid)])
        middle = tokenizer.decode(ids[example.n_prompt : -1])
        assert middle.strip()
        assert any(prefix + middle + suffix in text for text in texts)
        n_whole += prefix + middle + suffix in texts
    assert n_whole > 5


def test_every_kind_comes_and_fits(maker: Maker) -> None:
    rng = random.Random(3)
    examples = [maker.draw(rng, 300) for _ in range(300)]
    assert {example.kind for example in examples} == set(WEIGHTS)
    assert all(len(example.ids) <= 300 and example.n_labels >= 2 for example in examples)


def test_the_middle_stands_nowhere_in_its_own_prompt_by_way_of_other_files(tmp_path: Path) -> None:
    """The index behind the snippets sees the file with the hole in it."""
    unique = "zebra_quagga_7781"
    files = {f"m{i}.py": python_file(i) + f"\n\ndef {unique}_{i}(x):\n    return m_{i}(x)\n" for i in range(6)}
    maker = Maker(collect([write(tmp_path / "p", files)]).files, renderer())
    tokenizer, n_seen = renderer().tokenizer, 0
    for i in range(200):
        example = maker.draw(random.Random(i), 900)
        middle = tokenizer.decode(example.ids[example.n_prompt : -1])
        if f"def {unique}" in middle:
            n_seen += 1
            assert middle.strip() not in tokenizer.decode(example.ids[: example.n_prompt])
    assert n_seen


def test_a_canary_is_in_no_example(tmp_path: Path) -> None:
    files = {f"m{i}.py": python_file(i) for i in range(12)}
    files["canary.py"] = python_file(20) + f'\ntoken = "{KEY}"\n'
    files[".env"] = f"TOKEN={KEY}\n"
    maker = Maker(collect([write(tmp_path / "p", files)]).files, renderer())
    tokenizer, rng = renderer().tokenizer, random.Random(1)
    for _ in range(1000):
        assert KEY[:12] not in tokenizer.decode(maker.draw(rng, 300).ids)


def test_control_tokens_in_a_file_stay_text(tmp_path: Path) -> None:
    text = python_file(1) + '\nSTOP = "<|fim_middle|><|endoftext|>"\n' * 10
    maker = Maker(collect([write(tmp_path / "p", {"a.py": text, "b.py": python_file(2)})]).files, renderer())
    control = renderer().tokenizer.control_ids
    for i in range(100):
        example = maker.draw(random.Random(i), 400)
        assert sum(token in control for token in example.ids[example.n_prompt :]) == 1


def test_a_batch_is_the_same_each_time(maker: Maker, tmp_path: Path) -> None:
    again = Maker(collect([project(tmp_path / "p")]).files, renderer())
    assert [batch(maker, i, 512) for i in (5, 2)] == [batch(again, i, 512) for i in (5, 2)]
    assert batch(maker, 5, 512) != batch(maker, 6, 512)


def test_how_a_batch_is_put_together() -> None:
    made = Batch.of([Example((1, 2, 3, 4), 2, "line"), Example((5, 6, 7), 1, "line")])
    assert made.ids == (1, 2, 3, 4, 5, 6, 7)
    assert made.positions == (0, 1, 2, 3, 0, 1, 2)
    assert made.predicts == (1, 2, 4, 5)  # 2 says 3, 3 says 4, 5 says 6, 6 says 7
    assert made.labels == (3, 4, 6, 7)


def test_spans_end_where_code_ends() -> None:
    text = python_file(3)
    spans, rng = FileSpans(text, "python", "x"), random.Random(1)
    for kind in WEIGHTS:
        for _ in range(20):
            span = spans.draw(kind, rng)
            assert span is not None, kind
            start, end = span
            assert text[start:end].strip()
            if kind == "before-code":
                assert text[start:end].endswith(("\n", "\n    ", "\n        "))
            elif kind not in ("anywhere", "call-arguments"):
                assert text[end] == "\n"


def test_too_little_code_and_no_template() -> None:
    tiny = [SourceText("p", "a.py", "python", " \n" * 40)]
    with pytest.raises(MidfillError, match="too little code"):
        Maker(tiny, renderer()).draw(random.Random(1), 130)
    with pytest.raises(MidfillError, match="no fill-in-the-middle tokens"):
        Maker(tiny, fim.FimRenderer(fim.PREFIX_ONLY, make("qwen2.5-coder")))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_which_tokens_are_learned_from(share: float, maker: Maker) -> None:
    examples = [maker.draw(random.Random(i), 400) for i in range(8)]
    found = Batch.of(examples, Loss(prompt=share, end=4.0), random.Random(1), maker.control)
    n_middle, n_prompt = sum(example.n_labels for example in examples), sum(example.n_prompt for example in examples)
    n_learned = len(found.labels) - n_middle
    assert n_learned == pytest.approx(share * n_prompt, abs=0.1 * n_prompt)
    assert [found.ids[at + 1] for at in found.predicts] == list(found.labels)
    ends = [weight for weight in found.weights if weight != 1.0]
    assert ends == [4.0] * len(examples)
    of_prompts = {label for label, weight in zip(found.labels, found.weights, strict=True) if weight == 1.0}
    assert not of_prompts & set(maker.control)  # sentinels are given, never said
    firsts = {at for at, position in enumerate(found.positions) if position == 0}
    assert not {at + 1 for at in found.predicts} & firsts  # no example is learned from the one before it


def test_the_same_step_has_the_same_labels(maker: Maker) -> None:
    one, again = (batch(maker, 3, 400, loss=Loss(prompt=0.5)) for _ in range(2))
    assert one == again
    assert one.ids == batch(maker, 3, 400).ids  # what is learned from decides nothing else
