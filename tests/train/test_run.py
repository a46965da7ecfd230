"""Training itself, on tiny models: it learns, continues after it was killed, and writes files that PEFT reads."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from midfill import fim
from midfill.engine.local.lora.adapter import read_adapter
from midfill.engine.local.lora.files import describe
from midfill.engine.local.model.load import LoadedModel
from midfill.remote import published
from midfill.train import card, checkpoint, steps, write
from midfill.train.base import Lora, with_lora
from midfill.train.collect import Collection, collect, split
from midfill.train.dropout import WindowDropout
from midfill.train.examples import Batch, Loss, Maker, held_out
from midfill.train.run import LOOK_SHARE, Hyperparameters, Interrupted, Run, StepReport, Trained
from midfill.train.steps import DivergedError, Stepper, logits_of, loss_of
from midfill.types import MidfillError
from tests.engine.made import load_tiny, save_tiny
from tests.train.made import project

CPU = torch.device("cpu")
WITHOUT_DROPOUT = Lora(dropout=0.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return collect([project(tmp_path_factory.mktemp("repo"))])


def loaded(base: Path) -> LoadedModel:
    return load_tiny(base, modules=True)


def makers(base: Path, collection: Collection) -> tuple[Maker, Maker]:
    tokenizer = loaded(base).tokenizer
    renderer = fim.FimRenderer(fim.detect(tokenizer), tokenizer, heal=True)
    train, unseen = split(collection.files)
    return Maker(train, renderer), Maker(unseen, renderer)


def a_run(
    base: Path, collection: Collection, folder: Path, settings: Hyperparameters, *,
    on_step: Callable[[StepReport], None] = lambda report: None, is_stopped: Callable[[], bool] = lambda: False,
) -> Run:  # fmt: skip
    train, unseen = makers(base, collection)
    model = loaded(base)
    adapted = with_lora(model, settings.lora, str(base), settings.seed)
    examples = list(held_out(unseen, 6, settings.n_tokens))
    return Run(
        model, adapted, train, examples, settings, folder, collection.digest, on_step=on_step, is_stopped=is_stopped
    )


def weights(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def test_it_learns(base: Path, collection: Collection, tmp_path: Path) -> None:
    reports: list[StepReport] = []
    settings = Hyperparameters(Lora(rank=16), n_steps=60, n_tokens=512, rate=2e-2)
    run = a_run(base, collection, tmp_path, settings, on_step=reports.append)
    done = run.run()
    assert [report.step for report in reports] == list(range(1, 61))
    assert sum(r.loss for r in reports[-10:]) < 0.95 * sum(r.loss for r in reports[:10])
    assert sum(done.after) < 0.95 * sum(done.before)
    assert sum(report.held_out is not None for report in reports) == LOOK_SHARE


def test_nothing_but_the_adapter_changes(base: Path, collection: Collection, tmp_path: Path) -> None:
    done = a_run(base, collection, tmp_path, Hyperparameters(n_steps=3)).run()
    fresh = dict(loaded(base).model.named_parameters())
    for name, weight in done.model.base_model.model.named_parameters():
        if "lora_" not in name:
            assert torch.equal(weight, fresh[name.replace(".base_layer", "")]), name


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    base: Path, collection: Collection, tmp_path: Path
) -> None:
    settings = Hyperparameters(n_steps=6, n_tokens=300, accumulate=2)
    whole = a_run(base, collection, tmp_path / "whole", settings).run()
    steps: list[int] = []
    with pytest.raises(Interrupted):
        a_run(
            base, collection, tmp_path / "parts", settings, on_step=lambda done: steps.append(done.step),
            is_stopped=lambda: len(steps) == 3,
        ).run()  # fmt: skip
    assert steps == [1, 2, 3]
    steps = []
    parts = a_run(base, collection, tmp_path / "parts", settings, on_step=lambda done: steps.append(done.step)).run()
    assert steps == [4, 5, 6]
    for name, weight in weights(whole.model).items():
        assert torch.equal(weight, weights(parts.model)[name]), name
    assert parts.progress.n_tokens == whole.progress.n_tokens
    assert [entry.get("loss") for entry in parts.progress.history] == [
        entry.get("loss") for entry in whole.progress.history
    ]


def test_a_run_that_was_stopped_in_a_step_goes_on_as_if_it_had_not_been(
    base: Path, collection: Collection, tmp_path: Path
) -> None:
    """On a CPU a step takes many seconds: what it has computed so far is dropped."""
    settings = Hyperparameters(n_steps=4, n_tokens=300)
    whole = a_run(base, collection, tmp_path / "whole", settings).run()
    n_asked, steps = 0, list[int]()

    def is_stopped() -> bool:
        nonlocal n_asked
        n_asked += len(steps) == 2
        return n_asked > 4  # before the step, and before its layers: this is on the way back

    folder = tmp_path / "parts"
    with pytest.raises(Interrupted):
        a_run(base, collection, folder, settings, on_step=lambda r: steps.append(r.step), is_stopped=is_stopped).run()
    assert steps == [1, 2]
    assert [saved.name for saved in checkpoint.checkpoints(folder)] == ["checkpoint-000002"]
    parts = a_run(base, collection, folder, settings).run()
    for name, weight in weights(whole.model).items():
        assert torch.equal(weight, weights(parts.model)[name]), name
    assert parts.before == whole.before


def test_the_weights_at_the_end_are_averaged_with_the_start(base: Path, collection: Collection, tmp_path: Path) -> None:
    """Also if the run was stopped on the way; its checkpoints hold what was trained."""
    begun = weights(with_lora(loaded(base), Lora(), str(base), 1))
    plain = a_run(base, collection, tmp_path / "plain", Hyperparameters(n_steps=4)).run()
    settings = Hyperparameters(n_steps=4, start_share=0.25)
    averaged = a_run(base, collection, tmp_path / "whole", settings).run()
    steps: list[int] = []
    with pytest.raises(Interrupted):
        a_run(
            base, collection, tmp_path / "parts", settings, on_step=lambda done: steps.append(done.step),
            is_stopped=lambda: len(steps) == 2,
        ).run()  # fmt: skip
    resumed = a_run(base, collection, tmp_path / "parts", settings).run()
    again = a_run(base, collection, tmp_path / "parts", settings).run()  # its last checkpoint is the end
    for name, weight in weights(plain.model).items():
        expected = 0.25 * begun[name] + 0.75 * weight
        assert not torch.equal(weight, begun[name]), name
        torch.testing.assert_close(weights(averaged.model)[name], expected, msg=name)
        assert torch.equal(weights(resumed.model)[name], weights(averaged.model)[name]), name
        assert torch.equal(weights(again.model)[name], weights(averaged.model)[name]), name
    assert averaged.after != plain.after  # measured on what is written
    assert averaged.before == plain.before


def test_what_another_run_left_does_not_push_a_checkpoint_out(tmp_path: Path) -> None:
    """A run that begins has lower numbers than the one before it."""
    tensors = {"a": torch.zeros(1)}
    for identity, step in (("old", 180), ("old", 200), ("new", 10), ("new", 20), ("new", 30)):
        checkpoint.save(tmp_path, checkpoint.Progress(identity, step, 200), tensors)
        found = checkpoint.latest(tmp_path, identity)
        assert found is not None
        assert found[0].step == step
    assert len(checkpoint.checkpoints(tmp_path)) == checkpoint.KEPT


def test_it_stops_while_it_measures(base: Path, collection: Collection, tmp_path: Path) -> None:
    n_asked = 0

    def at_once() -> bool:
        nonlocal n_asked
        n_asked += 1
        return True

    with pytest.raises(Interrupted):
        a_run(base, collection, tmp_path, Hyperparameters(n_steps=2), is_stopped=at_once).run()
    assert n_asked == 1  # and not after all that is held out


def test_other_settings_or_data_begin_anew(base: Path, collection: Collection, tmp_path: Path) -> None:
    a_run(base, collection, tmp_path, Hyperparameters(n_steps=2)).run()
    steps: list[int] = []
    a_run(
        base, collection, tmp_path, Hyperparameters(n_steps=2, rate=1e-3), on_step=lambda r: steps.append(r.step)
    ).run()
    assert steps == [1, 2]


@pytest.mark.parametrize("kind", ["qwen2", "gemma", "starcoder2"])
def test_packed_examples_do_not_see_each_other(kind: str, collection: Collection, tmp_path: Path) -> None:
    model = load_tiny(save_tiny(kind, tmp_path / kind), modules=True)
    adapted = with_lora(model, WITHOUT_DROPOUT, "x", 1)
    renderer = fim.FimRenderer(fim.detect(model.tokenizer), model.tokenizer, heal=True)
    maker = Maker(split(collection.files)[0], renderer)
    examples = [maker.draw(random.Random(i), 260) for i in range(3)]
    together = logits_of(adapted, Batch.of(examples), CPU)
    alone = torch.cat([logits_of(adapted, Batch.of([example]), CPU) for example in examples])
    assert torch.allclose(together, alone, atol=2e-4)


def test_the_loss_is_that_of_the_whole_sequence_behind_the_prompt(base: Path, collection: Collection) -> None:
    model = loaded(base)
    adapted = with_lora(model, WITHOUT_DROPOUT, "x", 1)
    example = next(held_out(makers(base, collection)[0], 1, 300))
    logits = model.model(torch.tensor([example.ids])).logits[0]
    expected = cross_entropy(logits[example.n_prompt - 1 : -1], torch.tensor(example.ids[example.n_prompt :]))
    assert loss_of(adapted, Batch.of([example]), CPU).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("kind", "targets"), [("qwen2", ()), ("gemma", ()), ("qwen2", ("v_proj", "lm_head"))])
def test_the_head_in_pieces_gives_the_same_gradients(
    kind: str, targets: tuple[str, ...], collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with an adapter on the head."""
    model = load_tiny(save_tiny(kind, tmp_path / kind), modules=True)
    adapted = with_lora(model, Lora(dropout=0.0, targets=targets), "x", 1)
    renderer = fim.FimRenderer(fim.detect(model.tokenizer), model.tokenizer, heal=True)
    examples = [Maker(split(collection.files)[0], renderer).draw(random.Random(i), 260) for i in range(2)]
    one = Batch.of(examples, Loss(prompt=1.0, end=3.0), random.Random(1), renderer.tokenizer.control_ids)
    found = []
    for piece in (len(one.labels), 7):
        monkeypatch.setattr(steps, "PIECE", piece)
        loss = loss_of(adapted, one, CPU)
        adapted.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        found.append((loss.item(), [w.grad.clone() for w in adapted.parameters() if w.requires_grad]))
    (whole, gradients), (pieces, others) = found
    assert pieces == pytest.approx(whole, rel=1e-5)
    assert any(float(gradient.norm()) > 0 for gradient in gradients)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(gradients, others, strict=True))
    rows = logits_of(adapted, one, CPU).log_softmax(-1)
    nats = -rows.gather(1, torch.tensor(one.labels)[:, None])[:, 0]
    weights = torch.tensor(one.weights)
    assert whole == pytest.approx(float((nats * weights).sum() / weights.sum()), rel=1e-5)


