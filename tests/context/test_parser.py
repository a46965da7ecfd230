"""A child parses texts within limits: a text that is too much ends the child, never the process that asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from midfill.context import keeper, limits, parser
from midfill.context.child import ChildEndedError
from midfill.context.definition import Definition, from_json, to_json
from midfill.context.kinds import KINDS
from midfill.context.outline import outline
from midfill.context.parser import COMMAND, Parsed, ParseJob, ParseProcess, Parser
from midfill.context.workspace import Workspace
from tests.context import hostile
from tests.context.made import ROWS, snapshot_at, write

PATIENCE_S = 60.0
BOMB = ("A<" * 900 + "\n") * 100  # Java: a gigabyte a second
ENDLESS = ("a<" * 900 + "\n") * 100  # C++
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "RUNTIME"))


@pytest.fixture
def child() -> Iterator[ParseProcess]:
    process = ParseProcess()
    yield process
    process.end()


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_the_child_reads_what_is_read_here(child: ParseProcess) -> None:
    for language, text, _ in ROWS:
        assert child.outline(language, text) == outline(text, language)
    assert child.outline("python", "def f(): '\udc80\ud83d'\n") == outline("def f(): '??'\n", "python")
    assert child.outline("cobol", "x") == ()


@LINUX
@pytest.mark.parametrize(("language", "text"), [("java", BOMB), ("cpp", ENDLESS)])
def test_what_is_too_much_ends_the_child_alone(child: ParseProcess, language: str, text: str) -> None:
    """The test does not look at the time: the child's own limits end it, and its memory never passed them."""
    assert child.outline(language, "") == ()
    with pytest.raises(ChildEndedError) as caught:
        child.outline(language, text)
    assert caught.value.ready
    assert is_gone(child.pid)


@LINUX
def test_limits_are_those_of_the_child(child: ParseProcess) -> None:
    assert child.outline("python", "x = 1\n")
    said = Path(f"/proc/{child.pid}/limits").read_text()
    (data,) = (line.split()[3] for line in said.splitlines() if line.startswith("Max data size"))
    assert int(data) == limits.MAX_MEMORY
    assert os.getpriority(os.PRIO_PROCESS, child.pid) >= min(19, os.getpriority(os.PRIO_PROCESS, 0) + limits.NICE)
    assert 0 < (limits.resident(child.pid) or 0) < limits.MAX_MEMORY


STUCK = "import sys, time; print('{}', flush=True); time.sleep(600)"
GREEDY = (
    "import sys; print('{}', flush=True); sys.stdin.readline(); x = bytearray(600 << 20); "
    "x[::4096] = b'1' * len(x[::4096]); sys.stdin.readline()"
)


@pytest.mark.parametrize(
    ("code", "ready"),
    [
        (STUCK, True),  # the clock, where the system keeps no limit
        ("import time; time.sleep(600)", False),
        pytest.param(GREEDY, True, marks=LINUX),  # the memory, seen from outside
        ("print('{}', flush=True); input(); print('no json')", True),
        ("print('{}', flush=True); input(); print('[1]')", True),
        ("print('{}', flush=True); input(); print('{\"definitions\": [[1]]}')", True),
        ("print('{}', flush=True); input(); print('x' * (9 << 20))", True),
        ("raise SystemExit", False),
    ],
)
def test_a_child_that_does_not_answer(code: str, ready: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midfill.context.child.START_S", 2.0 if "sleep(600)" in code and not ready else 60.0)
    monkeypatch.setattr(parser, "ANSWER_S", 0.3 if code == STUCK else 60.0)
    process = ParseProcess((sys.executable, "-c", code))
    try:
        with pytest.raises(ChildEndedError) as caught:
            process.outline("python", "x = 1\n")
        assert caught.value.ready == ready
    finally:
        process.end()


def settled(until: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not until() and time.monotonic() < deadline:
        time.sleep(0.01)
    return until()


def test_a_parser_goes_on_after_its_child_ended() -> None:
    done: list[Parsed] = []
    subject = Parser(done.append)
    try:
        for key, language, text in (("a", "java", BOMB), ("b", "java", "class A {}"), ("c", "lua", "x = 1")):
            subject.submit(ParseJob(key, language, text))
        assert settled(lambda: len(done) == 3)
    finally:
        subject.stop()
    bomb, fine, without = (parsed.definitions for parsed in done)
    assert bomb is None
    assert fine is not None
    assert [one.name for one in fine] == ["A"]
    assert without == ()
    assert subject._thread is not None
    subject._thread.join(PATIENCE_S)
    assert subject._child is None


def test_pauses_grow_while_children_end_in_a_row() -> None:
    subject = Parser(lambda _parsed: None)
    pauses = []
    for _ in range(12):
        subject._note_end(ChildEndedError("it ended", ready=True))
        pauses.append(round(subject.pause_s, 2))
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] <= parser.FIRST_PAUSE_S
    assert pauses[-1] == parser.LONGEST_PAUSE_S


def test_a_child_that_never_starts_costs_definitions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "FIRST_PAUSE_S", 0.001)
    n_started = 0

    def start() -> ParseProcess:
        nonlocal n_started
        n_started += 1
        return ParseProcess((sys.executable, "-c", "raise SystemExit"))

    done: list[Parsed] = []
    subject = Parser(done.append, start)
    for key in "ab":
        subject.submit(ParseJob(key, "python", "def f(): ...\n"))
    assert settled(lambda: len(done) == 2)
    subject.stop()
    assert [parsed.definitions for parsed in done] == [(), ()]
    assert n_started == parser.MAX_STARTS  # and not again for the second


