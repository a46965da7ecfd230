"""A dismissed suggestion stays away from its place until its line changes otherwise. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.completer import Completer
from midfill.dismissals import MAX_DOCUMENTS, MAX_PLACES, Dismissals
from midfill.types import Snapshot, Trigger
from tests.dictated import Request, begun, dictated, scripted, until
from tests.support import at

HERE = "a\nx = ‸\nb\n"
BLOCK = ("if a:", "    b", "c")  # lines


async def asked(subject: Completer, snapshot: Snapshot, trigger: Trigger = "automatic") -> tuple[str, str]:
    """Return the shown text, and the name of the refusal."""
    completion = await subject.last(snapshot, trigger=trigger)
    return completion.text, completion.facts.refusal.name if completion.facts.refusal is not None else ""


def edit(subject: Completer, buffer: str) -> Snapshot:
    """The document becomes ``buffer``, as the language server tells the completer."""
    snapshot = at(buffer)
    subject.edited(snapshot.uri, lambda: snapshot.text)
    return snapshot


def go(subject: Completer, step: str) -> Snapshot:
    """``step``: a buffer that was typed, or with "move " before it one in which only the cursor moved."""
    return at(step.removeprefix("move ")) if step.startswith("move ") else edit(subject, step)


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        (["a\nx = a‸\nb\n"], ""),  # a matching key
        (["a\nx = ad‸\nb\n", "a\nx = add(1‸\nb\n"], ""),
        (["a\nx = a‸\nb\n", "a\nx = ‸\nb\n"], ""),  # and back
        (["a\nx = b‸\nb\n"], "add(1)"),  # another key
        (["a\nx = b‸\nb\n", "a\nx = ‸\nb\n"], "add(1)"),  # the line was changed otherwise
        (["a\nx =‸\nb\n", "a\nx = ‸\nb\n"], "add(1)"),
        (["a\nx = a‸\nb\n", "a\nx = ab‸\nb\n", "a\nx = a‸\nb\n"], "dd(1)"),
        (["move a‸\nx = \nb\n", f"move {HERE}"], ""),  # the cursor away and back
        (["ac‸\nx = \nb\n", "ac\nx = ‸\nb\n"], ""),  # an edit in another line
        (["a\n‸\nx = \nb\n", "move a\n\nx = ‸\nb\n"], ""),  # a line more above
        (["a\nx = \n‸\nb\n", "move a\nx = ‸\n\nb\n"], ""),  # and below
        (["‸x = \nb\n", "move x = ‸\nb\n"], ""),  # one less
        (["move a\nx = \nb‸\n"], "add(1)"),  # elsewhere it may be shown
        (["a\nx = \nx = ‸\nb\n"], "add(1)"),
        (["a\nx = y‸\nb\n", "a\ny = ‸\nb\n"], "add(1)"),
    ],
)
async def test_escape_lasts(steps: list[str], shown: str) -> None:
    subject, _ = scripted("add(1)", max_debounce_s=0.0)
    assert await asked(subject, at(HERE)) == ("add(1)", "")
    subject.dismiss(at(HERE), "add(1)")
    assert await asked(subject, at(HERE)) == ("", "dismissed")
    for step in steps:
        found = await asked(subject, go(subject, step))
    assert found == (shown, "" if shown else "dismissed")


async def test_by_hand_shows_it_again_and_it_stays() -> None:
    subject, _ = scripted("add(1)", max_debounce_s=0.0)
    subject.dismiss(at(HERE), "add(1)")
    assert await asked(subject, at(HERE), "invoked") == ("add(1)", "")
    assert await asked(subject, at(HERE)) == ("add(1)", "")
    assert (await asked(subject, edit(subject, "a\nx = ad‸\nb\n")))[0] == "d(1)"


async def test_by_hand_elsewhere_changes_nothing() -> None:
    subject, _ = scripted("add(1)", max_debounce_s=0.0)
    subject.dismiss(at(HERE), "add(1)")
    await asked(subject, at("a\nx = \nb‸\n"), "invoked")
    assert await asked(subject, at(HERE)) == ("", "dismissed")


@pytest.mark.parametrize(
    ("dismissed", "said", "shown"),
    [
        ("add(1)", "add(1)", ""),
        ("add(1)", "add(1) + 2", ""),  # the same and more
        ("add(1)", "add", ""),  # its beginning
        ("add(1)\n    more", "add(1)", ""),
        ("add(1)", "add(2)", "add(2)"),  # another one
        ("add(1)", "sub(1)", "sub(1)"),
    ],
)
async def test_only_what_was_dismissed(dismissed: str, said: str, shown: str) -> None:
    subject, _ = scripted(said, max_debounce_s=0.0)
    subject.dismiss(at(HERE), dismissed)
    assert (await asked(subject, at(HERE)))[0] == shown


async def test_no_candidate_of_it_comes_back() -> None:
    subject, _ = scripted("add(1)", others=[["sub(1)"]], max_debounce_s=0.0)
    await subject.last(at(HERE), n=2)
    subject.dismiss(at(HERE), "sub(1)")
    for buffer in (HERE, "a\nx = a‸\nb\n", "a\nx = s‸\nb\n"):
        assert (await asked(subject, edit(subject, buffer)))[0] == ""


async def test_what_still_grows_does_not_bring_it_back() -> None:
    subject, engine = dictated(max_debounce_s=0.0)
    first = await begun(subject, engine, "add(", buffer=HERE)
    subject.dismiss(at(HERE), "add(")
    second = Request(subject, edit(subject, "a\nx = a‸\nb\n"))
    await until(lambda: second.values)
    first.drop()
    engine.say("1)")
    engine.say(None)
    assert (await second.end()).text == ""
    assert second.texts == [""] * len(second.texts)
    assert (second.trace.refused, len(engine.requests)) == ("dismissed", 1)


async def test_a_new_one_shows_once_it_is_another() -> None:
    subject, engine = dictated(max_debounce_s=0.0)
    subject.dismiss(at(HERE), "add(1)")
    request = await begun(subject, engine, "add(", "2)", buffer=HERE)
    engine.say(None)
    assert (await request.end()).text == "add(2)"
    assert next(text for text in request.texts if text) == "add(2)"


async def test_nothing_is_done_ahead_of_what_was_dismissed() -> None:
    subject, engine = scripted("add(1)", max_debounce_s=0.0, resident=True)
    await asked(subject, at(HERE))
    assert subject._idle is not None
    subject.dismiss(at(HERE), "add(1)")
    assert subject._idle is None
    await asked(subject, at(HERE))
    assert (subject._idle, engine.n_background) == (None, 0)
    await subject.aclose()


# ---- places ----------------------------------------------------------------------------------------------------------


def dismissed(buffer: str, *texts: str) -> Dismissals:
    found = Dismissals()
    found.add(at(buffer), texts)
    return found


@pytest.mark.parametrize(
    ("buffer", "text", "hidden"),
    [
        ("‸\n", "if a:\n    b", True),
        ("if a:\n    ‸\n", "b\nc", True),  # typed along into the next line
        ("if a:\n  ‸\n", "b", False),
        ("if a:\n    b\nc‸\n", "(1)", False),  # all of it was typed
        ("‸\n", "  ", False),
    ],
)
def test_several_lines(buffer: str, text: str, hidden: bool) -> None:
    found = dismissed("‸\n", "if a:\n    b\nc")
    found.edited(at(buffer).uri, lambda: at(buffer).text)
    assert found.hides(at(buffer), text) is hidden


@pytest.mark.parametrize(
    ("edits", "rest", "hidden"),
    [
        (["x = add()‸\n", "x = add(‸)\n"], "1)", True),  # the editor closed it by itself
        (["x = add(‸\n"], "1)", True),  # the server leaves such a closer out
        (["x = add(1)‸\n", "x = add(‸\n"], "1)", True),  # all of it was typed, and some taken back
        (["x = a‸\n", "\nx = a‸\n", "\nx = ad‸\n"], "d(1)", True),  # lines came above in between
        (["x = a‸\n", "x = a‸\n\n", "x = ad‸\n\n"], "d(1)", True),  # and below
        (["x = a‸\n", "\nx = a‸\n", "\nx = aq‸\n", "\nx = a‸\n"], "dd(1)", False),
        (["x = add[‸]\n"], "1)", False),
        (["‸\n"], "add(1)", False),
    ],
)
def test_what_editors_do_besides(edits: list[str], rest: str, hidden: bool) -> None:
    found = dismissed("x = ‸\n", "add(1)")
    for buffer in edits:
        found.edited(at(buffer).uri, lambda: at(buffer).text)  # noqa: B023 - asked at once
    assert found.hides(at(edits[-1]), rest) is hidden


def test_each_document_has_its_own() -> None:
    found = dismissed("‸\n", "abc")
    assert not found.hides(at("‸\n", path="other.py"), "abc")
    found.edited(at("q‸\n", path="other.py").uri, lambda: "q\n")
    assert found.hides(at("‸\n"), "abc")
    found.edited(at("‸").uri, lambda: None)  # the text is not known (a notebook, a huge file): it holds
    assert found.hides(at("‸\n"), "abc")


def test_they_are_bounded() -> None:
    found = Dismissals()
    for n in range(MAX_DOCUMENTS + 5):
        found.add(at("‸", path=f"{n}.py"), ["abc"])
    for n in range(MAX_PLACES + 5):
        found.add(at("\n" * n + "‸"), ["abc"])
    assert len(found._by_uri) == MAX_DOCUMENTS
    assert max(map(len, found._by_uri.values())) == MAX_PLACES
    found.add(at("‸"), [" ", ""])  # nothing to see is nothing to dismiss
    assert not Dismissals().hides(at("‸"), "")