def test_a_loss_that_is_no_number_changes_nothing(base: Path, collection: Collection) -> None:
    model = loaded(base)
    adapted = with_lora(model, WITHOUT_DROPOUT, "x", 1)
    stepper = Stepper(adapted, CPU, rate=1e-3, n_steps=4)
    before = weights(adapted)
    example = next(held_out(makers(base, collection)[0], 1, 300))
    with torch.no_grad():
        model.model.get_input_embeddings().weight[example.ids[0]] = math.nan
    with pytest.raises(DivergedError, match="smaller --rate"):
        stepper.step([Batch.of([example])])
    assert all(torch.equal(weight, before[name]) for name, weight in weights(adapted).items())


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, checkpoint.Progress("me", step, 9), {"a": torch.full((4,), float(step))})
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["checkpoint-000003", "checkpoint-000002"]
    file = tmp_path / "checkpoint-000003" / checkpoint.TENSORS
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    found = checkpoint.latest(tmp_path, "me")
    assert found is not None
    assert found[0].step == 2
    assert torch.equal(found[1]["a"], torch.full((4,), 2.0))
    assert checkpoint.latest(tmp_path, "somebody else") is None


def test_a_pair_of_two_checkpoints_is_none(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, checkpoint.Progress("me", step, 9), {"a": torch.full((4,), float(step))})
    shutil.copy(
        tmp_path / "checkpoint-000001" / checkpoint.TENSORS, tmp_path / "checkpoint-000002" / checkpoint.TENSORS
    )
    found = checkpoint.latest(tmp_path, "me")
    assert found is not None
    assert found[0].step == 1


