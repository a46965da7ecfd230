"""The texts that the user accepted and kept, as middles of the files that are learned from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from midfill.accepted import AcceptedText
from midfill.train.collect import SourceText
from midfill.train.examples import DrawnPlace

ACCEPTED = "accepted"  # their kind


def accepted_places(
    files: Sequence[SourceText], folders: Mapping[str, Path], texts: Iterable[AcceptedText]
) -> list[DrawnPlace]:
    """Return where ``texts`` stand in ``files``, each place once; those that are gone, or in other files (held out, not
    under ``folders``, left out as they look like a secret), are left out. ``folders``: by project, real paths."""
    numbers = {str(folders[file.project] / file.path): at for at, file in enumerate(files) if file.project in folders}
    found: dict[DrawnPlace, None] = {}
    for one in texts:
        at = numbers.get(one.path)
        start = one.start_in(files[at].text) if at is not None else None
        if at is not None and start is not None:
            found[DrawnPlace(at, ACCEPTED, start, start + len(one.text))] = None
    return list(found)
