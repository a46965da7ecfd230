"""A model's tokenizer.json for code: text in a buffer can never become a control token.

It needs only the ``tokenizers`` library, so a language server needs no transformers.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from midfill.types import MidfillError

N_KEPT = 32  # texts whose ids are cached
# Added tokens that are ordinary text (Gemma has runs of white space and HTML tags among its added tokens).
_TEXT_TOKEN = re.compile(r"\s+|▁+|</?(?!(?:s|pad|eos|bos|unk|mask|sop|eop|reponame|filename)>)[a-z][a-z0-9]{0,9}>")
_CONTROL_TOKEN = re.compile(
    r"▁?<\|.*\|>|▁?<｜.*｜>|▁?<[A-Za-z_]+>|<fim-\w+>|<\[.*\]>|\[[A-Z_]+\]|\[[gs]MASK\]|<unused\d+>|</s>"
)


class CodeTokenizer:
    """Encodes text to ids and back; knows which ids are control tokens."""

    def __init__(self, description: dict[str, Any], model: str | None = None) -> None:
        """``description`` is the content of a tokenizer.json; ``model``, if given, its entry of that name as text."""
        plain = json.dumps(_without_control(description))
        if model is not None:
            plain = f'{plain[:-1]}, "model": {model}}}'
        self._plain = Tokenizer.from_str(plain)
        added = description.get("added_tokens", ())
        self._names = {int(token["id"]): str(token["content"]) for token in added if _is_control(token)}
        self._ids = {name: token_id for token_id, name in self._names.items()}
        self.control_ids = frozenset(self._names)
        # While the user types, every key needs the ids of the text after the cursor, of names and of other files'
        # snippets.
        self._encoded = functools.lru_cache(N_KEPT)(self._encode)
        # Decoders may strip a space from the first token of a text (Llama's do): an anchor in front takes that.
        self._anchor = self._plain.encode("a", add_special_tokens=False).ids[-1:]
        self._anchor_text = self._plain.decode(self._anchor, skip_special_tokens=False)

    @classmethod
    def from_file(cls, file: Path) -> CodeTokenizer:
        """Read a tokenizer.json. Raises MidfillError."""
        try:
            return cls(*_parts(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise MidfillError(f"{file} is missing", "midfill needs the model's tokenizer.json beside it") from None
        except Exception as error:  # tokenizers raises bare Exception for what it cannot read
            raise MidfillError(f"{file} cannot be read as a tokenizer: {str(error)[:200]}", "fetch it again") from error

    def id_of(self, names: Iterable[str]) -> int | None:
        """Return the id of the first of ``names`` that is a token."""
        for name in names:
            token_id = self._ids.get(name, self._plain.token_to_id(name))
            if token_id is not None:
                return int(token_id)
        return None

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain text: no BOS, and no control token whatever it spells."""
        return self.encode_with_offsets(text)[0]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[int]]:
        """Return the ids of ``text`` and where in it (in code points) each begins."""
        ids, starts = self._encoded(text)
        return list(ids), list(starts)

    def _encode(self, text: str) -> tuple[Sequence[int], Sequence[int]]:
        text = _without_lone_surrogates(text)
        whole = self._plain.encode(text, add_special_tokens=False)
        if self.control_ids.isdisjoint(whole.ids):
            return whole.ids, [start for start, _ in whole.offsets]
        ids: list[int] = []
        starts: list[int] = []
        pieces = [(0, text)]  # a stack: the first part of the text is on top
        while pieces:
            at, piece = pieces.pop()
            encoding = self._plain.encode(piece, add_special_tokens=False)
            spelled = [
                start
                for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True)
                if token in self.control_ids
            ]  # reached through merges
            if spelled and len(piece) > 1:  # split after the first character of each
                cuts = [0, *sorted({min(start + 1, len(piece) - 1) for start in spelled}), len(piece)]
                pieces += [(at + cut, piece[cut:end]) for cut, end in itertools.pairwise(cuts)][::-1]
                continue
            for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
                if token not in self.control_ids:
                    ids.append(token)
                    starts.append(at + start)
        return ids, starts

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` with control tokens spelled out, and no space lost at the front.

        One tokenizer does both ways, to hold a vocabulary of 150,000 only once in memory.
        """
        text = ""
        for is_control, run in itertools.groupby(ids, key=self.control_ids.__contains__):
            if is_control:
                text += "".join(self._names[token] for token in run)
            else:
                decoded = self._plain.decode([*self._anchor, *run], skip_special_tokens=False)
                text += decoded.removeprefix(self._anchor_text)
        return text

    def texts(self, size: int) -> list[str]:
        """Return the text of each id below ``size``; empty for control tokens and unused ids."""
        known = [token for token in range(min(size, self._plain.get_vocab_size())) if token not in self.control_ids]
        texts = [""] * size
        decoded = self._plain.decode_batch([[*self._anchor, token] for token in known], skip_special_tokens=False)
        for token, text in zip(known, decoded, strict=True):
            texts[token] = text.removeprefix(self._anchor_text)
        return texts


class TextStream:
    """Turns ids into text as they come, holding back the bytes of an incomplete character."""

    # A character has at most four bytes, so no more byte tokens than that can be waiting for one.
    MAX_PENDING = 4

    def __init__(self, tokenizer: CodeTokenizer) -> None:
        self._tokenizer = tokenizer
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        """Return the text that became complete with ``token``; may be empty."""
        self._pending.append(token)
        text = self._tokenizer.decode(self._pending)
        if text.endswith("\ufffd") and len(self._pending) < self.MAX_PENDING:
            return ""
        self._pending.clear()
        return text

    def flush(self) -> str:
        """Return what is left when no more ids come. Drops an incomplete character."""
        text = self._tokenizer.decode(self._pending) if self._pending else ""
        self._pending.clear()
        return text.rstrip("\ufffd")


def _is_control(token: dict[str, Any]) -> bool:
    content = str(token["content"])
    if token.get("special"):
        return True
    return not _TEXT_TOKEN.fullmatch(content) and bool(_CONTROL_TOKEN.fullmatch(content))


# The parts of a tokenizer.json that are read besides its model. tokenizers writes the model last.
_BEFORE_MODEL = {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "truncation", "padding"}


def _parts(text: str) -> tuple[dict[str, Any], str | None]:
    """Return the content of a tokenizer.json, and if possible its model as text: merges and vocabulary are most of it,
    and parsing and writing them again takes as long as tokenizers takes to read them."""
    decoder, description, at = json.JSONDecoder(), dict[str, Any](), _behind(text, 0, "{")
    while at >= 0 and text[at : at + 1] == '"':
        key, at = decoder.raw_decode(text, at)
        at = _behind(text, _skipped(text, at), ":")
        if key == "model":
            if not description.keys() >= _BEFORE_MODEL:
                break
            return description, text[at:].rstrip()[:-1]
        description[key], at = decoder.raw_decode(text, at)
        at = _behind(text, _skipped(text, at), ",")
    return json.loads(text), None


def _skipped(text: str, at: int) -> int:
    """Return where white space from ``at`` on ends."""
    return at + len(text[at : at + 100]) - len(text[at : at + 100].lstrip())


def _behind(text: str, at: int, sign: str) -> int:
    """Return the position after ``sign`` and white space, -1 if something else is there."""
    at = _skipped(text, at)
    return _skipped(text, at + 1) if text[at : at + 1] == sign else -1


def _without_control(description: dict[str, Any]) -> dict[str, Any]:
    """Return the same tokenizer without control tokens, BOS and the space that some put before a text."""
    plain = dict(description)
    plain["added_tokens"] = [token for token in description.get("added_tokens", ()) if not _is_control(token)]
    plain["post_processor"] = None
    plain["truncation"] = plain["padding"] = None
    plain["normalizer"] = _without_prepend(description.get("normalizer"))
    plain["pre_tokenizer"] = _without_prepend(description.get("pre_tokenizer"))
    return plain


def _without_prepend(part: dict[str, Any] | None) -> dict[str, Any] | None:
    if part is None or part.get("type") == "Prepend":
        return None
    part = dict(part)
    if part["type"] == "Metaspace":
        part["prepend_scheme"] = "never"
    if part["type"] == "ByteLevel":
        part["add_prefix_space"] = False
    for key in ("normalizers", "pretokenizers"):
        if key in part:
            part[key] = [kept for item in part[key] if (kept := _without_prepend(item)) is not None]
    return part


def _without_lone_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