def test_a_full_disk_does_not_end_a_run(
    base: Path, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    monkeypatch.setattr("midfill.train.run.SAVE_EVERY_S", 0.0)
    done = a_run(base, collection, tmp_path, Hyperparameters(n_steps=3)).run()
    assert done.progress.step == 3
    assert list(tmp_path.iterdir()) == []


def written(base: Path, collection: Collection, tmp_path: Path) -> tuple[Path, Trained]:
    settings = Hyperparameters(n_steps=12, rate=1e-2)
    done = a_run(base, collection, tmp_path / "run", settings).run()
    folder = tmp_path / "adapter"
    upon = write.Base(base, str(base), "Apache-2.0", "starcoder2")
    write.write(folder, done, settings, upon, collection, ["p/a.py"], "mine")
    return folder, done


def test_what_is_written_and_that_the_reference_snippet_runs(
    base: Path, collection: Collection, tmp_path: Path
) -> None:
    folder, done = written(base, collection, tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "trainer_state.json", "training_args.bin",
        "training_args.json", "README.md", "loss.svg", "midfill.json",
    }  # fmt: skip
    assert not list(tmp_path.glob(".adapter"))
    facts = describe(folder)
    assert (facts.rank, facts.alpha, facts.base) == (4, 16, str(base))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["lora_dropout"] == 0.1
    # As on the reference model's card.
    base_model = AutoModelForCausalLM.from_pretrained(str(base))
    model = PeftModel.from_pretrained(base_model, str(folder))
    ids = torch.tensor([[5, 6, 7, 8]])
    assert model.generate(ids, max_new_tokens=4, do_sample=False).shape[1] > 4
    done.model.eval()
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, done.model(ids).logits, atol=1e-5)


