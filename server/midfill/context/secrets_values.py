"""Whether a value in the place of a secret is one: drawn, or a placeholder, a word, an example.

Part of ``secrets``, which finds the values.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import re

from midfill.context.secrets_public import in_base64, is_prose, is_text_in_base32

MIN_SEQUENCE = 16  # characters
MIN_ALPHABET = 32  # characters, all different; true of one drawn value in 3,000
MIN_PART = 12  # consecutive letters and digits of a drawn value
MIN_WORDS = 7 / 12  # of a name in camel case, in words of three letters or more
MIN_DRAWN = 12  # characters of a value in a test that may be real
ENDED = 1_735_689_600  # 2025-01-01 in seconds: a token that expired before opens nothing any more
_MADE_UP = re.compile(r"(?i)example|john doe|[\"]payload[\"]|x{6}|\*{3}|\.{3}|your|12345678")
_PLACEHOLDER = re.compile(
    r"(?i).{0,60}(?:example|change_?me|your|placeholder|dummy|sample|redacted|hidden|masked|insert|replace|todo|fixme|foobar|fake|mock"
    r"|not[-_ ]?(?:a|set|used|real)|(?:my|the|some|a|an|no|new|old|user|super|top|db|test)?[-_]?"
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|key|credential)s?(?:[-_]?\w{0,3}|[-_.]\w+)\Z"
    r"|x{4,}|\*{3,}|\.{3}|lorem|hello|letmein|admin|root|guest|test|none|null|undefined|string|text|true|false)"
)
_WELL_KNOWN = re.compile(r"(?:my|the|a|super|top)?[-_]?(?:secret|change_?me)[\W_oeas\d]{0,6}")
# Digests of the default passwords of programs: their passwords are known.
_KNOWN_DIGESTS = frozenset(
    hashlib.new(name, word.encode(), usedforsecurity=False).hexdigest()
    for name in ("md5", "sha1", "sha256", "sha512")
    for word in (
        "", "admin", "guest", "root", "user", "test", "demo", "secret", "password", "123456", "12345678", "foo", "bar",
        "foobar", "hello", "changeme",
    )
)  # fmt: skip
_DISGUISE = str.maketrans("034$@5", "oeasas")
_WORD = re.compile(r"[A-Z](?=[a-z]{0,12}[aeiouy])[a-z]{2,}")
_NOT_DRAWN = re.compile(r"X{4}|x{4}|(?<!\d)20\d\d-(?:0\d|1[0-2])-[0-3]\d(?!\d)")  # filler; dates
_UNSIGNED = re.compile(rb"(?i)\"alg\"\s{0,4}:\s{0,4}\"none\"")
_ENDS = re.compile(rb"\"exp\"\s{0,4}:\s{0,4}(\d{1,10})(?!\d)")
# What is not a value: a version or a range of versions, a number, digits in order; what a form or a model says about
# its field; words with commas; references to a value: a selector, the key of a translation, the name of a secret stored
# elsewhere; a time, a type, a regular expression, a class of a module, a mail address.
_NO_VALUE = re.compile(
    r"\d+(?:\.\d+){4,}|(?:pk_(?:live|test)_|phc_)\w+"
    r"|[\^~<>=v]{0,3}\d+(?:\.(?:\d+|[x*])){1,3}(?:[-+][\w.]+)?|0[xX][\da-fA-F_]{1,20}[uUlL]{0,3}|0?1234567?8?9?0?"
    r"|(?:required|optional|nullable|present|filled|confirmed|hashed|encrypted|bcrypt|plain|varchar|wrong|invalid|missing)"
    r"|(?=.*\b(?:required|nullable|sometimes|confirmed|string|min|max)\b)[a-z_]+(?::[\w,]+)?(?:\|[a-z_]+(?::[\w,]+)?)+"
    r"|[a-z]+(?:,[a-z]+)+|[A-Za-z_-]*(?i:passw?or[dt]|passwd|passphrase|kennwort|contrase(?:n|ñ)a|wachtwoord|salasana|senha)[A-Za-z_-]*[:\s]*"
    r"|(?=.*(?i:pass|pwd|login|auth|label|field|form|user|error|sign))[A-Za-z]+(?:\.[A-Za-z_]+)+"
    r"|\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d[\d:.+Zz-]*|[A-Za-z]+[\[<][A-Za-z][\w., |]*[\]>]|.*\[\^?(?:a-z|A-Z|0-9)[^\]]*\].*"
    r"|[A-Za-z_]+(?:\.[A-Za-z_]+)+:[A-Za-z_]+|[a-z_.-]+@[a-z-]+(?:\.[a-z-]+)*\.[a-z]{2,6}"
    r"|[\w.#>-]*\[[\w-]+[~|^$*]?=[^\]]*\].*|[a-z][a-z+.-]*://.*|(?:arn|urn|env|file|vault|ssm|kms):.*|projects/.*"
)


def is_sample(token: str) -> bool:
    """Whether a JSON web token opens nothing: it says that it is an example, is not signed, expired long ago, or signs
    a text instead of claims, as standards show it."""
    try:
        head, body = (base64.urlsafe_b64decode(part + "==") for part in token.split(".")[:2])
    except (binascii.Error, ValueError):
        return False
    said = (head + body).decode("latin-1")
    is_of_claims = body.startswith(b"{") or b'"enc"' in head or b'"zip"' in head
    return (
        _MADE_UP.search(said) is not None or _UNSIGNED.search(head) is not None or not is_of_claims or _has_ended(body)
    )


def _has_ended(body: bytes) -> bool:
    """Whether a token expired before this code was written, according to its claims."""
    match = _ENDS.search(body)
    return match is not None and int(match[1]) < ENDED


def is_drawn(value: str) -> bool:
    """Whether a named value of a test may be more than an invented one; for base 64, the decoded text counts."""
    value = in_base64(value) or value
    return (
        len(value) >= MIN_DRAWN
        and any(char.isdigit() for char in value)
        and is_mixed(value)
        and not _is_disguised(value)
    )


def _is_disguised(value: str) -> bool:
    """Whether it is the word "password" with digits and signs in place of letters: ``P@ssw0rd2023!``."""
    return "passwor" in value.lower().translate(_DISGUISE)


def is_made_up(value: str) -> bool:
    """Whether a text with a key's form is one of documentation: one character over and over, or a word that says so."""
    return (len(set(value.lower())) < 5 and len(value) > 12) or _MADE_UP.search(value) is not None


