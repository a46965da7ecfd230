"""The workspace of the language server: calls touch only memory, and its thread does the work."""

from __future__ import annotations

import builtins
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from midfill import fim
from midfill.context import keeper
from midfill.context import workspace as module
from midfill.context.choose import Choice
from midfill.context.gather import gather
from midfill.context.keeper import OpenDocument, edit_between
from midfill.context.view import Edit
from midfill.context.workspace import Workspace
from midfill.types import Snapshot, Snippet
from tests.context.made import snapshot_at, write
from tests.tokenizers_made import make

PATIENCE_S = 30.0
CLIENT = "class Client:\n    def send(self, data): ...\n"
USE = "from client import Client\n\n\ndef work(client: Client):\n    client.‸\n"


@pytest.fixture
def project() -> Iterator[Workspace]:
    workspace = Workspace(budget=400)
    yield workspace
    workspace.stop()


def document(root: Path, path: str, text: str) -> OpenDocument:
    file = root / path
    return OpenDocument(file.as_uri(), file, path, "python", text)


def texts(workspace: Workspace, snapshot: Snapshot) -> str:
    assert workspace.prepare(snapshot, PATIENCE_S)
    return "\n".join(snippet.text for snippet in workspace.snippets(snapshot))


def test_files_of_the_folders_are_found(project: Workspace, tmp_path: Path) -> None:
    root = write(tmp_path / "a", {"client.py": CLIENT})
    snapshot = snapshot_at(root, "main.py", USE)
    assert texts(project, snapshot) == ""
    project.set_folders([root])
    assert "client.send(data)" in texts(project, snapshot)
    project.set_folders([])
    assert texts(project, snapshot) == ""


def test_an_open_document_is_what_the_editor_has(project: Workspace, tmp_path: Path) -> None:
    root = write(tmp_path, {"client.py": CLIENT})
    project.set_folders([root])
    snapshot = snapshot_at(root, "main.py", USE)
    project.opened(document(root, "client.py", CLIENT.replace("send", "post")))
    assert "client.post(" in texts(project, snapshot)
    project.changed(document(root, "client.py", CLIENT.replace("send", "put")))
    assert "client.put(" in texts(project, snapshot)
    project.closed((root / "client.py").as_uri())
    assert "client.send(" in texts(project, snapshot)  # what is on disk counts again


def test_what_is_in_no_folder_is_known_while_it_is_open(project: Workspace, tmp_path: Path) -> None:
    snapshot = snapshot_at(tmp_path, "main.py", USE)
    project.opened(OpenDocument("untitled:1", None, "client.py", "python", CLIENT))
    assert "client.send(" in texts(project, snapshot)
    project.closed("untitled:1")
    assert texts(project, snapshot) == ""


@pytest.mark.parametrize(
    ("opened", "asked", "is_shown"),
    [
        ("w/client.py", "w/main.py", True),
        ("other/client.py", "w/main.py", False),  # open from outside of the workspace's folder
        ("w/client.py", "other/main.py", False),
        ("other/client.py", "other/main.py", True),
        ("other/src/client.py", "other/test/main.py", True),  # one project, by its pyproject.toml
        ("other/client.py", "third/main.py", False),
    ],
)
@pytest.mark.parametrize("is_asked_open", [True, False])
def test_documents_of_another_project_stay_out(
    project: Workspace, tmp_path: Path, opened: str, asked: str, is_shown: bool, is_asked_open: bool
) -> None:
    write(tmp_path, {"w/x.py": "", "other/pyproject.toml": "", "third/pyproject.toml": ""})
    project.set_folders([tmp_path / "w"])
    project.opened(document(tmp_path, opened, CLIENT))
    if is_asked_open:
        project.opened(document(tmp_path, asked, USE.replace("‸", "")))
    assert ("client.send(" in texts(project, snapshot_at(tmp_path, asked, USE))) == is_shown


