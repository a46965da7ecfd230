"""Small repositories to learn from, and a renderer of prompts."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from midfill import fim
from tests.tokenizers_made import make

WORDS = ("amount", "balance", "counter", "distance", "element", "fraction", "gravity", "height", "index", "journey")


def python_file(n: int) -> str:
    """Return a file of some functions, unlike the other files."""
    names = [WORDS[(n * 7 + i * 3) % len(WORDS)] for i in range(6)]
    parts = [f'"""Module {n} about {names[0]} and {names[1]}."""\n\nimport math\n']
    for i, name in enumerate(names):
        parts.append(
            f"\n\ndef scale_{name}_{n}({name}, factor={n + i}):\n"
            f"    if factor > {i * n + 2}:\n"
            f"        return math.floor({name} * factor)\n"
            f"    result = {name} + factor * {n}\n"
            f"    return result\n"
        )
    return "".join(parts)


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write ``files`` under ``root``; return ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def repository(root: Path, files: Mapping[str, str]) -> Path:
    """Write ``files`` into a git repository, all tracked; return ``root``."""
    write(root, files)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", str(root), *command], check=True, capture_output=True)
    return root


def project(root: Path, n: int = 16) -> Path:
    """Write a folder of ``n`` Python files; return it."""
    return write(root, {f"package/module_{i}.py": python_file(i) for i in range(n)})


def renderer(name: str = "qwen2.5-coder") -> fim.FimRenderer:
    """Return a renderer with the template of a family and a small tokenizer."""
    tokenizer = make(name)
    return fim.FimRenderer(fim.detect(tokenizer), tokenizer, heal=True)
