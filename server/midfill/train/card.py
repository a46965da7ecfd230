"""The figures and the model card in an adapter's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIGURES = "midfill.json"

_LOADING = """```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base_model = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base_model, "path/to/this/folder")
```"""


def write(folder: Path, name: str, figures: Mapping[str, Any]) -> None:
    """Write the figures as JSON, and as a model card for people."""
    (folder / FIGURES).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    (folder / "README.md").write_text(text(name, figures), encoding="utf-8")


def add_gate(folder: Path, name: str, gate: Mapping[str, Any]) -> None:
    """Add the gate's figures to the others and to the card."""
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    write(folder, name, {**figures, "gate": gate})


def text(name: str, figures: Mapping[str, Any]) -> str:
    """Return the card: Markdown with the front matter that model hubs read."""
    lora, data = figures["settings"]["lora"], figures["data"]
    head = ["---", f"base_model: {figures['base']}", "library_name: peft", "pipeline_tag: text-generation"]
    head += ["tags: [lora, code, fill-in-the-middle, midfill]", "---", ""]
    body = [
        f"# {name}",
        "",
        f"A LoRA adapter of `{figures['base']}` for filling in the middle of code, trained with midfill "
        f"{figures['midfill']}: rank {lora['rank']}, alpha {lora['alpha']:g}, dropout {lora['dropout']:g}, on "
        f"{', '.join(figures['targets'])}.",
        "",
        "midfill serves it as it is: `midfill adapters add FOLDER --name NAME`. With PEFT:",
        "",
        _LOADING.format(base=figures["base"]),
        "",
        "## Data",
        "",
        f"{data['files']:,} files, {data['characters'] / 1e6:.1f} million characters: "
        + ", ".join(f"{language} {n / max(1, data['characters']):.0%}" for language, n in data["languages"].items())
        + f". Held out: {data['n_held_out']:,} of the files.",
        "",
        *_table(("project", "licence, as far as is known"), sorted(data["projects"].items())),
        "",
        "Left out: " + (", ".join(f"{reason} ({n})" for reason, n in data["left_out"].items()) or "nothing") + ".",
        "",
        f"Licence of the base: {figures['base_licence']}. What an adapter may be used for also depends on the licences",
        "of the code it learned from.",
        "",
        "## Training",
        "",
        f"{_begun(figures)}{figures['steps']} steps, {figures['tokens']:,} tokens, {figures['examples']:,} holes, "
        f"{figures['seconds'] / 60:.1f} minutes; learning rate {figures['settings']['rate']:g}, cosine. "
        f"{_learned(figures['settings'])}",
        "",
        "![Loss](loss.svg)",
        "",
        *_gate(figures),
    ]
    return "\n".join([*head, *body]).rstrip() + "\n"


def _begun(figures: Mapping[str, Any]) -> str:
    start, under = figures["settings"].get("start"), figures["settings"].get("on_top_of")
    above = f"It belongs on top of the adapter {under}, which was frozen in the base. " if under else ""
    return above + (f"It went on from the adapter {start}: " if start else "")


def _learned(settings: Mapping[str, Any]) -> str:
    loss = settings.get("loss") or {"prompt": 0.0, "end": 1.0}  # the values of runs before this setting existed
    more = f", and on {loss['prompt']:.0%} of the prompt's tokens" if loss["prompt"] else " only"
    end = f", which weighs {loss['end']:g} times as much" if loss["end"] != 1.0 else ""
    drawn = " Middles with the repository's own names came more often." if settings.get("draw") == "own" else ""
    share = settings.get("start_share", 0.0)
    mixed = f" At the end the weights were averaged with those of the start, which count {share:.0%}." if share else ""
    form = f" The base's weights were in {settings['number_format']}." if settings.get("number_format") else ""
    return f"Loss on the middle and on the token that ends it{end}{more}.{drawn}{mixed}{form}"


def _gate(figures: Mapping[str, Any]) -> list[str]:
    loss = figures["loss"]
    found = ["## Before and after, on the files held out", ""]
    gate = figures.get("gate")
    rows: list[tuple[Any, ...]] = []
    if gate is not None:
        likelihood = [{**one, "name": f"loss, {one['name']}"} for one in gate.get("likelihood", ())]
        rows = [
            (
                one["name"], one["n"], f"{one['before']:.3f}", f"{one['after']:.3f}",
                f"{one['low']:+.3f} to {one['high']:+.3f}",
            )
            for one in (*likelihood, *gate["rows"])
        ]  # fmt: skip
    if not rows and loss["held_out_before"] is not None:
        rows = [("loss", "", loss["held_out_before"], loss["held_out_after"], "")]
    found += _table(("measure", "holes", "before", "after", "95 % interval of the difference"), rows)
    if gate is None:
        return found
    styles = [
        (one["name"], one["style"], *(_share(one, key) for key in ("before", "after", "original")))
        for one in gate.get("style", ())
    ]
    if styles:
        found += ["", "Answers that follow the repository's style (this decides nothing):", ""]
        found += _table(("", "the repository", "before", "after", "its own text there"), styles)
    judged = f" Judged with the base in {gate['dtype']}." if gate.get("dtype") else ""
    return [*found, "", f"Verdict: {gate['verdict']}.{judged}"]


def _share(row: Mapping[str, Any], key: str) -> str:
    return f"{row[key]:.0%} of {row[f'n_{key}']}" if row[key] is not None else "-"


def _table(names: tuple[str, ...], rows: Any) -> list[str]:
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return lines + ["| " + " | ".join(str(value) for value in row) + " |" for row in rows]