def test_a_folder_that_comes_takes_its_open_documents_in(project: Workspace, tmp_path: Path) -> None:
    write(tmp_path, {"w/x.py": "", "other/x.py": ""})
    project.set_folders([tmp_path / "w"])
    project.opened(document(tmp_path, "other/client.py", CLIENT))
    snapshot = snapshot_at(tmp_path, "w/main.py", USE)
    assert texts(project, snapshot) == ""
    project.set_folders([tmp_path / "w", tmp_path / "other"])
    assert "client.send(" in texts(project, snapshot)
    project.set_folders([tmp_path / "w"])
    assert texts(project, snapshot) == ""


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("gen/client.py", CLIENT),  # ignored by git
        ("secrets/client.py", CLIENT),
        ("venv/client.py", CLIENT),
        ("client.py", CLIENT + "x = '" + "a" * 3000 + "'\n"),  # not written by hand
    ],
)
def test_an_open_document_that_must_not_be_shown(project: Workspace, tmp_path: Path, path: str, text: str) -> None:
    root = write(tmp_path, {".git/HEAD": "", ".gitignore": "gen/\n"})
    project.set_folders([root])
    project.opened(document(root, path, text))
    assert texts(project, snapshot_at(root, "main.py", USE)) == ""


def test_files_that_change_and_go_on_disk(project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, {"client.py": CLIENT})
    project.set_folders([root])
    snapshot = snapshot_at(root, "main.py", USE)
    assert "client.send(" in texts(project, snapshot)
    monkeypatch.setattr(keeper, "RESCAN_S", 0.0)
    write(root, {"client.py": CLIENT.replace("send", "deliver")})
    texts(project, snapshot)
    assert "client.deliver(" in texts(project, snapshot)
    (root / "client.py").unlink()
    texts(project, snapshot)
    assert texts(project, snapshot) == ""


def test_edits_elsewhere_come_in(tmp_path: Path, project: Workspace) -> None:
    """Lines just written in one file are in the snippets of another document."""
    filler = "".join(f"value_{n} = {n}\n" for n in range(40))
    project.opened(document(tmp_path, "b.py", filler))
    assert project.settle(PATIENCE_S)
    project.changed(document(tmp_path, "b.py", filler.replace("value_20 = 20", "total = gross_amount(1)")))
    assert "total = gross_amount(1)" in texts(project, snapshot_at(tmp_path, "main.py", "x = ‸\n"))


@pytest.mark.parametrize(
    "off", [("imports", "names", "similar"), ("imports", "names", "similar", "edits", "open", "siblings")]
)
def test_sources_are_switched_off(tmp_path: Path, off: tuple[str, ...]) -> None:
    workspace = Workspace(disabled_context=off)
    try:
        workspace.set_folders([write(tmp_path, {"client.py": CLIENT})])
        snapshot = snapshot_at(tmp_path, "main.py", USE)
        assert "client.send(" not in texts(workspace, snapshot)
        workspace.disable(())
        assert "client.send(" in texts(workspace, snapshot)
    finally:
        workspace.stop()


