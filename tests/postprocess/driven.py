"""A middle as an engine writes it: character by character, until the post-processor ends it. ``‸`` is the cursor."""

from __future__ import annotations

from midfill.postprocess import Place, PostProcessor
from midfill.postprocess.boundary import stop_boundary
from midfill.postprocess.rules import FINISH, LAYOUT, PIPELINE
from midfill.types import Snapshot
from tests.support import at


def snapshot(language: str, buffer: str) -> Snapshot:
    return at(buffer, language=language, path="a")


def shown(language: str, buffer: str, said: str) -> str:
    """Return what is finally shown of a model's text ``said``, after checking the laws that every middle has to
    keep."""
    here = snapshot(language, buffer)
    keeps_the_laws(here, said)
    return heard(here, said)[0]


def heard(here: Snapshot, said: str) -> tuple[str, int]:
    """Return (what is shown, how many characters the engine wrote before it was stopped)."""
    processor = PostProcessor(here)
    for n in range(1, len(said) + 1):
        if processor.ends(said[:n]):
            return processor.shown(said[:n], finished=True), n
    return processor.shown(said, finished=True), len(said)


def keeps_the_laws(here: Snapshot, said: str) -> None:
    """Check the laws: once an end is decided, more text never moves it; a rule changes nothing that it made; no answer
    depends on how far past its end the model went."""
    place, decided = Place.of(here), None
    for n in range(len(said) + 1):
        end = stop_boundary(said[:n], place)
        assert decided is None or end == decided, (said[:n], decided, end)
        decided = end
    middle = said
    for rule in PIPELINE + FINISH + LAYOUT:
        middle = rule(middle, place)
        assert rule(middle, place) == middle, rule.__name__
    text, n = heard(here, said)
    assert n == len(said) or PostProcessor(here).shown(said, finished=True) == text
