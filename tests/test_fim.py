"""Prompts of every template, as text; budgets; what must never reach a prompt. ``‸`` is the cursor."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midfill import fim
from midfill.client.rendering import window_of
from midfill.fim import FimRenderer
from midfill.syntax import languages
from midfill.types import MidfillError, Snapshot, Snippet
from tests.support import at
from tests.tokenizers_made import NAMES, make

BUFFER = at("def f(a):\n    return ‸\n\nf(1)\n", path="src/m.py")
OTHERS = (Snippet("a.py", "A = 1"), Snippet("b.py", "B = 2"))


def renderer(name: str, order: str = "psm") -> FimRenderer:
    return FimRenderer(fim.detect(make(name)), make(name), order)


@pytest.mark.parametrize("name", NAMES)
def test_the_template_is_found_from_the_tokenizer(name: str) -> None:
    family = name.split(",")[0]
    model = "JetBrains/Mellum-4b-base" if family == "mellum" else "somebody/model"
    assert fim.find("auto", make(name), model).name == family


@pytest.mark.parametrize(
    ("tokenizer", "model", "template"),
    [
        ("mellum", "JetBrains/Mellum-4b-sft-python", "mellum"),
        ("granite", "ibm-granite/granite-3b-code-base", "granite"),  # the same control tokens
        ("qwen2.5-coder", "Qwen/Qwen2.5-Coder-7B", "qwen2.5-coder"),
        ("qwen2.5-coder", "infly/OpenCoder-8B-Base", "prefix"),  # the tokens, and no training on them
        ("qwen2.5-coder", "/models/sweep-next-edit-1.5B.gguf", "prefix"),
        ("qwen2.5-coder", "zed-industries/zeta", "prefix"),
        ("seed-coder", "zed-industries/zeta-2", "prefix"),
        ("seed-coder", "ByteDance-Seed/Seed-Coder-8B-Base", "seed-coder"),
    ],
)
def test_a_model_s_name_decides_where_its_tokens_do_not(tokenizer: str, model: str, template: str) -> None:
    assert fim.detect(make(tokenizer), model).name == template
    assert bool(fim.why_not_filling(model)) == (template == "prefix")
    assert fim.find("auto", make(tokenizer), model).name == template
    assert fim.find("qwen2.5-coder", make("qwen2.5-coder"), model).name == "qwen2.5-coder"  # a setting is obeyed


# Control tokens by their names, text as it is; P and S are the text around the cursor.
STAR_HOLE = ("<fim_prefix>", "P", "<fim_suffix>", "S", "<fim_middle>")
PIPE_HOLE = ("<|fim_prefix|>", "P", "<|fim_suffix|>", "S", "<|fim_middle|>")
COMMENT = "# src/m.py\n"
GOLDEN: list[tuple[str, str, tuple[Snippet, ...], tuple[str, ...]]] = [
    ("codegemma", "psm", (), ("<bos>", "<|fim_prefix|>", COMMENT, "P", "<|fim_suffix|>", "S", "<|fim_middle|>")),
    ("codegemma", "spm", (), ("<bos>", "<|fim_prefix|>", "<|fim_suffix|>", "S", "<|fim_middle|>", COMMENT, "P")),
    (
        "codegemma", "psm", OTHERS,
        ("<bos>", "A = 1", "<|file_separator|>", "B = 2", "<|file_separator|>",
         "<|fim_prefix|>", COMMENT, "P", "<|fim_suffix|>", "S", "<|fim_middle|>"),
    ),
    ("qwen2.5-coder", "psm", (), ("<|file_sep|>", "src/m.py", "\n", *PIPE_HOLE)),
    (
        "qwen2.5-coder", "spm", (),
        ("<|file_sep|>", "src/m.py", "\n", "<|fim_prefix|>", "<|fim_suffix|>", "S", "<|fim_middle|>", "P"),
    ),
    (
        "qwen2.5-coder", "psm", OTHERS,
        ("<|repo_name|>", "project", "\n", "<|file_sep|>", "a.py", "\n", "A = 1", "\n",
         "<|file_sep|>", "b.py", "\n", "B = 2", "\n", "<|file_sep|>", "src/m.py", "\n", *PIPE_HOLE),
    ),
    (
        "starcoder2", "psm", (),
        ("<repo_name>", "project", "<file_sep>", "<fim_prefix>", "src/m.py", "\n", "P",
         "<fim_suffix>", "S", "<fim_middle>"),
    ),
    (
        "starcoder2", "spm", (),
        ("<repo_name>", "project", "<file_sep>", "<fim_prefix>", "<fim_suffix>", "S", "<fim_middle>",
         "src/m.py", "\n", "P"),
    ),
    (
        "starcoder2", "psm", OTHERS,
        ("<repo_name>", "project", "<file_sep>", "a.py", "\n", "A = 1", "<file_sep>", "b.py", "\n", "B = 2",
         "<file_sep>", "<fim_prefix>", "src/m.py", "\n", "P", "<fim_suffix>", "S", "<fim_middle>"),
    ),
    ("granite", "psm", (), ("<filename>", "src/m.py", "\n", *STAR_HOLE)),
    (
        "granite", "psm", OTHERS[:1],
        ("<reponame>", "project", "<filename>", "a.py", "\n", "A = 1", "<filename>", "src/m.py", "\n", *STAR_HOLE),
    ),
    ("mellum", "psm", (), ("<filename>", "src/m.py", "\n", "<fim_suffix>", "S", "<fim_prefix>", "P", "<fim_middle>")),
    (
        "mellum", "spm", OTHERS[:1],
        ("<filename>", "a.py", "\n", "A = 1", "<filename>", "src/m.py", "\n",
         "<fim_suffix>", "S", "<fim_prefix>", "P", "<fim_middle>"),
    ),
    ("codeqwen1.5", "spm", (), ("<file_sep>", "src/m.py", "\n", *STAR_HOLE)),  # it has no SPM
    (
        "codeqwen1.5", "psm", OTHERS[:1],
        ("<reponame>", "project", "\n", "<file_sep>", "a.py", "\n", "A = 1", "\n", "<file_sep>", "src/m.py", "\n",
         *STAR_HOLE),
    ),
    ("santacoder", "psm", OTHERS, ("<fim-prefix>", COMMENT, "P", "<fim-suffix>", "S", "<fim-middle>")),
    (
        "seed-coder", "psm", (),
        ("<[begin▁of▁sentence]>", "<[fim-suffix]>", "S", "<[fim-prefix]>", "<filename>", "src/m.py", "\n", "P",
         "<[fim-middle]>"),
    ),
    (
        "codegeex4", "psm", OTHERS,
        ("[gMASK]", "<sop>", "<|user|>", "\n###PATH:", "src/m.py", "\n###LANGUAGE:", "Python", "\n###MODE:BLOCK\n",
         "<|code_suffix|>", "S", "<|code_prefix|>", "P", "<|code_middle|>", "<|assistant|>", "\n"),
    ),
    ("granite4", "psm", OTHERS, ("<|fim_prefix|>", COMMENT, "P", "<|fim_suffix|>", "S", "<|fim_middle|>")),
    ("granite4", "spm", (), ("<|fim_prefix|>", "<|fim_suffix|>", "S", "<|fim_middle|>", COMMENT, "P")),
    ("codellama", "psm", OTHERS, ("<s>", "▁<PRE>", " ", COMMENT, "P", "▁<SUF>", "S", "▁<MID>")),
    ("codellama", "spm", (), ("<s>", "▁<PRE>", "▁<SUF>", "S", "▁<MID>", " ", COMMENT, "P")),
    ("codellama, metaspace", "psm", (), ("<s>", "▁<PRE>", " ", COMMENT, "P", "▁<SUF>", "S", "▁<MID>")),
    (
        "deepseek-coder", "psm", (),
        ("<｜begin▁of▁sentence｜>", "<｜fim▁begin｜>", "#", "src/m.py", "\n", "P",
         "<｜fim▁hole｜>", "S", "<｜fim▁end｜>"),
    ),
    (
        "deepseek-coder", "spm", OTHERS[:1],  # it has no SPM
        ("<｜begin▁of▁sentence｜>", "<｜fim▁begin｜>", "#", "a.py", "\n", "A = 1", "\n", "#", "src/m.py", "\n", "P",
         "<｜fim▁hole｜>", "S", "<｜fim▁end｜>"),
    ),
    ("codestral", "psm", (), ("<s>", "[SUFFIX]", "S", "[PREFIX]", "+++++ ", "src/m.py", "\n", "P")),  # it has no PSM
    (
        "codestral", "spm", OTHERS,
        ("<s>", "[SUFFIX]", "S", "[PREFIX]", "+++++ ", "a.py", "\n", "A = 1", "\n", "+++++ ", "b.py", "\n", "B = 2",
         "\n", "+++++ ", "src/m.py", "\n", "P"),
    ),
    ("prefix", "psm", OTHERS, (COMMENT, "P")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "order", "others", "golden"), GOLDEN)
def test_prompt(name: str, order: str, others: tuple[Snippet, ...], golden: tuple[str, ...]) -> None:
    model = name if name == "mellum" else ""
    tokenizer = make(name)
    prompt = FimRenderer(fim.detect(tokenizer, model), tokenizer, order).render(BUFFER, others, 1024)
    wanted: list[int] = []
    for piece in golden:
        control = tokenizer._ids.get(piece)
        text = {"P": BUFFER.prefix, "S": BUFFER.suffix}.get(piece, piece)
        wanted += tokenizer.encode(text) if control is None else [control]
    assert list(prompt.ids) == wanted
    assert prompt.n_control == sum(piece in tokenizer._ids for piece in golden)
    is_first = "S" in golden and golden.index("P") < golden.index("S")
    assert (prompt.prefix_end > 0) is (prompt.suffix is not None) is is_first
    if is_first:
        prefix = prompt.ids[prompt.prefix_end - prompt.n_prefix : prompt.prefix_end]
        assert prefix[-len(tokenizer.encode(BUFFER.prefix)) :] == tuple(tokenizer.encode(BUFFER.prefix))


def test_every_family_has_a_golden_prompt() -> None:
    assert {name for name, *_ in GOLDEN if "," not in name} == {*fim.TEMPLATES, "prefix"}


@pytest.mark.parametrize(
    ("language", "path", "comment"),
    [
        ("python", "src/m.py", "# src/m.py\n"),
        ("rust", "src/lib.rs", "// src/lib.rs\n"),
        ("html", "a.html", "<!-- a.html -->\n"),
        ("css", "a.css", "/* a.css */\n"),
        ("sql", "", "-- untitled.sql\n"),
        ("json", "a.json", ""),  # it has no comments
        ("unheard-of", "a.b", ""),
    ],
)
def test_where_a_family_has_no_form_for_a_path_a_comment_says_it(language: str, path: str, comment: str) -> None:
    found = renderer("codegemma")
    text = found.spell(found.render(Snapshot("", 1, language, "a b", 2, path=path)))
    assert text == f"<bos><|fim_prefix|>{comment}a <|fim_suffix|>b<|fim_middle|>"


@pytest.mark.parametrize(("buffer", "path", "begins"), [
    ("‸", "Makefile", "# Makefile\n"),
    ("\n\n‸\n", "src/main.zig", "// src/main.zig\n\n\n"),
    ("‸", "data.json", ""),  # no comments there
    ("‸\nx\n", "Makefile", ""),  # the text says what it is
])  # fmt: skip
def test_a_file_without_text_is_named_in_its_language_too(buffer: str, path: str, begins: str) -> None:
    found = renderer("qwen2.5-coder")
    snapshot = dataclasses.replace(at(buffer), path=path, language=languages.of_path(path))
    assert spelled_prefix(found, found.render(snapshot)) == begins
    codegemma = renderer("codegemma")  # which has a comment with the path in any case
    prompt = codegemma.render(snapshot)
    assert codegemma.tokenizer.decode(prompt.ids).count(path) == int(bool(begins) or "x" in buffer)


@pytest.mark.parametrize("name", ["qwen2.5-coder", "codegemma", "codestral", "starcoder2"])
@pytest.mark.parametrize("budget", [24, 40, 64, 1024])
def test_a_long_path_leaves_room_for_the_text(name: str, budget: int) -> None:
    found = renderer(name)
    snapshot = Snapshot("", 1, "python", "x = 1\n" * 400, 1200, path="very/long/folder/" * 50 + "name.py")
    prompt = found.render(snapshot, (), budget)
    assert len(prompt.ids) <= budget
    assert prompt.n_prefix >= 0.3 * budget
    assert budget < 64 or "name.py" in found.spell(prompt)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prefix"])
@pytest.mark.parametrize("order", ["psm", "spm"])
def test_control_tokens_in_text_never_become_control_tokens(name: str, order: str) -> None:
    found = renderer(name, order)
    everything = "".join(str(content) for content in found.tokenizer._names.values())
    spelled = Snapshot("", 1, "", f"a{everything}b{everything}", 3, path=f"{everything}.py")
    plain = dataclasses.replace(spelled, text="abab", cursor=1, path="m.py")
    others = [Snippet(everything, everything)]
    prompt = found.render(spelled, others, 4000)
    assert prompt.n_control == found.render(plain, [Snippet("p", "c")], 4000).n_control
    assert everything.replace("▁", " ") in found.spell(prompt).replace("▁", " ")


def test_a_model_without_fim_tokens_is_asked_for_what_follows() -> None:
    assert fim.detect(make("prefix")) is fim.PREFIX_ONLY
    assert fim.find("prefix", make("codellama")) is fim.PREFIX_ONLY
    found = FimRenderer(fim.PREFIX_ONLY, make("codellama"))
    assert found.spell(found.render(BUFFER)) == "<s>" + COMMENT + BUFFER.prefix


@pytest.mark.parametrize(
    ("template", "name", "message"),
    [
        ("codegemma", "qwen2.5-coder", "<|file_separator|>"),
        ("qwen2.5-coder", "granite4", "<|repo_name|>"),
        ("codestral", "codellama", "[SUFFIX]"),
        ("starcoder", "starcoder2", "unknown template"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template: str, name: str, message: str) -> None:
    with pytest.raises(MidfillError) as caught:
        fim.find(template, make(name))
    assert message in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("buffer", ["‸", "‸x = 1\n", "x = 1‸", "\n‸\n"])
@pytest.mark.parametrize("name", NAMES)
def test_first_and_last_position(name: str, buffer: str) -> None:
    found, snapshot = renderer(name), at(buffer)
    prompt = found.render(snapshot)
    text = found.spell(prompt)
    assert snapshot.prefix in text
    assert snapshot.suffix in text or name == "prefix"


LINES = st.lists(st.sampled_from(["", "x = 1", "    return value + 1", "é😀 漢字 = '…'", "y" * 90]), max_size=300)


@pytest.mark.parametrize("name", ["qwen2.5-coder", "codellama", "codegemma", "codestral", "starcoder2"])
@settings(max_examples=60, deadline=None)
@given(lines=LINES, where=st.floats(0, 1), budget=st.integers(24, 1500), n_others=st.integers(0, 3))
def test_budget(name: str, lines: list[str], where: float, budget: int, n_others: int) -> None:
    found = renderer(name)
    text = "\n".join(lines)
    snapshot = Snapshot("", 1, "", text, int(where * len(text)), path="src/m.py")
    others = [Snippet(f"o{i}.py", "import os\nprint(os.name)\n" * 4) for i in range(n_others)]
    prompt = found.render(snapshot, others, budget)
    fixed = found.render(dataclasses.replace(snapshot, text="", cursor=0), (), budget)
    assert len(prompt.ids) <= budget
    assert prompt.n_control >= fixed.n_control
    assert prompt.ids[0] == fixed.ids[0] or prompt.n_snippets
    assert snapshot.prefix.endswith(spelled_prefix(found, prompt))  # whole characters, too


def spelled_prefix(found: FimRenderer, prompt: fim.Prompt) -> str:
    """The prefix part of a prompt: the ids before the suffix sentinel, or the last ones in SPM."""
    control = [i for i, token in enumerate(prompt.ids) if token in found.tokenizer.control_ids]
    hole = [part for part in found._hole if not isinstance(part, str)]
    end = len(prompt.ids) if hole[-1] is fim.Placeholder.PREFIX else control[-2]
    return found.tokenizer.decode(prompt.ids[end - prompt.n_prefix : end])


@pytest.mark.parametrize("name", ["qwen2.5-coder", "codellama"])
def test_what_is_near_the_cursor_stays(name: str) -> None:
    found = renderer(name)
    snapshot = at("".join(f"a{i} = {i}\n" for i in range(900)) + "def f():\n    return ‸\n" + "z = 9\n" * 900)
    prompt = found.render(snapshot, (), 300)
    assert "def f():\n    return " in found.spell(prompt)
    assert 200 <= len(prompt.ids) <= 300
    assert 30 <= prompt.n_suffix <= 75


@pytest.mark.parametrize("name", ["qwen2.5-coder", "codegemma"])
def test_the_head_of_the_prompt_stays_while_typing(name: str) -> None:
    """The window begins at a coarse step: else every key would throw the KV cache away."""
    found = renderer(name)
    before = "".join(f"value_{i} = compute({i})\n" for i in range(400))
    typed = "result = compute(1) + compute(2)\n" * 6
    heads = {
        found.render(Snapshot("", 1, "", before + typed[:n], len(before) + n), (), 512).ids[:40]
        for n in range(len(typed))
    }
    assert len(heads) <= 3


def test_window_of_a_huge_file_gives_the_same_prompt() -> None:
    text = "".join(f"def f{i}(a):\n    return a + {i}\n\n" for i in range(5000))  # 15,000 lines
    assert text.count("\n") > 10_000
    for cursor in range(0, len(text) + 1, len(text) // 23):
        _same_prompt(Snapshot("", 1, "", text, cursor, path="m.py"), 700)


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(LINES, max_size=8), where=st.floats(0, 1), budget=st.sampled_from([24, 64, 200, 25_000]))
def test_window_gives_the_same_prompt(lines: list[list[str]], where: float, budget: int) -> None:
    text = "\n".join(line for some in lines for line in some)
    _same_prompt(Snapshot("", 1, "", text, int(where * len(text)), path="m.py"), budget)


def _same_prompt(snapshot: Snapshot, budget: int) -> None:
    found = renderer("qwen2.5-coder")
    window = window_of(snapshot, budget)
    assert found.render(window, OTHERS, budget) == found.render(snapshot, OTHERS, budget)
    assert len(window.text) <= 20 * budget + fim.MAX_STEP


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("    return fre", " fre"),  # the space is part of the word's first token, whatever is before it
        ("x = app_", " app_"),
        ("self.out", "out"),
        ("f(a, b", " b"),
        ("x = 1", ""),
        ("x = 12ab", ""),  # no name
        ("x = ", ""),
        ("\tna", "na"),
        ("a" * 60, ""),  # nobody types such a name
        ("größe", "größe"),
    ],
)
def test_the_word_before_the_cursor(text: str, word: str) -> None:
    assert fim.word_before(text) == word
