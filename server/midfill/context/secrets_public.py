"""Values that look drawn and are nevertheless public: digests, addresses, identifiers, files in base 64.

``secrets`` asks about a literal that no name explains; the tokens of services it recognises by their form.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import hashlib
import re

BEFORE = 60  # characters before a literal that may say what it is
MIN_UNNAMED = 32  # characters of a key that nothing around it mentions
MIN_PROSE = 16  # characters
MIN_ROW = 60  # characters of a row of base 64
MIN_ROWS = 3  # of a block of data
MAX_URI = 1000  # characters of a data URI before one of its rows
MAX_ABOVE = 200  # characters of the line above a block

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE32 = re.compile(r"[A-Z2-7]{16,64}")
_URL_SAFE = str.maketrans("-_", "+/")
_ADDRESS = re.compile(f"[{_BASE58}]{{26,35}}")
_GIVEN = r"(?:[=!]={1,2}|:=|=>|->|[=:(,\[])?[ \t(\[]*[a-z]{0,2}\Z"
# A name for something computed from public data, or known to every participant.
_PUBLIC_NAME = re.compile(
    r"(?i)(?:sha\d*|md5|hash|digest|checksum|integrity|fingerprint|etag|commit|rev(?:ision)?|uuid|guid|public|alphabet"
    r"|charset|chars|digits|letters|base\d\d|test|example|fixture|expected|descriptor|fileDesc)"
    r"[\w'\"\]\[().: \t-]{0,24}" + _GIVEN
)
_PUBLIC_VALUE = re.compile(
    r"(?i)(?:addr(?:ess)?|contract|genesis|(?<!key)chain|ipfs|cid|txid|magic|boundary|site_?key)\w{0,12}['\"]?\]?[ \t]*"
    r"(?:[=!]={1,2}|:=|=>|->|[=:])[ \t(\[]*[a-z]{0,2}\Z"
)
# An identifier, but not that of a key or of a session.
_IDENTIFIER = re.compile(
    r"(?<![\w-])(?![\w-]*(?i:secret|token|key|auth|session|cred|pass))(?:[\w-]*(?:[_-]|[a-z](?=I)))?(?:id|Id|ID)"
    r"['\"]?\]?[ \t]*" + _GIVEN
)
_SPEAKS_OF_SECRETS = re.compile(r"(?i)secret|password|passwd|credential|auth|token|api.?key|access.?key|private.?key")
# Whole bytes in base 64: a digest, a signature, data. The keys that services issue need no padding.
_PADDED = re.compile(r"(?:[\w+/-]{4})+[\w+/-]{2}(?:==|[\w+/-]=)")
_NEEDS_A_KEY = re.compile(
    r"(?i)secret|pass|pwd|cred|auth|token|key|login|client|connect|session|sign|crypt|hmac|vault|api"
)
_LABELLED = re.compile(
    r"(?i)(?:sha\d{1,3}|md5)[-/=]|-*\w{0,20}boundary|0x[0-9a-f]{40}\Z|pk_(?:live|test)_|phc_|(?:rsa|dsa|ed)\d*/0x"
)
# How files begin in base 64: images, fonts, archives, WebAssembly, PDF, XML, SVG, HTML, a source map.
_FILE = re.compile(
    r"iVBORw0KGgo|R0lGOD|/9j/|UklGR|AAABAAE|d09G[RM]|AAEAAA|H4sI|UEsDB|AGFzbQ|JVBERi0|PD94bWw|PHN2Zy|PCFET0|T2dnUw"
    r"|eyJ2ZXJzaW9u"
)
# A data URI that spans several literals.
_DATA_URI = re.compile(r"data:[\w./+-]{3,40};base64,[\w+/=\\'\"`,.&\s]*\Z")
# A table that maps it to another identifier, a UUID or a number in hexadecimal.
_MAPPED = re.compile(r"['\"`]\s{0,4}(?::|=>|,)\s{0,4}['\"`](?:0x)?[0-9a-f]{4,}(?:-?[0-9a-f]{4,}){3,}['\"`]")
_FIRST_ROW = re.compile(r"['\"`][\w+/=-]{60,72}(?:\\n)?['\"`][ \t+.&,\\]*\n\Z")
# Rows of base 64 and what joins them, as in wrapped data; keys in a list are shorter.
_BLOCK = re.compile(
    r"(?m)(?:^[ \t]*(?:[+.&][ \t]*)?[a-z]?(['\"`])[\w+/=-]{60,72}(?:\\n)?\1[ \t]*[+.&,;\\)\]]{0,8}[ \t]*(?:\n|\Z)){2,}"
)


class Public:
    """Which literals of one text are public; rows of data are searched at the first question about one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._blocks: list[tuple[int, int]] | None = None

    def holds(self, start: int, value: str) -> bool:
        """Whether the literal at ``start``, a quote and then ``value``, is known not to be a secret."""
        before = self._text[max(0, start - BEFORE) : start]
        if _LABELLED.match(value) or _FILE.match(value) or _is_structured(value) or _is_address(value):
            return True
        if _DATA_URI.search(self._text, max(0, start - MAX_URI), start):
            return True
        if any(names.search(before) for names in (_PUBLIC_NAME, _PUBLIC_VALUE, _IDENTIFIER)):
            return True
        if is_prose(value) or (len(value) < MIN_UNNAMED and not _NEEDS_A_KEY.search(before)):
            return True
        if _SPEAKS_OF_SECRETS.search(before):
            return False
        if _PADDED.fullmatch(value) or _MAPPED.match(self._text, start + 1 + len(value)):
            return True
        return len(value) >= MIN_ROW and self._is_in_block(start)

    def _is_in_block(self, start: int) -> bool:
        """Whether the literal at ``start`` is a row of a block, or its first row after a name."""
        if self._blocks is None:
            self._blocks = [one.span() for one in _BLOCK.finditer(self._text) if self._is_data(one)]
        next_line = (self._text.find("\n", start) + 1) or len(self._text)
        at = bisect.bisect_right(self._blocks, next_line, key=lambda span: span[0]) - 1
        return at >= 0 and next_line <= self._blocks[at][1]

    def _is_data(self, block: re.Match[str]) -> bool:
        """Whether nothing above a block of rows mentions a secret, and it has enough rows, including the one above."""
        first = block.start()
        above = self._text[max(self._text.rfind("\n", 0, max(0, first - 1)) + 1, first - MAX_ABOVE) : first]
        n_rows = block[0].count("\n") + (not block[0].endswith("\n")) + (_FIRST_ROW.search(above) is not None)
        return n_rows >= MIN_ROWS and not _SPEAKS_OF_SECRETS.search(self._text, max(0, first - MAX_ABOVE), first)