def is_placeholder(value: str) -> bool:
    """Whether it is words with spaces, a reference or a name: prose and code around secrets, not a secret."""
    return (
        value.lstrip().startswith(("$", "{", "<", "%", "/", ".", "#", "&", "@", "http", "--"))
        or _NO_VALUE.fullmatch(value) is not None
        or value.lower() in _KNOWN_DIGESTS
        or _WELL_KNOWN.fullmatch(value.lower().translate(_DISGUISE)) is not None
        or _is_foreign_word(value)
        or value[0] == value[-1] == " "  # code between two literals
        or is_prose(value)
        or is_text_in_base32(value)
        or (value.startswith("eyJ") and value.count(".") == 2 and is_sample(value))
        or " " in value.strip()
        or len(set(value)) < 4
        or "{" in value
        or "(" in value
        or _PLACEHOLDER.match(value) is not None
        or _is_sequence(value)
    )


def _is_foreign_word(value: str) -> bool:
    """Whether it is a word with letters that hardly any password has: a translation of the name beside it."""
    word = value.rstrip(":*.!?")
    return word.isalpha() and not word.isascii()


def is_word(value: str) -> bool:
    """Whether it is a word: a token may also be one of a language, and a secret's name may be beside its kind."""
    if not any(char.isdigit() for char in value):
        return len(value) < 20 or value.isupper() or not is_mixed(value)
    return (
        len(value) < 8
        or re.fullmatch(
            r"[a-z]+(?:\d[a-z]*)?(?:[-_.:/#][a-z0-9]+)+|[A-Z]+(?:_[A-Z0-9]+)+|[A-Z]+(?:-(?:[A-Z]+|\d{1,4}))+|[A-Za-z]{3,}[_-]?\d{1,2}"
            r"|(?:[Vv]\d(?:(?:alpha|beta)\d)?)?(?:[A-Z]{1,6}[a-z]{2,})+\d{0,2}"
            r"|(?=.*\[)[A-Za-z_]+(?:\[[-\w*]*\])?(?:\.[A-Za-z_]+(?:\[[-\w*]*\])?)+"
            r"|(?:(?!v\d)[A-Za-z]+\d?|v\d+(?:\.\d+)?)(?:/(?:(?!v\d)[A-Za-z]+\d?|v\d+(?:\.\d+)?))+",
            value,
        )
        is not None
    )


def is_mixed(value: str) -> bool:
    """Whether it alternates between kinds of characters more often than names do."""
    n = sum(_is_break(a, b, True) for a, b in itertools.pairwise(value))
    return n >= len(value) / 5


def is_random(word: str) -> bool:
    """Whether a long run of letters and digits was drawn rather than named.

    A name changes from small to capital letters, or between letters and digits, once per part; a key does at every
    second or third character, and rarely repeats a character. A run of neighbouring characters is an alphabet.
    """
    part = max(re.split(r"[^A-Za-z0-9]+", word), key=len)
    if len(part) < MIN_PART or not all(any(map(is_kind, part)) for is_kind in (str.isdigit, str.islower, str.isupper)):
        return False
    if len(set(word)) < min(len(word) / 2, 20) or _is_sequence(word) or _is_compound(word) or _NOT_DRAWN.search(word):
        return False
    return sum(_is_break(a, b, True) for a, b in itertools.pairwise(word)) > len(word) / 3


def _is_compound(word: str) -> bool:
    """Whether most of it is capitalised words, as in the name of a class; of 24 drawn characters 1 in 200."""
    return sum(map(len, _WORD.findall(word))) >= len(word) * MIN_WORDS


def _is_sequence(word: str) -> bool:
    """Whether it is an alphabet: a third counts up or down, no character comes twice, or it has a row of the
    keyboard."""
    small = word.lower()
    n_next = sum(a != b and abs(ord(a.lower()) - ord(b.lower())) <= 1 for a, b in itertools.pairwise(word))
    return len(word) >= MIN_SEQUENCE and (
        n_next > len(word) / 3
        or len(set(word)) == len(word) >= MIN_ALPHABET
        or any(row in small for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm"))
    )


def _is_break(a: str, b: str, has_small: bool) -> bool:
    return a.isdigit() != b.isdigit() or (has_small and b.isupper() and a not in "_-/")