def test_without_a_folder_for_a_child_it_is_not_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that reads a project would wait for three seconds of pauses."""
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", "/proc/no/such/folder")
    monkeypatch.setattr(parser, "FIRST_PAUSE_S", 2 * PATIENCE_S)
    done: list[Parsed] = []
    subject = Parser(done.append)
    for key in "ab":
        subject.submit(ParseJob(key, "python", "def f(): ...\n"))
    assert settled(lambda: len(done) == 2)
    subject.stop()
    assert [parsed.definitions for parsed in done] == [(), ()]


def test_a_child_without_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "IDLE_S", 0.05)
    done: list[Parsed] = []
    subject = Parser(done.append)
    subject.submit(ParseJob("a", "python", "x = 1\n"))
    assert settled(lambda: bool(done) and subject._child is None)
    subject.submit(ParseJob("a", "python", "x = 1\n"))
    assert settled(lambda: len(done) == 2)
    assert [bool(parsed.definitions) for parsed in done] == [True, True]
    subject.stop()


@LINUX
@pytest.mark.parametrize("text", ["'x'", "('a<' * 900 + chr(10)) * 100"])
def test_the_child_ends_with_its_parent(tmp_path: Path, text: str) -> None:
    """The parent is killed, so it tells the child nothing; one child waits, the other is parsing."""
    code = (
        "import sys, threading; from midfill.context.parser import ParseProcess; child = ParseProcess();"
        "child.outline('python', 'x'); "
        f"threading.Thread(target=child.outline, args=('cpp', {text})).start(); "
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert is_gone(pid)


def test_a_hostile_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "tree_sitter", "midfill", "logging", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    monkeypatch.chdir(tmp_path)
    process = ParseProcess(COMMAND)
    try:
        assert process.outline("python", "x = 1\n")
    finally:
        process.end()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "rows",
    [None, {}, [1], [[]], [["a", "function", "s", 0, 0, 0, "", "", 0]], [["a", "function", "s", -1, 0, -1, "", "", 0]],
     [["a", "function", "s", True, 0, -1, "", "", 0]], [[None] * 9]],
)  # fmt: skip
def test_what_is_no_definition_is_refused(rows: object) -> None:
    with pytest.raises(ValueError, match="definition"):
        from_json(rows)


def test_definitions_go_through_json() -> None:
    known = (
        Definition("A", "class", "class A", 0, 9),
        Definition("f", "function", "def f()", 1, 2, 0, "A", "Does.", 1),
    )
    assert from_json(to_json(known)) == known


# ---- the workspace ---------------------------------------------------------------------------------------------------

GOOD = "class Client:\n    def send(self, data): ...\n"


@pytest.fixture
def project() -> Iterator[Workspace]:
    workspace = Workspace(budget=400)
    yield workspace
    workspace.stop()


def names(workspace: Workspace) -> set[str]:
    return {file.path.rpartition("/")[2] for file in workspace._keeper.index.files.values()}


@LINUX
def test_a_file_that_is_too_much_is_skipped_until_it_changes(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "w", {"A.java": BOMB, "client.py": GOOD})
    asked: list[str] = []
    submit = project._parser.submit

    def noted(job: ParseJob) -> None:
        asked.append(Path(job.key).name)
        submit(job)

    monkeypatch.setattr(project._parser, "submit", noted)
    project.set_folders([root])
    assert project.settle(PATIENCE_S)
    assert names(project) == {"client.py"}
    assert sorted(asked) == ["A.java", "client.py"]
    monkeypatch.setattr(keeper, "RESCAN_S", 0.0)
    snapshot = snapshot_at(root, "main.py", "from client import Client\nclient = Client()\nclient.‸\n")
    assert project.prepare(snapshot, PATIENCE_S)
    assert sorted(asked) == ["A.java", "client.py"]  # not again
    assert "client.send(data)" in "\n".join(snippet.text for snippet in project.snippets(snapshot))
    write(root, {"A.java": "class A { void f() {} }\n"})
    assert project.prepare(snapshot, PATIENCE_S)
    assert names(project) == {"A.java", "client.py"}


def test_a_folder_that_ends_child_after_child_is_left(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MAX_ENDED", 3)
    monkeypatch.setattr(parser, "FIRST_PAUSE_S", 0.001)
    code = "print('{}', flush=True); input()"
    project._parser._start = lambda: ParseProcess((sys.executable, "-c", code))
    root = write(tmp_path / "w", {f"m{n}.py": GOOD for n in range(9)} | {"x.lua": "x = 1\n"})
    project.set_folders([root])
    assert project.settle(PATIENCE_S)
    assert len(project._keeper._skipped) == 3
    project._parser._start = ParseProcess
    other = write(tmp_path / "v", {"client.py": GOOD})
    project.set_folders([root, other])
    assert project.settle(PATIENCE_S)
    assert names(project) == {"client.py"}  # the server and the other folder go on


@LINUX
def test_an_open_document_that_is_too_much_has_its_text_alone(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.cpp"
    document = keeper.OpenDocument(file.as_uri(), file, "a.cpp", "cpp", ENDLESS)
    project.opened(document)
    assert project.settle(PATIENCE_S)
    (known,) = project._keeper.index.files.values()
    assert known.definitions == ()
    asked: list[ParseJob] = []
    monkeypatch.setattr(project._parser, "submit", asked.append)
    project.changed(keeper.OpenDocument(file.as_uri(), file, "a.cpp", "cpp", ENDLESS + "int x;\n"))
    assert project.settle(PATIENCE_S)
    assert asked == []  # for a while
    (known,) = project._keeper.index.files.values()
    assert known.text.endswith("int x;\n")


def test_choices_are_made_while_a_text_is_parsed(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser never answers; snippets are chosen from what is in the index all the same."""
    project.set_folders([write(tmp_path / "w", {"client.py": GOOD})])
    assert project.settle(PATIENCE_S)
    monkeypatch.setattr(project._parser, "submit", lambda _job: None)
    project.opened(keeper.OpenDocument("untitled:1", None, "x.py", "python", "x = 1\n"))
    assert settled(lambda: project._is_parsing)
    snapshot = snapshot_at(tmp_path / "w", "main.py", "from client import Client\nclient = Client()\nclient.‸\n")
    project.snippets(snapshot)
    assert settled(lambda: bool(project.snippets(snapshot)))
    assert "client.send(data)" in "\n".join(snippet.text for snippet in project.snippets(snapshot))


# ---- every grammar ---------------------------------------------------------------------------------------------------


@LINUX
@pytest.mark.parametrize("language", sorted(KINDS))
def test_every_grammar_with_hard_texts(language: str) -> None:
    """A share of them, short and with little time each (all of them: scripts.bench.stall --grammars)."""
    code = (
        "import sys; from midfill.context import limits, parsing; limits.MAX_CPU_S = 0.1; "
        "sys.argv = ['', sys.argv[1]]; parsing.main()"
    )
    process: ParseProcess | None = None
    blamed: list[bool] = []
    texts = list(hostile.every(language, 3000))[::7]
    texts.append(("(", "megabyte", "(" * 1_000_000))
    for unit, shape, text in texts:
        process = process or ParseProcess((sys.executable, "-P", "-c", code))
        try:
            found = process.outline(language, text)
        except ChildEndedError as error:
            blamed.append(error.ready)
            process.end()
            process = None
        else:
            assert isinstance(found, tuple), (unit, shape)
    assert all(blamed)  # no child failed to start
    if process is not None:
        process.end()
