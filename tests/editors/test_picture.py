"""Pictures of screens are right XML with the screen's colours and columns."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.editors.picture import Frame, film, still

SVG = "{http://www.w3.org/2000/svg}"
GREY = "\x1b[38;2;128;128;128m"


def texts(svg: str) -> list[tuple[float, str, str]]:
    """Return (left edge, colour, text) of each text."""
    return [
        (float(t.get("x", "")), t.get("fill", ""), (t.text or "").replace("\u00a0", " "))
        for t in ET.fromstring(svg).iter(SVG + "text")
    ]


def test_one_screen() -> None:
    svg = still(Frame(f"a < b{GREY}  ghost\n~\n~\x1b[0m end", (1, 0)), 20, 3)
    assert texts(svg) == [
        (0, "#e0e2ea", "a < b"),
        (58.8, "#808080", "ghost"),
        (0, "#808080", "~"),
        (0, "#808080", "~"),
        (16.8, "#e0e2ea", "end"),
    ]


def test_a_film_writes_a_line_once() -> None:
    frames = [Frame(f"same\n{n}", (0, 0), 0.5) for n in range(3)]
    svg = film(frames, 20, 2)
    assert [text for _, _, text in texts(svg)] == ["same", "0", "1", "2"]
    assert svg.count("@keyframes") == 3
    assert "1.50s" in svg
