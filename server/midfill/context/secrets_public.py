"""What looks drawn and is public all the same: digests, addresses, identifiers, files in base 64.

``secrets`` asks about a literal that no name gives away; keys that services hand out it knows by their form.
"""

from __future__ import annotations

import base64
import binascii
import re

BEFORE = 60  # characters before a literal that may say what it is
MIN_UNNAMED = 32  # characters of a key that nothing around it speaks of
MIN_PROSE = 16  # characters
MIN_ROW = 60  # characters of a row of base 64; keys in a list are shorter
MIN_ROWS = 3
MAX_ROWS = 200  # rows looked back over for the line that begins a block
MAX_ABOVE = 200  # characters of the line above a block
MAX_MARGIN = 60  # characters of a row around its literal

_GIVEN = r"(?:[=!]={1,2}|:=|=>|->|[=:(,\[])?[ \t(\[]*[a-z]{0,2}\Z"
# A name of what is computed from something public, or known to everybody who takes part.
_PUBLIC_NAME = re.compile(
    r"(?i)(?:sha\d*|md5|hash|digest|checksum|integrity|fingerprint|etag|commit|rev(?:ision)?|uuid|guid|public|alphabet"
    r"|charset|chars|digits|letters|base\d\d|test|example|fixture|expected|addr(?:ess)?|contract|genesis|chain|ipfs"
    r"|cid|txid|descriptor|fileDesc|magic|boundary|site_?key)"
    r"[\w'\"\]\[().: \t-]{0,24}" + _GIVEN
)
# An identifier, but not that of a key or of a session.
_IDENTIFIER = re.compile(
    r"(?<![\w-])(?![\w-]*(?i:secret|token|key|auth|session|cred|pass))(?:[\w-]*(?:[_-]|[a-z](?=I)))?(?:id|Id|ID)"
    r"['\"]?\]?[ \t]*" + _GIVEN
)
_SPEAKS_OF_SECRETS = re.compile(r"(?i)secret|password|passwd|credential|auth|token|api.?key|access.?key|private.?key")
# Whole bytes in base 64: a digest, a signature, data. Services hand out keys that need no filling up.
_PADDED = re.compile(r"(?:[\w+/-]{4})+[\w+/-]{2}(?:==|[\w+/-]=)")
_NEEDS_A_KEY = re.compile(
    r"(?i)secret|pass|pwd|cred|auth|token|key|login|client|connect|session|sign|crypt|hmac|vault|api"
)
_LABELLED = re.compile(
    r"(?i)(?:sha\d{1,3}|md5)[-/=]|-*\w{0,20}boundary|0x[0-9a-f]{40}\Z|pk_(?:live|test)_|(?:rsa|dsa|ed)\d*/0x"
)
# How files begin, in base 64: images, fonts, archives, WebAssembly, PDF, XML, SVG, HTML, a source map.
_FILE = re.compile(
    r"iVBORw0KGgo|R0lGOD|/9j/|UklGR|AAABAAE|d09G[RM]|AAEAAA|H4sI|UEsDB|AGFzbQ|JVBERi0|PD94bWw|PHN2Zy|PCFET0|T2dnUw"
    r"|eyJ2ZXJzaW9u"
)
# A table that maps it to another identifier, a UUID or a number in hexadecimal.
_MAPPED = re.compile(r"['\"`]\s{0,4}(?::|=>|,)\s{0,4}['\"`](?:0x)?[0-9a-f]{4,}(?:-?[0-9a-f]{4,}){3,}['\"`]")
_ROW = re.compile(r"[ \t]*(?:[+.&][ \t]*)?[a-z]?(['\"`])([\w+/=-]{24,})(?:\\n)?\1[ \t]*(?:[+.&,;\\)\]]|\.\.)*[ \t]*")


def is_public(text: str, start: int, value: str) -> bool:
    """Whether the literal at ``start``, a quote and then ``value``, is known to be no secret."""
    before = text[max(0, start - BEFORE) : start]
    if _LABELLED.match(value) or _FILE.match(value) or _PUBLIC_NAME.search(before) or _IDENTIFIER.search(before):
        return True
    if is_prose(value) or (len(value) < MIN_UNNAMED and not _NEEDS_A_KEY.search(before)):
        return True
    if _SPEAKS_OF_SECRETS.search(before):
        return False
    if _PADDED.fullmatch(value) or _MAPPED.match(text, start + 1 + len(value)):
        return True
    return len(value) >= MIN_ROW and _is_row_of_many(text, start, len(value))


def is_prose(value: str) -> bool:
    """Whether it is the base 64 of a text with spaces."""
    try:
        text = base64.b64decode(value, validate=True).decode("ascii") if len(value) >= MIN_PROSE else ""
    except (binascii.Error, ValueError):
        return False
    return " " in text and text.isprintable()


def _is_row_of_many(text: str, start: int, n: int) -> bool:
    """Whether the line of ``start`` is one of several rows of ``n`` characters, as data is wrapped; what is named a
    secret above its first row is none."""
    line = first = text.rfind("\n", 0, start) + 1
    above = text.rfind("\n", 0, max(0, first - 1)) + 1
    for _ in range(MAX_ROWS):
        if not _is_row(text[above : max(0, first - 1)], n):
            break
        first, above = above, text.rfind("\n", 0, max(0, above - 1)) + 1
    begin = start if first == line else first  # a name may stand before the first literal
    rows = text[begin : begin + MIN_ROWS * (n + MAX_MARGIN)].split("\n")[:MIN_ROWS]
    return (
        len(rows) == MIN_ROWS
        and all(_is_row(row, n) for row in rows)
        and not _SPEAKS_OF_SECRETS.search(text, max(above, first - MAX_ABOVE), first)
    )


def _is_row(line: str, n: int) -> bool:
    """Whether a line holds nothing but a literal of ``n`` characters, and what joins it to the next."""
    match = _ROW.fullmatch(line)
    return match is not None and len(match[2]) == n