def test_a_keystroke_reads_no_disk(project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to the disk raises an error; the workspace's thread is stopped, so only the caller can be caught."""
    root = write(tmp_path, {"client.py": CLIENT})
    project.set_folders([root])
    snapshot = snapshot_at(root, "main.py", USE)
    shown = texts(project, snapshot)
    assert shown
    monkeypatch.setattr(project, "_wake", lambda: None)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the disk")

    with monkeypatch.context() as patch:
        for owner, names in (
            (os, ("open", "scandir", "stat", "lstat", "listdir")),
            (builtins, ("open",)),
            (io, ("open",)),
        ):
            for name in names:
                patch.setattr(owner, name, refuse)
        for n, moved in enumerate(("x", "x = 1\n" * 50, "client.")):
            text = snapshot.text + moved
            later = Snapshot(snapshot.uri, n + 2, "python", text, len(text), path="main.py")
            found = gather([project], later)
            project.changed(document(root, "main.py", text), len(text))
        project.opened(document(root, "other.py", CLIENT))
        project.closed((root / "other.py").as_uri())
    assert [snippet.text for snippet in found] == [shown]


def test_a_choice_is_not_made_again_for_every_key(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "NEWS_S", 1e9)
    snapshot = snapshot_at(tmp_path, "main.py", "a = 1\n" * 20 + "‸")
    assert project.prepare(snapshot, PATIENCE_S)
    asked: list[int] = []
    choose = project._keeper.choose

    def counted(*arguments: Any) -> Choice:
        asked.append(1)
        return choose(*arguments)

    monkeypatch.setattr(project._keeper, "choose", counted)

    def type_on(text: str) -> None:
        nonlocal snapshot
        text = snapshot.text + text
        snapshot = Snapshot(snapshot.uri, 2, "python", text, len(text), path="main.py")
        project.snippets(snapshot)
        assert project.settle(PATIENCE_S)

    for char in "total = sum(values)\nx":
        type_on(char)
    assert asked == []
    type_on(" = client.")  # a member is about to be written
    assert asked == [1]
    type_on("se")
    assert asked == [1]
    type_on("\n" * module.MOVED_LINES)
    assert asked == [1, 1]


def test_typing_through_a_file_keeps_the_head(project: Workspace, tmp_path: Path) -> None:
    """A function is typed line by line: snippets that stay are at the front and keep their order."""
    files = {f"m{n}.py": f"class C{n}:\n    def run_{n}(self, a): ...\n\ndef make_{n}(x): ...\n" for n in range(30)}
    project.budget = 150
    project.set_folders([write(tmp_path, files)])
    text = "".join(f"from m{n} import C{n}, make_{n}\n" for n in range(30)) + "\n\ndef work(x):\n"
    before: tuple[Snippet, ...] = ()
    n_changes = 0
    for n in range(40):
        text += f"    a_{n} = make_{n % 30}(x)\n"
        snapshot = Snapshot((tmp_path / "main.py").as_uri(), n, "python", text, len(text), path="main.py")
        project.snippets(snapshot)
        assert project.settle(PATIENCE_S)
        now = project.snippets(snapshot)
        kept = [one for one in before if one in now]
        assert list(now[: len(kept)]) == kept
        n_changes += now != before
        before = now
    assert before
    assert n_changes <= 12


def test_a_control_token_in_a_file_name_is_text(project: Workspace, tmp_path: Path) -> None:
    root = write(tmp_path, {"<|fim_middle|>.py": CLIENT})
    project.set_folders([root])
    snapshot = snapshot_at(root, "main.py", USE)
    assert "client.send(" in texts(project, snapshot)
    tokenizer = make("qwen2.5-coder")
    prompt = fim.FimRenderer(fim.detect(tokenizer), tokenizer).render(snapshot, gather([project], snapshot))
    assert prompt.n_snippets > 0
    assert prompt.n_control == 6  # repo, two files, prefix, suffix, middle


def test_a_long_document_is_left_alone(project: Workspace, tmp_path: Path) -> None:
    text = "x = 1\n" * (module.MAX_TEXT // 6 + 1)
    project.opened(document(tmp_path, "long.py", text))
    snapshot = Snapshot((tmp_path / "long.py").as_uri(), 1, "python", text, len(text), path="long.py")
    assert project.snippets(snapshot) == ()
    assert project.settle(PATIENCE_S)
    assert not project._keeper.index.files


def test_what_breaks_the_reader_does_not_end_the_thread(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project._keeper, "take", lambda _document: 1 / 0)
    project.opened(document(tmp_path, "a.py", "x"))
    assert project.settle(PATIENCE_S)
    monkeypatch.undo()
    project.opened(document(tmp_path, "client.py", CLIENT))
    assert "client.send(" in texts(project, snapshot_at(tmp_path, "main.py", USE))


def test_random_use_from_two_sides(project: Workspace, tmp_path: Path) -> None:
    """Opening, changing, closing and asking in any order leaves nothing behind but the files of the folder."""
    root = write(tmp_path, {f"m{n}.py": CLIENT.replace("Client", f"Client{n}") for n in range(5)})
    project.set_folders([root])
    rng = random.Random(5)
    for _ in range(300):
        path = f"m{rng.randrange(8)}.py"
        match rng.randrange(4):
            case 0:
                project.opened(document(root, path, CLIENT))
            case 1:
                project.changed(document(root, path, CLIENT + "y = 1\n" * rng.randrange(9)), rng.randrange(len(CLIENT)))
            case 2:
                project.closed((root / path).as_uri())
            case _:
                project.snippets(snapshot_at(root, path, USE))
    for n in range(8):
        project.closed((root / f"m{n}.py").as_uri())
    assert project.settle(PATIENCE_S)
    assert {file.path for file in project._keeper.index.files.values()} == {f"m{n}.py" for n in range(5)}
    assert not project._chosen
    assert not project._texts


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a\nb\nc", "a\nB\nc", (1, 2)),
        ("a\nb\nc", "a\nx\ny\nb\nc", (1, 3)),
        ("a\nb\nc", "a\nc", None),
        ("a", "a", None),
        ("", "a\nb", (0, 2)),
        ("a\na", "a\na\na", (2, 3)),
    ],
)
def test_the_lines_of_an_edit(old: str, new: str, expected: tuple[int, int] | None) -> None:
    assert edit_between("k", old, new) == (Edit("k", *expected) if expected else None)


