"""The text of the embedded adapter: the list is sound, code is chosen, licences are checked. No network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripts.embedded_adapter import fetch, indexes, licences, report, wanted
from scripts.embedded_adapter.archives import ArchiveError
from scripts.embedded_adapter.indexes import Cache, DownloadError
from scripts.embedded_adapter.sources import Source, find_faults, read_sources

from tests.train.archives_made import a_zip

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this software"
GPL = "This program is under the GNU General Public License, version 3"
APACHE = "Apache License\n   Version 2.0, January 2004"
CODE = "def area(width, height):\n    return width * height\n" * 8
SOURCE = Source("pypi", "shapes", "1.0", "0" * 64, "python", "MIT", "train", "shapes")


def test_the_list_is_sound() -> None:
    sources = read_sources()  # raises where it is not
    assert {source.language for source in sources} == set(wanted.SUFFIXES)
    for use, n_least in (("train", 30), ("held-out", 15)):
        assert len({source.project for source in sources if source.use == use}) >= n_least


def test_the_readme_lists_what_the_list_lists() -> None:
    text = report.README.read_text(encoding="utf-8")
    assert text.partition(report.MARK)[2].strip() == report.sources_table(read_sources()).strip(), (
        "run python -m scripts.embedded_adapter.report"
    )


@pytest.mark.parametrize(("changes", "fault"), [
    ({}, ""),
    ({"index": "somewhere"}, "no such index"),
    ({"name": "-e/../shapes"}, "not a package's name"),
    ({"name": "shapes==1"}, "not a package's name"),
    ({"version": ">=1"}, "not an exact version"),
    ({"version": "--option"}, "not an exact version"),
    ({"sha256": "0" * 63}, "not a SHA-256"),
    ({"language": "cobol"}, "no such language"),
    ({"licence": "GPL-3.0"}, "licence not allowed"),
    ({"use": "test"}, "use is train or held-out"),
    ({"limit_kb": 5000}, "limit_kb out of range"),
    ({"folders": ("../other",)}, "a path leads outside"),
    ({"without": ("/etc",)}, "a path leads outside"),
])  # fmt: skip
def test_faults(changes: dict[str, Any], fault: str) -> None:
    source = replace(SOURCE, **changes)
    assert find_faults([source]) == ([f"{source.name}: {fault}"] if fault else [])


@pytest.mark.parametrize(("other", "fault"), [
    (replace(SOURCE, name="lines", project="lines", use="held-out"), ""),
    (replace(SOURCE, name="shapes-extra", use="held-out"), "shapes is in both halves"),
    (replace(SOURCE, name="Shapes", project="Shapes", use="held-out"), "shapes is in both halves"),
    (SOURCE, "train/python/shapes is listed twice"),
])  # fmt: skip
def test_halves(other: Source, fault: str) -> None:
    assert find_faults([SOURCE, other]) == ([fault] if fault else [])


@pytest.mark.parametrize(("path", "language", "is_wanted"), [
    ("shapes/area.py", "python", True),
    ("shapes/area.pyi", "python", False),
    ("shapes/_vendor/area.py", "python", False),
    ("shapes/area_pb2.py", "python", False),
    (".ci/area.py", "python", False),
    ("src/area.ts", "typescript", True),
    ("src/area.d.ts", "typescript", False),
    ("dist/area.js", "javascript", False),
    ("lib/area.js", "javascript", True),
    ("lib/area.min.js", "javascript", False),
    ("lib/area.ts", "javascript", False),
    ("node_modules/x/lib/area.js", "javascript", False),
    ("area.pb.go", "go", False),
    ("testdata/area.go", "go", False),
    ("examples/shootout-mandelbrot.rs", "rust", False),
    ("benches/area.rs", "rust", False),
    ("include/area.h", "c", True),
    ("include/area.h", "cpp", True),
    ("src/area.css", "css", True),
    ("src/area.css", "scss", False),
    ("dist/area.css", "css", False),
    ("shapes/templates/area.html", "html", True),
    ("shapes/templates/area.py", "python", False),
    ("sub/Makefile", "makefile", True),
    ("sub/Makefile.in", "makefile", False),
    ("CMakeLists.txt", "cmake", True),
    ("notes.txt", "cmake", False),
    ("docker/Dockerfile", "dockerfile", True),
    ("deploy/area.yml", "yaml", True),
    (".github/workflows/test.yml", "yaml", False),
    (".circleci/config.yml", "yaml", False),
])  # fmt: skip
def test_wanted_paths(path: str, language: str, is_wanted: bool) -> None:
    assert wanted.is_wanted_path(path, language) is is_wanted


@pytest.mark.parametrize(("path", "language", "first_line", "is_wanted"), [
    ("bin/draw", "shellscript", "#!/bin/sh", True),
    ("bin/draw", "shellscript", "#!/usr/bin/env bash", True),
    ("bin/draw", "shellscript", "#!/usr/bin/python3", False),
    ("bin/draw", "shellscript", "", False),
    ("bin/draw", "python", "#!/usr/bin/python3", False),
    ("bin/draw.txt", "shellscript", "#!/bin/sh", False),
    ("bin/draw.sh", "shellscript", "", True),
])  # fmt: skip
def test_scripts_are_known_by_their_first_line(path: str, language: str, first_line: str, is_wanted: bool) -> None:
    assert wanted.is_wanted_path(path, language, first_line) is is_wanted


@pytest.mark.parametrize(("text", "is_wanted"), [
    (CODE, True),
    ("", False),
    ("x = 1\n", False),
    ("# Code generated by shapes. DO NOT EDIT.\n" + CODE, False),
    ("/* This file was generated from area.y */\n" + CODE, False),
    (CODE * 20 + "# says what was generated by whom\n", True),
    (CODE + "x = '" + "a" * 500 + "'\n", False),
    ("TABLE = [\n" + "    0x00, 0x01, 0x02, 0x03,\n" * 40 + "]\n", False),
    (CODE + "\0", False),
    (CODE * 2000, False),
])  # fmt: skip
def test_wanted_texts(text: str, is_wanted: bool) -> None:
    assert wanted.is_wanted_text(text) is is_wanted


def test_choice_is_bounded_and_repeatable() -> None:
    texts = {f"shapes/{n}.py": "x" * 100 for n in range(50)} | {f"tests/test_{n}.py": "x" * 100 for n in range(50)}
    chosen = wanted.choose(texts, 2000, lambda text: False)
    assert len(chosen) == 20
    assert sum(map(wanted.is_test, chosen)) == 5
    assert chosen == wanted.choose(dict(reversed(texts.items())), 2000, lambda text: False)
    assert wanted.choose(texts, 2000, lambda text: True) == []


@pytest.mark.parametrize(("declared", "metadata", "files", "n_faults"), [
    ("MIT", "MIT", {"LICENSE": MIT}, 0),
    ("MIT", "Expat", {"LICENSE": "/*\n * " + MIT.replace("\n", "\n * ")}, 0),
    ("MIT OR Apache-2.0", "MIT or Apache-2.0", {"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE}, 0),
    ("MIT", "", {"LICENSE": MIT}, 1),
    ("MIT", "MIT", {}, 1),
    ("MIT", "MIT", {"LICENSE": GPL}, 1),
    ("MIT", "GPL-3.0", {"COPYING": GPL}, 2),
    ("BSD-3-Clause", "Apache-2.0", {"LICENSE": APACHE}, 2),
    ("Apache-2.0", "Apache-2.0", {"LICENSE": APACHE}, 0),
])  # fmt: skip
def test_licences(declared: str, metadata: str, files: dict[str, str], n_faults: int) -> None:
    assert len(licences.check(declared, metadata, files)) == n_faults


DEBIAN = """Format: a

