"""A line that opens something whose content stands below gets its opening only."""

from __future__ import annotations

import pytest

from tests.postprocess.driven import heard, shown, snapshot

CALL = "    result = ‸\n        first,\n        second,\n    )\n"


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("python", CALL, "combine(first, second)\n    return 1\n", "combine("),
        ("python", CALL, "combine(\n        first,\n        second,\n    )\n", "combine("),
        ("python", CALL, "combine(first,\n", "combine("),
        ("python", CALL, "combine(zero, first)\n", "combine("),
        ("python", CALL, "get(first).combine(first, second)\n", "get(first).combine("),
        ("python", CALL, "combine(zero,\n", "combine(zero,"),  # something that does not stand below
        ("python", "    return ‸\n        'first',\n        \"second\",\n    ]\n", '["first", \'second\']\n', "["),
        (
            "python", "def f():\n‸\n        first,\n    )\n    return x\n",
            "    x = g(first)\n    return x\n", "    x = g(",
        ),
        (
            "python", "def f():\n‸\n        first,\n    )\n",
            "    y = 1\n    x = g(first)\n    z", "    y = 1\n    x = g(",
        ),
        ("python", "def f‸\n    a: int,\n    b: int,\n) -> None:\n    pass\n", "oo(a: int, b: int) -> None:\n", "oo("),
        ("python", "    if ‸\n        alpha and\n        beta\n    ):\n        pass\n", "(alpha and beta):\n", "("),
        ("python", "    if ‸\n        alpha and\n        beta\n    ):\n        pass\n", "alpha and beta:\n", "("),
        ("typescript", "const x = ‸\n  a: 1,\n  b: 2,\n};\n", "{ a: 1, b: 2 };\n", "{"),
        ("typescript", "const xs = ‸\n  1,\n  2,\n];\n", "[1, 2];\n", "["),
        ("typescript", "foo(bar, ‸\n  a: 1,\n});\n", "{ a: 1 });\n", "{"),
        (
            "typescript", "function ‸\n  a: string,\n  b: string,\n): void {\n  c();\n}\n",
            "f(a: string, b: string): void {\n", "f(",
        ),
        ("typescript", "  if ‸\n    alpha &&\n    beta\n  ) {\n    c();\n  }\n", "(alpha && beta) {\n", "("),
        (
            "typescriptreact", "  return (\n    ‸\n      onClick={f}\n    />\n  );\n",
            "<Button onClick={f} />\n  );\n", "<Button",
        ),
        ("typescriptreact", "  return (\n    <Button‸\n      onClick={f}\n    />\n  );\n", " onClick={f} />\n", ""),
        ("typescriptreact", "  return (\n    ‸\n      <li>a</li>\n    </ul>\n  );\n", "<ul><li>a</li></ul>\n", "<ul>"),
        (
            "typescriptreact", "    ‸\n      <li>a</li>\n    </ul>\n",
            '<ul className="b">\n      <li>a</li>\n', '<ul className="b">',
        ),
        ("go", "\tx := ‸\n\t\tfirst,\n\t\tsecond,\n\t}\n", "[]T{first, second}\n", "[]T{"),
        ("rust", "    let x = ‸\n        first,\n        second,\n    ];\n", "vec![first, second];\n", "vec!["),
        ("java", "        foo‸\n            first,\n            second\n        );\n", "(first, second);\n", "("),
        ("json", '  "a": ‸\n    "b": 1\n  }\n', '{ "b": 1 }\n', "{"),
        ("javascript", "function f‸\n  return 1;\n}\n", "(a) { return 1; }\n", "(a) {"),
        # the bracket is open already
        ("python", "    x = combine(‸\n        first,\n        second,\n    )\n", "first, second)\n", ""),
        ("python", "    x = combine(‸\n        first,\n        second,\n    )\n", "\n        first,\n", ""),
        ("python", "    x = combine(‸\n        first,\n    )\n", "zero,\n", "zero,"),
    ],
)  # fmt: skip
def test_the_opening_is_enough(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("python", "    result = ‸\n    other(\n        first,\n    )\n", "combine(first)\n", "combine(first)"),
        ("python", "    result = ‸\n", "combine(first, second)\n", "combine(first, second)"),
        ("python", "x = [\n    f(‸\n    g,\n]\n", "a)\n", "a)"),  # what is closed below was opened above
        ("python", "foo(\n    a ‸\n        + second,\n)\n", "* f(second)\n", "* f(second)"),
        (
            "python",
            "def f():\n‸\n    total = sum(\n        a,\n    )\n",
            "    a = list(1)\n    total",
            "    a = list(1)",
        ),
        ("javascript", "function f() {\n  ‸\n    g();\n  }\n}\n", "if (h(1)) {\n    g();\n  }\n", "if (h(1)) {"),
        ("javascript", "function f() {\n  const a = ‸\n  g();\n}\n", "h({ g });\n", "h({ g });"),
        ("markdown", "See ‸\n    indented,\n)\n", "f(indented)\n", "f(indented)"),  # in prose no bracket is missing
    ],
)
def test_where_no_content_stands_below(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("said", "n"),
    [
        ("combine(first, second)\n", len("combine(first,")),
        ("combine(\n        first,\n", len("combine(\n")),
        ("combine(zero, first)\n", len("combine(zero, first)\n")),
    ],
)
def test_the_engine_is_stopped_early(said: str, n: int) -> None:
    assert heard(snapshot("python", CALL), said)[1] == n
