"""One meaning a word: a class has a name of its own, and the old names of an idea do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "midfill"
CLASS = re.compile(r"^[ \t]*class (\w+)", re.MULTILINE)
# What was said before, and what is said now.
OLD = {
    "Beginning": "ForcedPrefix",
    "Courtesy": "Throttle",
    "Growing": "InFlight",
    "Judge": "PostProcessor",
    "LEAST": "a name with MIN_",
    "Native": "CompiledKernel",
    "NativeStep": "CompiledStep",
    "Product": "Linear",
    "STEPS": "LEVELS",
    "TURNED": "TRANSPOSED",
    "Wanted": "LogitBias",
    "beginning_of": "forced_prefix",
    "by_hand": "invoked",
    "context_off": "disabled_context",
    "courtesy": "throttle",
    "given_up": "preempted",
    "globs_off": "disabled_files",
    "knowledge_off": "disabled_knowledge",
    "languages_off": "disabled_languages",
    "make_way": "yield_core",
    "polite": "throttled",
    "rules_off": "disabled_rules",
    "scopes_off": "disabled_scopes",
    "trial": "check, guarded, attempt",
    "unit_end": "stop_boundary",
    "wanted_only": "bias_only",
}


def words(source: str) -> Iterator[str]:
    """Every name in ``source``, those behind a dot and of arguments too; not what strings and comments say."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.string


def old_words(source: str) -> set[str]:
    """The old names in ``source``, private ones too."""
    return {word for word in words(source) if word.lstrip("_") in OLD}


def test_a_class_has_a_name_of_its_own() -> None:
    """A private class counts, too: ``_Reader`` beside ``Reader`` would be read as the same thing."""
    places = defaultdict[str, set[str]](set)
    for file in SERVER.rglob("*.py"):
        for name in CLASS.findall(file.read_text(encoding="utf-8")):
            places[name.lstrip("_")].add(str(file.relative_to(SERVER)))
    assert len(places) > 200
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize("folder", ["server", "tests", "scripts"])
def test_old_words_are_not_names(folder: str) -> None:
    found = {
        str(file.relative_to(ROOT)): words
        for file in sorted((ROOT / folder).rglob("*.py"))
        if (words := old_words(file.read_text(encoding="utf-8")))
    }
    assert found == {}, OLD


def test_old_words_are_found_wherever_they_stand() -> None:
    assert old_words("a.given_up = f(wanted_only=1)\nclass Courtesy: ...\n") == {"given_up", "wanted_only", "Courtesy"}
    assert old_words("_STEPS = 1  # given_up\n'polite'") == {"_STEPS"}
