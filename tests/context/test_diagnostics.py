"""Complaints of other language servers: which ones matter at a cursor, and how a prompt words them."""

from __future__ import annotations

import pytest

from midfill.context.diagnostics import MAX_SHOWN, Complaint, Diagnostics
from tests.support import at

CODE = "total = order.nett + tax"
BUFFER = f"import shop\n\n\ndef f(order):\n    {CODE}\n    ‸\n"
WRONG = Complaint(4, f"    {CODE}", 'no member "nett"', is_error=True)


def shown(buffer: str, *complaints: Complaint, language: str = "python") -> str:
    subject, snapshot = Diagnostics(), at(buffer, language=language)
    subject.told(snapshot.uri, complaints)
    snippet = subject.snippet(snapshot)
    return snippet.text if snippet is not None else ""


@pytest.mark.parametrize(("buffer", "complaint", "text"), [
    (BUFFER, WRONG, f'{CODE}  # error: no member "nett"'),
    (BUFFER, Complaint(4, f"    {CODE}", "not  used\n here", is_error=False), f"{CODE}  # warning: not used here"),
    ("\n\n\n" + BUFFER, WRONG, f'{CODE}  # error: no member "nett"'),  # it has moved
    # It is being written again.
    (BUFFER.replace(".nett", ".‸").replace("\n    ‸", ""), WRONG, f'{CODE}  # error: no member "nett"'),
    ("\n" * 90 + BUFFER, WRONG, ""),  # far away
    (BUFFER.replace("nett", "net").replace("    ‸", "\n\n\n    ‸"), WRONG, ""),  # mended
    (BUFFER, Complaint(4, f"    {CODE}", "password = 'hT7!kkQ2zz91xLmP'", is_error=True), ""),
])  # fmt: skip
def test_what_holds(buffer: str, complaint: Complaint, text: str) -> None:
    assert shown(buffer, complaint) == text


def test_the_comment_is_of_the_language() -> None:
    assert shown(BUFFER, WRONG, language="typescript") == f'{CODE}  // error: no member "nett"'
    assert shown(BUFFER, WRONG, language="json") == ""


def test_errors_come_first_and_the_nearest_stands_last() -> None:
    lines = [f"x{row} = {row}" for row in range(8)]
    told = [Complaint(row, line, f"m{row}", is_error=row % 2 == 0) for row, line in enumerate(lines)]
    found = shown("\n".join([*lines, "‸"]), *told).split("\n")
    assert [line.rpartition(" ")[2] for line in found] == ["m2", "m4", "m6"]
    assert len(found) == MAX_SHOWN


def test_the_latest_list_replaces_the_one_before() -> None:
    subject, snapshot = Diagnostics(), at(BUFFER)
    subject.told(snapshot.uri, [WRONG])
    subject.told(snapshot.uri, [])
    assert subject.snippet(snapshot) is None
    subject.told(snapshot.uri, [WRONG])
    subject.forget(snapshot.uri)
    assert subject.snippet(snapshot) is None