def test_gather_takes_each_text_once_and_none_of_the_file_itself() -> None:
    class Source:
        budget = 0

        def snippets(self, snapshot: Snapshot) -> list[Snippet]:
            return [Snippet("a.py", "A = 1"), Snippet("b.py", "A = 1"), Snippet("c.py", "x = 2")]

    assert gather([Source(), Source()], Snapshot("", 1, "", "x = 2\n", 0)) == [Snippet("a.py", "A = 1")]


GO = {
    "go.mod": "module example.com/depot\n",
    "store/item.go": "package store\n\ntype Item struct {\n\tSKU string\n}\n",
    "store/free.go": "package store\n\nfunc (i *Item) Free() int { return 0 }\n",
}
GO_USE = 'package main\n\nimport "example.com/depot/store"\n\nfunc run(i *store.Item) {\n\ti.‸\n}\n'


def test_members_that_the_files_declare_are_known(project: Workspace, tmp_path: Path) -> None:
    root = write(tmp_path, GO)
    project.set_folders([root])
    snapshot = snapshot_at(root, "main.go", GO_USE)
    assert project.prepare(snapshot, PATIENCE_S)
    here = project.known(snapshot).here
    assert here is not None
    assert (set(here.names), here.is_complete, here.source) == ({"SKU", "Free"}, True, "index")


def test_members_are_not_complete_where_a_file_of_the_package_was_left_out(project: Workspace, tmp_path: Path) -> None:
    root = write(tmp_path, {**GO, "store/generated.go": "package store\n\nvar x = 1 // " + "x" * 5000 + "\n"})
    project.set_folders([root])
    snapshot = snapshot_at(root, "main.go", GO_USE)
    assert project.prepare(snapshot, PATIENCE_S)
    here = project.known(snapshot).here
    assert here is not None
    assert not here.is_complete


def test_declared_members_can_be_switched_off(tmp_path: Path) -> None:
    root = write(tmp_path, GO)
    workspace = Workspace(disabled_knowledge=["index"])
    try:
        workspace.set_folders([root])
        snapshot = snapshot_at(root, "main.go", GO_USE)
        assert workspace.prepare(snapshot, PATIENCE_S)
        assert workspace.known(snapshot).here is None
    finally:
        workspace.stop()


def test_members_follow_what_is_typed_elsewhere(project: Workspace, tmp_path: Path) -> None:
    root = write(tmp_path, GO)
    project.set_folders([root])
    snapshot = snapshot_at(root, "main.go", GO_USE)
    assert project.prepare(snapshot, PATIENCE_S)
    project.known(snapshot)
    file = root / "store/free.go"
    more = GO["store/free.go"] + "\nfunc (i *Item) Taken() int { return 0 }\n"
    project.changed(OpenDocument(file.as_uri(), file, "store/free.go", "go", more))
    assert project.settle(PATIENCE_S)
    project.known(snapshot)  # asks, and does not wait
    assert project.settle(PATIENCE_S)
    here = project.known(snapshot).here
    assert here is not None
    assert "Taken" in here.names