Files: *
License: Expat

Files: src/list.c
 src/old/*
License: GPL-2+

Files: src/both.c
License: GPL-2+ or BSD-3-clause
"""


@pytest.mark.parametrize(("path", "is_permissive"), [
    ("src/area.c", True), ("src/list.c", False), ("src/old/area.c", False), ("usr/share/src/list.c", False),
    ("src/both.c", True),
])  # fmt: skip
def test_debian_says_it_of_each_file(path: str, is_permissive: bool) -> None:
    assert licences.DebianCopyright(DEBIAN).is_permissive(path) is is_permissive


def wheel(path: Path, **files: str) -> Path:
    everything = {"shapes-1.0.dist-info/METADATA": "Name: shapes\nLicense-Expression: MIT\n\nMIT",
                  "shapes-1.0.dist-info/licenses/LICENSE": MIT, **files}  # fmt: skip
    return a_zip(path, {name: text.encode() for name, text in everything.items()})


def test_a_package_is_read(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "shapes", **{
        "shapes/area.py": CODE.replace("\n", "\r\n"),
        "shapes/gpl.py": f"# {GPL}\n" + CODE,
        "shapes/old/LICENSE": GPL,
        "shapes/old/area.py": "# old\n" + CODE,
        "shapes/copied.py": "# copied\n" + CODE,
        "shapes/latin.py": "# caf\udce9\n".encode("utf-8", "surrogateescape").decode("latin-1") + CODE,
        "other/area.py": "# other\n" + CODE,
    })  # fmt: skip
    source = replace(SOURCE, folders=("shapes",), without=("shapes/copied.py", "shapes/latin.py"))
    package = fetch.read_package(source, [archive])
    assert package.texts == {"shapes/area.py": CODE}
    with pytest.raises(ArchiveError, match="metadata"):
        fetch.read_package(replace(SOURCE, licence="ISC"), [archive])
    with pytest.raises(ArchiveError, match="wanted"):
        fetch.read_package(replace(SOURCE, folders=("nothing",)), [archive])


def test_both_halves_are_written(tmp_path: Path) -> None:
    def package(use: str, **texts: str) -> fetch.Package:
        return fetch.Package(replace(SOURCE, name=f"shapes-{use}", use=use), texts, {"LICENSE": MIT})

    key = CODE + 'password = "' + "hunter2hunter2" + '"\n'
    (tmp_path / "train").mkdir()
    (tmp_path / "train/stale.py").touch()
    fetch.write(
        tmp_path, [package("held-out", a=CODE), package("train", b=CODE.replace("\n", " \n"), c="#" + CODE, d=key)]
    )
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "SOURCES.md",
        "held-out/python/shapes-held-out/a", "held-out/python/shapes-held-out/LICENSE",
        "train/python/shapes-train/c", "train/python/shapes-train/LICENSE",
    }  # fmt: skip
    assert "| python | shapes-train | 1.0 | pypi | MIT | 1 |" in (tmp_path / "SOURCES.md").read_text()


@pytest.mark.parametrize(("index", "allow_newer", "is_taken"), [
    ("pypi", False, False), ("pypi", True, False), ("npm", True, False), ("debian", False, False),
    ("debian", True, True), ("debian-source", True, True),
])  # fmt: skip
def test_another_hash(tmp_path: Path, index: str, allow_newer: bool, is_taken: bool) -> None:
    place = tmp_path / index / "shapes-1.0"
    place.mkdir(parents=True)
    (place / "shapes.any").write_bytes(b"what the index has now")
    cache = Cache(tmp_path, allow_newer=allow_newer)
    source = replace(SOURCE, index=index)
    if is_taken:
        assert cache.archives(source) == [place / "shapes.any"]
        return
    with pytest.raises(DownloadError, match="SHA-256"):
        cache.archives(source)
    assert not place.exists()  # or the next run would meet it again


@pytest.mark.parametrize(("text", "lines"), [
    ("Types: deb\nURIs: http://mirror/debian\nSuites: stable stable-updates\nComponents: main\nSigned-By: /k.gpg\n",
     ["[signed-by=/k.gpg] http://mirror/debian stable main",
      "[signed-by=/k.gpg] http://mirror/debian stable-updates main"]),
    ("Types: deb\nURIs: http://elsewhere/tools\nSuites: any\nComponents: main\n", []),
    ("deb [signed-by=/k.gpg] http://mirror/debian/ stable main contrib\n"
     "deb http://elsewhere/tools any main\n# deb x/debian y\n",
     ["[signed-by=/k.gpg] http://mirror/debian/ stable main contrib"]),
])  # fmt: skip
def test_only_debians_own_mirrors(tmp_path: Path, text: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("a.sources" if text.startswith("Types") else "a.list")
    path.write_text(text)
    monkeypatch.setattr(indexes, "APT_LISTS", (tmp_path / "none", tmp_path))
    assert indexes._suites() == lines