def is_prose(value: str) -> bool:
    """Whether it is the base 64 of a text with spaces."""
    return len(value) >= MIN_PROSE and " " in in_base64(value)


def in_base64(value: str) -> str:
    """Return the text that it encodes in base 64, as far as whole bytes of it are there; "" if it is not text."""
    try:
        text = _bytes_of(value).decode("ascii")
    except (binascii.Error, ValueError):
        return ""
    return text if text.isprintable() else ""


def is_text_in_base32(value: str) -> bool:
    """Whether it is the base 32 of a text, like one-time passwords that are shown; of 16 drawn characters 1 in
    20,000."""
    if not _BASE32.fullmatch(value):
        return False
    data = base64.b32decode(value[: len(value) // 8 * 8])
    return data.isascii() and data.decode().isprintable()


def _bytes_of(value: str) -> bytes:
    """Return the bytes in base 64, padded or not, in either alphabet; raises ``binascii.Error`` or ``ValueError``."""
    value = value.rstrip("=").translate(_URL_SAFE)
    return base64.b64decode(value[: len(value) // 4 * 4], validate=True)


def _is_structured(value: str) -> bool:
    """Whether it is base 64 of bytes that are not random: three zeros in a row, as in numbers of a file or message."""
    try:
        data = _bytes_of(value)
    except (binascii.Error, ValueError):
        return False
    return b"\0\0\0" in data and not data.startswith(b"openssh-key")


def _is_address(value: str) -> bool:
    """Whether it is the address of a coin in base 58, which its last four bytes prove; a key is longer."""
    if not _ADDRESS.fullmatch(value):
        return False
    number = 0
    for char in value:
        number = number * 58 + _BASE58.index(char)
    data = number.to_bytes(26, "big")  # 58 to the 35th takes 206 bits
    body, check = data[1:-4], data[-4:]
    return data[0] == 0 and hashlib.sha256(hashlib.sha256(body).digest()).digest().startswith(check)
