"""One adapter or a sum of several, and which one answers in which document."""

from __future__ import annotations

import pytest

from midfill.adapter_names import MAX_PART_CHARS, chosen, names_registered_only, read_part, summands
from midfill.types import MidfillError, Snapshot


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("mine", ("mine",)),
        ("", ("",)),
        ("team+mine", ("team", "mine")),
        ("team + mine+other", ("team", "mine", "other")),
        ("embedded+mine", ("embedded", "mine")),
        ("./c++/a", ("./c++/a",)),
        ("/models/a+b", ("/models/a+b",)),
        ("team + ./c++/a", ("team", "./c++/a")),
        ("team+", ("team+",)),
        ("py@0123456789ab", ("py@0123456789ab",)),
    ],
)
def test_summands(setting: str, parts: tuple[str, ...]) -> None:
    assert summands(setting) == parts


@pytest.mark.parametrize(
    ("setting", "only"),
    [("mine", True), ("team+mine", True), ("team + /x", False), ("../x", False), ("a+..", False), ("", False)],
)
def test_registered_names_only(setting: str, only: bool) -> None:
    assert names_registered_only(setting) is only


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("golang=a", ("go", "a")),
        ("services/**=team+svc", ("services/**", "team+svc")),
        ("services/ = svc", ("services/**", "svc")),
        ("*.test.ts=./b=c", ("*.test.ts", "./b=c")),
        ("c++=a", ("cpp", "a")),
    ],
)
def test_a_part_of_a_workspace(entry: str, read: tuple[str, str]) -> None:
    assert read_part(entry) == read


@pytest.mark.parametrize("entry", ["python", "=mine", "py thon=mine", "python=", "a/*=", f"{'a' * MAX_PART_CHARS}/*=x"])
def test_a_mistake_in_a_part(entry: str) -> None:
    with pytest.raises(MidfillError, match="adapters: ") as caught:
        read_part(entry)
    assert caught.value.remedy == 'write "language=adapter" or "folder/**=adapter"'


@pytest.mark.parametrize(
    ("path", "language", "adapter"),
    [
        ("main.py", "python", "py"),
        ("main.rs", "rust", "default"),
        ("main.go", "go", None),
        ("services/main.go", "go", "svc"),
        ("services/billing/deep/main.py", "python", "billing"),
        ("other/services/main.py", "python", "py"),
        ("services/x_test.py", "python", "tests"),
        ("", "python", "py"),
    ],
)
def test_the_last_glob_then_the_language_then_the_default(path: str, language: str, adapter: str | None) -> None:
    of_part = {
        "services/**": "svc",
        "python": "py",
        "services/billing/**": "billing",
        "go": None,
        "*_test.py": "tests",
    }
    assert chosen("default", of_part, Snapshot("file:///x", 0, language, "", 0, path=path)) == adapter


def test_globs_match_the_path_that_the_editor_has() -> None:
    snapshot = Snapshot("file:///x", 0, "go", "", 0, path="seen-by-the-model.go", name="services/a.go")
    assert chosen(None, {"services/**": "svc"}, snapshot) == "svc"