def test_no_hub_is_asked(
    base: Path, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    asked: list[str] = []
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda name, _: asked.append(name))
    done = a_run(base, collection, tmp_path / "run", Hyperparameters(n_steps=1)).run()
    done.model.peft_config["default"].base_model_name_or_path = "owner/name"
    upon = write.Base(base, "owner/name", "Apache-2.0", "starcoder2")
    write.write(tmp_path / "adapter", done, Hyperparameters(n_steps=1), upon, collection, ["p/a.py"], "mine")
    assert asked == []
    done.model.save_pretrained(str(tmp_path / "as peft does"))
    assert asked == ["owner/name"]


def test_the_card_says_in_which_format_it_was_judged(base: Path, collection: Collection, tmp_path: Path) -> None:
    """A base trained on in four bits, or in floats, may be served in another format."""
    folder, _ = written(base, collection, tmp_path)
    judged = {"promoted": True, "verdict": "promoted: better", "rows": []}
    for more, said in (({"dtype": "int8"}, "better. Judged with the base in int8.\n"), ({}, "better.\n")):
        card.add_gate(folder, "mine", judged | more)
        assert (folder / "README.md").read_text().endswith(said)


def test_what_it_was_trained_for_is_published_with_it(base: Path, collection: Collection, tmp_path: Path) -> None:
    folder, _ = written(base, collection, tmp_path)
    pointer = published.publish("mine", folder, tmp_path / "shared")
    assert (pointer.base, pointer.template, pointer.revision) == (str(base), "starcoder2", "")
    commit = "0123456789" * 4
    assert write.Base(Path("/hub/snapshots") / commit, "some/model").revision == commit


