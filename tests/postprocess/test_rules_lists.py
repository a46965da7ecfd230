"""Lists without an end, commas before closers, other people's names, closers on lines of their own."""

from __future__ import annotations

import pytest

from tests.postprocess.driven import heard, shown, snapshot

DIRS = "\n".join(f".pytest_cache-dir-{n}" for n in range(2, 18))
KEYS = "\n".join(
    f"  invented-{word}: true"
    for word in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"]
)


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("plaintext", ".pytest_cache\n‸\n", DIRS, ".pytest_cache-dir-2\n.pytest_cache-dir-3"),
        ("unheard-of", ".pytest_cache\n‸\n", DIRS, ".pytest_cache-dir-2\n.pytest_cache-dir-3"),
        ("yaml", "on:\n‸\n", KEYS, "  invented-a: true\n  invented-b: true"),
        ("yaml", "on:‸\n", "\n" + KEYS, "\n  invented-a: true\n  invented-b: true"),
        ("yaml", "on:\n‸\n", "  a1: 1\n  a2: 2\n  a3: 3\n  a4: 4", "  a1: 1\n  a2: 2"),
        ("python", "x = [\n‸\n]\n", '    "a-1",\n    "a-2",\n    "a-3",\n', '    "a-1",\n    "a-2",'),
        ("ini", "[a]\n‸\n", "key_1 = x\nkey_2 = x\nkey_3 = x\n", "key_1 = x\nkey_2 = x"),
        # what the middle opened is closed all the same
        (
            "html", "<ul>‸\n",
            "\n  <li>x1</li>\n  <li>x2</li>\n  <li>x3</li>\n</ul>\n<p>", "\n  <li>x1</li>\n  <li>x2</li>\n</ul>",
        ),
        (
            "json", '  "a": [‸\n',
            '\n    "x1",\n    "x2",\n    "x3",\n    "x4"\n  ]\n', '\n    "x1",\n    "x2",\n    "x4"\n  ]',
        ),
        # no runs
        ("python", "class A:\n    ‸\n", "a: int\n    bc: int\n    de: int", "a: int\n    bc: int\n    de: int"),
        ("python", "‸\n", "import os\nimport re\nimport sys", "import os\nimport re\nimport sys"),
        (
            "python", "def f(self):\n    ‸\n",
            "self.a = a\n    self.b = b\n    self.c = c", "self.a = a\n    self.b = b\n    self.c = c",
        ),
        ("c", "enum A {\n  ‸\n};\n", "RED = 1,\n  BLUE = 2,\n  PINK = 3,", "RED = 1,\n  BLUE = 2,\n  PINK = 3,"),
        ("yaml", "‸\n", "name: a\nversion: 1\nlicense: b", "name: a\nversion: 1\nlicense: b"),
        ("markdown", "‸\n", "One line.\nAnother line.\nThe third one.", "One line.\nAnother line.\nThe third one."),
    ],
)  # fmt: skip
def test_a_list_without_an_end(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


def test_a_list_without_an_end_stops_the_engine() -> None:
    assert heard(snapshot("plaintext", "‸\n"), DIRS)[1] < len(DIRS) // 3


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("json", '{\n  "a": 1,\n  ‸\n}\n', '"b": 2,\n}\n', '"b": 2'),
        ("json", '{"a": [‸]}\n', "1, 2,", "1, 2"),
        ("json", "‸\n", '{\n  "a": 1,\n}', '{\n  "a": 1\n}'),
        ("json", '{\n  ‸\n  "b": 2\n}\n', '"a": 1,\n', '"a": 1,'),  # one is due
        ("json", '{\n  "a": "‸"\n}\n', "x,", "x,"),
        ("json", '{\n  "a": "x,\\n‸"\n}\n', ",}", ",}"),
        ("sql", "CREATE TABLE x (\n  id INT,\n  ‸\n);\n", "name TEXT,\n);\n", "name TEXT"),
        ("sql", "INSERT INTO a VALUES (‸);\n", "1, 'b,)',", "1, 'b,)'"),
        ("sql", "CREATE TABLE x (\n  ‸\n  name TEXT\n);\n", "id INT,\n", "id INT,"),
        ("jsonc", '{\n  "a": 1,\n  ‸\n}\n', '"b": 2,\n}\n', '"b": 2'),
        ("jsonc", '{\n  "a": {"c": 1,},\n  ‸\n}\n', '"b": 2,\n}\n', '"b": 2,'),  # this file has them
        ("python", "x = [\n    ‸\n]\n", "1,\n", "1,"),
        ("rust", "let x = A {\n    ‸\n};\n", "b: 1,\n", "b: 1,"),
        ("javascript", "const x = {\n  ‸\n};\n", "b: 1,\n", "b: 1,"),
        ("go", "x := []int{\n\t‸\n}\n", "1,\n", "1,"),
    ],
)
def test_a_comma_before_a_closer(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("python", "‸\n", "# Copyright 2018 Google LLC\n#\n# Licensed", ""),
        ("python", "#!/usr/bin/env python\n‸\n", "# Copyright (c) 2018, The Authors\nimport os", ""),
        ("javascript", "‸\n", "/*\n * Copyright © 2020 Some Body. All rights reserved.\n */", "/*"),
        ("java", "‸\n", "/**\n * @author Some Body\n */", "/**"),
        ("plaintext", "MIT License\n\n‸\n", "Copyright (c) 2016 Some Body\n\nPermission", ""),
        ("python", "‸\n", '__author__ = "Some Body"', ""),
        ("python", "# Copyright 2018 Some Body\n‸\n", "# Copyright 2019 Some Body\n", "# Copyright 2019 Some Body"),
        ("python", "# Copyright ‸\n", "2018 Some Body\n", "2018 Some Body"),  # somebody asked for it
        (
            "plaintext", "‸\n",
            "The above copyright notice shall be included.", "The above copyright notice shall be included.",
        ),
        ("python", "‸\n", "def copyright(year: int) -> str:", "def copyright(year: int) -> str:"),
        ("python", "x = ‸\n", "author.Name", "author.Name"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_the_files(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("javascript", "function f() {‸}\n", "\n  return 1;\n}\n", "\n  return 1;\n"),
        ("javascript", "  if (a) {‸}\n", "\n    b();\n  }\n", "\n    b();\n  "),
        ("python", "    x = f(‸)\n", "\n        a,\n    )\n", "\n        a,\n    "),
        ("css", ".a {‸}\n", "\n  color: red;\n}\n", "\n  color: red;\n"),
        ("typescript", "const a = {‸};\n", " b: 1 };\n", " b: 1"),  # all on one line
        ("clojure", "(defn f [x]‸)\n", "\n  (inc x))\n", "\n  (inc x)"),  # the opener's line goes on
    ],
)
def test_a_closer_keeps_its_line(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text
