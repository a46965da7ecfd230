"""Small tokenizers with the control tokens, and in the style, of the models whose templates midfill knows."""

from __future__ import annotations

import functools
import json
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from midfill.tokenizer import CodeTokenizer

PIPES = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>")
STARS = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")
CORPUS = ("def add(a, b):\n    return a + b\n", "class Thing:\n        self.value = value\n", "import os, sys\n" * 3)

# Byte-level BPE: control tokens, and whether they are marked special (Qwen's FIM tokens are not).
BYTE_LEVEL: dict[str, tuple[tuple[str, ...], bool]] = {
    "qwen2.5-coder": (("<|endoftext|>", *PIPES, "<|repo_name|>", "<|file_sep|>", "<|im_end|>"), False),
    "starcoder2": (("<|endoftext|>", *STARS, "<repo_name>", "<file_sep>"), True),
    "granite": (("<|endoftext|>", *STARS, "<filename>", "<reponame>"), True),
    "granite4": (("<|end_of_text|>", *PIPES), False),
    "deepseek-coder": (
        (
            "<｜begin▁of▁sentence｜>",
            "<｜end▁of▁sentence｜>",
            "<｜fim▁begin｜>",
            "<｜fim▁hole｜>",
            "<｜fim▁end｜>",
            "<|EOT|>",
        ),
        False,
    ),
    "codeqwen1.5": (("<|endoftext|>", *STARS, "<reponame>", "<file_sep>", "<|im_end|>"), False),
    "mellum": (("<|endoftext|>", *STARS, "<filename>", "<reponame>"), True),
    "santacoder": (("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"), False),
    "seed-coder": (
        (
            "<[begin▁of▁sentence]>",
            "<[end▁of▁sentence]>",
            "<[fim-prefix]>",
            "<[fim-suffix]>",
            "<[fim-middle]>",
        ),
        False,
    ),
    "codegeex4": (
        (
            "<|endoftext|>",
            "[gMASK]",
            "<sop>",
            "<|user|>",
            "<|assistant|>",
            "<|observation|>",
            "<|code_prefix|>",
            "<|code_middle|>",
            "<|code_suffix|>",
        ),
        False,
    ),
    "prefix": (("<|endoftext|>",), True),
}
# SentencePiece-like: (control tokens, how a space gets before a text, control tokens inside the base vocabulary).
PIECES: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "codellama": (("<unk>", "<s>", "</s>", "▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"), "prepend", False),
    "codellama, metaspace": (("<unk>", "<s>", "</s>", "▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"), "metaspace", False),
    "codestral": (("<unk>", "<s>", "</s>", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"), "prepend", False),
    "codegemma": (
        ("<pad>", "<eos>", "<bos>", "<unk>", *PIPES[:3], "<|file_separator|>", "<end_of_turn>"),
        "none",
        True,
    ),
}
NAMES = (*BYTE_LEVEL, *PIECES)


@functools.cache
def make(name: str) -> CodeTokenizer:
    """Return the tokenizer called ``name``; a part after a comma names a variant."""
    return CodeTokenizer(describe(name))


def describe(name: str) -> dict[str, Any]:
    """Return its tokenizer.json."""
    tokenizer = _byte_level(*BYTE_LEVEL[name]) if name in BYTE_LEVEL else _pieces(*PIECES[name])
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    return description


def _byte_level(controls: tuple[str, ...], special: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_tokens([AddedToken(control, special=special, normalized=False) for control in controls])
    return tokenizer


def _pieces(controls: tuple[str, ...], space: str, inside: bool) -> Tokenizer:
    vocabulary = {name: i for i, name in enumerate((*controls, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"))}
    merges: list[tuple[str, str]] = []

    def word(text: str) -> None:
        for char in text:
            vocabulary.setdefault(char, len(vocabulary))
        for end in range(2, len(text) + 1):
            vocabulary.setdefault(text[:end], len(vocabulary))
            if (text[: end - 1], text[end - 1]) not in merges:
                merges.append((text[: end - 1], text[end - 1]))

    for text in (
        "▁return",
        "def",
        "▁▁▁▁",
        "abcdefghijklmnopqrstuvwxyz"[:1],
        *"ABCDEFGHijkmopqsvwxyz0123456789_(),:=+.<>|[]/",
    ):
        word(text)
    if inside:  # the merges rebuild every control token
        for control in controls:
            word(control)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bare: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if space == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif space == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(bare if space == "none" else [*bare, decoders.Strip(" ", 1, 0)])
    tokenizer.add_tokens(
        [AddedToken(control, special=not inside or len(control) < 6, normalized=False) for control in controls]
    )
    if inside:  # as in Gemma: runs of white space, and tags
        tokenizer.add_tokens(
            [AddedToken(text, special=False, normalized=False) for text in ("\n\n", "\n\n\n", "<h1>", "</h1>")]
        )
    bos = next(control for control in controls if control in ("<s>", "<bos>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=None, special_tokens=[(bos, vocabulary[bos])]
    )
    return tokenizer