def test_the_files_of_the_trainer_say_what_happened(base: Path, collection: Collection, tmp_path: Path) -> None:
    folder, _ = written(base, collection, tmp_path)
    state = json.loads((folder / "trainer_state.json").read_text())
    assert (state["global_step"], state["max_steps"]) == (12, 12)
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert len(losses) == 12
    assert any("eval_loss" in entry for entry in state["log_history"])
    arguments = json.loads((folder / "training_args.json").read_text())
    assert (arguments["max_steps"], arguments["learning_rate"]) == (12, 0.01)
    card = (folder / "README.md").read_text()
    for said in (f"base_model: {base}", "library_name: peft", "12 steps", "none found", "held out", "Apache-2.0"):
        assert said in card
    assert "<svg" in (folder / "loss.svg").read_text()


def test_an_adapter_that_cannot_be_written_leaves_nothing(
    base: Path, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(MidfillError, match="No space left"):
        written(base, collection, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_no_room_on_the_disk_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(MidfillError, match="1 MB are free"):
        write.need_space(tmp_path, 2_000_000, 2)


def test_targets(base: Path) -> None:
    adapted = with_lora(loaded(base), Lora(targets=("q_proj", "v_proj")), "x", 1)
    assert {name.split(".lora")[0].rpartition(".")[2] for name in weights(adapted)} == {"q_proj", "v_proj"}
    with pytest.raises(MidfillError, match="no linear layers nothing_proj"):
        with_lora(loaded(base), Lora(targets=("nothing_proj",)), "x", 1)


def test_it_goes_on_from_an_adapter(base: Path, collection: Collection, tmp_path: Path) -> None:
    """The loss begins where that adapter's ended, and a fresh one's where the base's is."""
    folder, first = written(base, collection, tmp_path)
    model = loaded(base)
    start = read_adapter("first", folder, model.model, model.base_names)
    settings = Hyperparameters(WITHOUT_DROPOUT, n_steps=3, start="first (1234)")
    adapted = with_lora(model, settings.lora, str(base), 2, start=start)
    for name, weight in weights(first.model).items():
        assert torch.equal(weights(adapted)[name], weight), name
    train, unseen = makers(base, collection)
    examples = list(held_out(unseen, 6, settings.n_tokens))
    run = Run(model, adapted, train, examples, settings, tmp_path / "second", "data", on_step=lambda report: None)
    second = run.run()
    assert second.before == pytest.approx(first.after, rel=1e-5)
    assert second.before != pytest.approx(first.before, rel=1e-5)
    resumed = Run(model, adapted, train, examples, settings, tmp_path / "second", "data", on_step=lambda report: None)
    assert resumed.run().progress.step == 3


@pytest.mark.parametrize("lora", [Lora(rank=8), Lora(alpha=32), Lora(targets=("q_proj",))])
def test_an_adapter_of_another_shape_cannot_be_gone_on_from(
    lora: Lora, base: Path, collection: Collection, tmp_path: Path
) -> None:
    folder, _ = written(base, collection, tmp_path)
    model = loaded(base)
    start = read_adapter("first", folder, model.model, model.base_names)
    with pytest.raises(MidfillError, match="cannot continue from the adapter first"):
        with_lora(model, lora, str(base), 1, start=start)


def test_window_dropout() -> None:
    torch.manual_seed(1)
    dropout = WindowDropout(0.25)
    x = torch.ones(200, 300)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    for dropped in (first, second):
        assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
        assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
        assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(dropout.eval()(x), x)
