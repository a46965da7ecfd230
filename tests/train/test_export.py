"""A merged adapter gives the same as base and adapter together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from midfill import cli
from midfill.commands import adapters
from tests.engine.made import save_tiny
from tests.engine.test_adapters import save_adapter


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny("qwen2", tmp_path / "tiny-qwen")


def test_merged(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "_check", lambda folder, config: None)
    adapter = tmp_path / "adapter"
    save_adapter(AutoModelForCausalLM.from_pretrained(str(base)), adapter)
    target = tmp_path / "merged"
    assert cli.main(["adapters", "export", str(adapter), str(target), "--merged", f"--model={base}"]) == 0
    ids = torch.tensor([[5, 6, 7, 8]])
    merged = AutoModelForCausalLM.from_pretrained(str(target), dtype=torch.float32)(ids).logits
    plain = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    alone = plain(ids).logits.detach().clone()
    both = PeftModel.from_pretrained(plain, str(adapter))(ids).logits
    assert float((merged - both).norm()) < 0.2 * float((alone - both).norm())  # it is stored in bfloat16
    assert (target / "tokenizer.json").is_file()
    assert not list(tmp_path.glob(".merged"))


def test_as_peft_and_only_once(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter, target = tmp_path / "adapter", tmp_path / "copy"
    save_adapter(AutoModelForCausalLM.from_pretrained(str(base)), adapter)
    assert cli.main(["adapters", "export", str(adapter), str(target)]) == 0
    for file in adapter.iterdir():
        assert (target / file.name).read_bytes() == file.read_bytes()
    assert cli.main(["adapters", "export", str(adapter), str(target)]) == 1
    assert "already exists" in capsys.readouterr().err
