"""A merged adapter gives the same as base and adapter together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

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
    monkeypatch.setattr(adapters, "_check", lambda folders, config: None)
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


def test_a_sum_becomes_one_adapter(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PEFT computes with it what it computes with both merged, though ranks, scales and layers differ."""
    folders, target = [tmp_path / "team", tmp_path / "mine"], tmp_path / "both"
    save_adapter(AutoModelForCausalLM.from_pretrained(str(base)), folders[0], 1)
    other = {"r": 2, "lora_alpha": 6, "target_modules": ["v_proj", "down_proj"]}
    save_adapter(AutoModelForCausalLM.from_pretrained(str(base)), folders[1], 2, **other)
    setting = " + ".join(map(str, folders))
    assert cli.main(["adapters", "export", setting, str(target)]) == 0
    assert "the sum of 2" in capsys.readouterr().out
    ids = torch.tensor([[5, 6, 7, 8]])
    merged: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    for folder in folders:
        merged = PeftModel.from_pretrained(merged, str(folder)).merge_and_unload()
    plain = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    one = PeftModel.from_pretrained(plain, str(target))
    torch.testing.assert_close(one(ids).logits, merged(ids).logits, atol=2e-4, rtol=1e-4)
    assert cli.main(["adapters", "info", str(target), "--no-check"]) == 0
    assert "rank        6" in capsys.readouterr().out


def test_a_sum_over_two_bases_is_refused(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_adapter(AutoModelForCausalLM.from_pretrained(str(base)), tmp_path / "team")
    shutil.copytree(tmp_path / "team", tmp_path / "mine")
    file = tmp_path / "mine" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "google/codegemma-7b"}))
    setting = f"{tmp_path / 'team'} + {tmp_path / 'mine'}"
    assert cli.main(["adapters", "export", setting, str(tmp_path / "both")]) == 1
    assert "mine on google/codegemma-7b" in capsys.readouterr().err
    assert not list(tmp_path.glob("*both"))


def test_as_peft_and_only_once(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter, target = tmp_path / "adapter", tmp_path / "copy"
    save_adapter(AutoModelForCausalLM.from_pretrained(str(base)), adapter)
    assert cli.main(["adapters", "export", str(adapter), str(target)]) == 0
    for file in adapter.iterdir():
        assert (target / file.name).read_bytes() == file.read_bytes()
    assert cli.main(["adapters", "export", str(adapter), str(target)]) == 1
    assert "already exists" in capsys.readouterr().err
