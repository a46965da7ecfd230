"""The files of a workspace that an import refers to."""

from __future__ import annotations

import pytest

from midfill.context.imports import MAX_IMPORTS, imports_of, resolve
from midfill.context.kinds import family
from midfill.syntax import languages
from tests.context.made import index_of


def meant(path: str, text: str, tree: str) -> dict[str, tuple[str, ...]]:
    index = index_of(dict.fromkeys(tree.split(), "") | {path: text})
    found: dict[str, tuple[str, ...]] = {}
    for one in imports_of(text, path, family(languages.indexed(path))):
        for file in resolve(index, one, path):
            found[file.path] = found.get(file.path, ()) + (one.names or (one.alias,))
    return found


@pytest.mark.parametrize(
    ("path", "text", "tree", "expected"),
    [
        ("p/a.py", "from p.b import f, g as h\n", "p/b.py q/b.py", {"p/b.py": ("f", "g")}),
        ("p/a.py", "from .b import (\n  f,  # why\n  g,\n)\n", "p/b.py b.py", {"p/b.py": ("f", "g")}),
        ("p/q/a.py", "from ..b import f\n", "p/b.py p/q/b.py", {"p/b.py": ("f",)}),
        ("p/a.py", "from ...b import f\n", "b.py p/b.py", {}),
        ("p/a.py", "from . import b\n", "p/b.py p/__init__.py", {"p/__init__.py": ("b",), "p/b.py": ("b",)}),
        ("src/p/a.py", "import p.b as c\n", "src/p/b.py", {"src/p/b.py": ("c",)}),
        ("p/a.py", "import json\n", "other/json.py", {}),  # the standard library's, not somebody's
        ("p/a.py", "import json\n", "json.py", {"json.py": ("json",)}),
        ("tests/a.py", "from p.b import f\n", "src/p/b.py", {"src/p/b.py": ("f",)}),
        ("a.ts", "import { f, g as h } from './b';\n", "b.ts c.ts", {"b.ts": ("f", "g")}),
        ("x/a.js", "import d, { f } from '../b.js'\n", "b.js x/b.js", {"b.js": ("f", "d")}),
        ("x/a.js", "import * as all from './c'\n", "x/c/index.js", {"x/c/index.js": ("all",)}),
        ("a.js", "const { f } = require('./b')\n", "b.js", {"b.js": ("f",)}),
        ("a.js", "import { f } from '../../outside'\n", "outside.js", {}),
        ("a.js", "import React from 'react'\n", "react.js", {}),
        ("x/a.tsx", "import type { P } from '@/types/p'\n", "src/types/p.ts", {"src/types/p.ts": ("P",)}),
        ("m/a/A.java", "import m.b.B;\n", "m/b/B.java", {"m/b/B.java": ("B",)}),
        ("m/a/A.java", "import static m.b.B.f;\n", "m/b/B.java", {"m/b/B.java": ("f",)}),
        ("m/a/A.java", "import m.b.B;\n", "m/b/B.kt", {"m/b/B.kt": ("B",)}),
        ("m/a/A.java", "import m.b.*;\n", "m/b/B.java m/b/C.java", {"m/b/B.java": ("",), "m/b/C.java": ("",)}),
        ("cmd/main.go", 'import (\n\t"fmt"\n\tq "x.org/m/pkg/p"\n)\n', "pkg/p/a.go pkg/b.go", {"pkg/p/a.go": ("q",)}),
        ("src/a.rs", "use crate::b::{C, d};\n", "src/b.rs", {"src/b.rs": ("C", "d")}),
        ("src/a.rs", "use crate::b::C;\n", "src/b/mod.rs", {"src/b/mod.rs": ("C",)}),
        ("src/lib.rs", "mod b;\n", "src/b.rs", {"src/b.rs": ("b",)}),
        ("x/a.c", '#include "b.h"\n#include <stdio.h>\n', "x/b.h stdio.h", {"x/b.h": ("",)}),
        ("x/a.cpp", "#include <m/b.hpp>\n", "include/m/b.hpp", {"include/m/b.hpp": ("",)}),
        ("lib/a.rb", "require_relative 'b'\n", "lib/b.rb b.rb", {"lib/b.rb": ("",)}),
        ("lib/a.rb", "require 'm/c'\n", "lib/m/c.rb", {"lib/m/c.rb": ("",)}),
        ("a.php", "<?php\nuse App\\Models\\User;\n", "src/Models/User.php", {"src/Models/User.php": ("User",)}),
        ("a.cs", "using System;\nusing App.Models;\n", "src/Models/User.cs", {"src/Models/User.cs": ("",)}),
    ],
)  # fmt: skip
def test_an_import_means_a_file(path: str, text: str, tree: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert meant(path, text, tree) == expected


@pytest.mark.parametrize(
    "text",
    [
        "import a\n" * 5000,
        "from a import (" + "x, " * 5000,
        "import " + "{" * 9000,
        "import " + " " * 60_000,
        "import a" * 9000,
        "from " + "." * 60_000,
        "const " * 9000,
    ],
)
@pytest.mark.parametrize("name", ["python", "javascript", "rust", "java", "go", "c", "php", "ruby", "csharp"])
def test_endless_imports_end(name: str, text: str) -> None:
    assert len(imports_of(text, "a", name)) <= MAX_IMPORTS
