"""Values that a test made for itself and that open nothing, although they look drawn: vectors, results, mock data.

``secrets`` asks about a named value in a test that has no form of its own; the tokens of services it recognises by
their form.
"""

from __future__ import annotations

import bisect
import re

BEFORE = 60  # characters before a value that contain its name
MAX_GIVEN = 600  # characters of a name, a value and what joins them
NEAR = 400  # characters on each side that may contain a computation with a key, or a mock that receives it

_NAME = re.compile(r"[\w-]+['\"\])]{0,3}\s{0,4}(?::=|=>|[=:(])[\s(]{0,24}[a-z]{0,2}['\"`]?\Z")
# Names of a value that opens nothing, or is public beside a hash; as words of their own in each spelling.
_SAYS = (
    "fake", "mock", "mocked", "dummy", "sample", "example", "invalid", "wrong", "bad", "bogus", "expired", "revoked",
    "expected", "public", "salt",
)  # fmt: skip
_OPENS_NOTHING = re.compile(
    rf"(?<![A-Za-z])(?:{'|'.join(_SAYS)})(?![a-z])|(?<![A-Za-z])(?:{'|'.join(map(str.upper, _SAYS))})(?![A-Za-z])"
    rf"|(?:{'|'.join(map(str.title, _SAYS))})(?![a-z])"
)
# Keys that a framework's generator writes into each new application; a test has one that is never deployed.
_GENERATED = re.compile(
    r"SECRET_KEY['\"]?\]?\s{0,4}[=:]\s{0,4}[a-z]?['\"][a-z0-9!@#$%^&*(\-_=+)]{50}['\"]"
    r"|secret_(?:key_base|token)['\"]?\]?\s{0,4}(?:=>|[=:(,])\s{0,4}['\"]?(?:[0-9a-f]{30}|[0-9a-f]{128})(?:['\"\n]|\Z)"
)
# A line that compares an actual value with an expected one.
_EXPECTS = re.compile(
    r"\bassert\w*[\s(.!]|\b(?:EXPECT|ASSERT|REQUIRE|CHECK)(?:_\w+)?\s?\(|\b(?:expect\w*|verify|(?:deep|strict)?[eE]quals?)\s?[(!]"
    r"|[=!]=|\bEqual\w*\(|\.to\.|\.should\b|\bshould[.(]|^\s*(?:is|is_deeply|ok|like|cmp_ok)\s?[($]"
)
_VALUE = re.compile(r"[A-Za-z0-9+/=_.~-]{12,}")
# Something computed with a key, or used for that, and a value as long as such values are.
_COMPUTED = re.compile(
    r"(?<![A-Za-z])(?i:iv|nonce|plain[_-]?text|cipher[_-]?text|hmac|mac|digest|hash|sig|signature|aad|mnemonic)\d{0,2}"
    r"['\"\])]{0,3}\s{0,4}(?::=|=>|[=:(,])\s{0,4}(?:\w{1,24}\()?[a-z]{0,2}['\"`][\w+/=-]{12}"
)
# What replaces the network or the environment: its values were never issued by a service.
_MOCKS = re.compile(
    r"\bmock\.patch|\bpatch\.(?:dict|object)|\bmonkeypatch\.|\bhttpretty\b|\brequests_mock\b|\bresponses\.(?:add|activate)|\brespx\b"
    r"|\bnock\(|\bstub_request\b|\bWebMock\b|\bMock(?:WebServer|Transport|Client|Mvc|Http)|\bhttptest\.New|\b[Ww]ire[Mm]ock\b"
    r"|\bsinon\.|\b(?:jest|vi)\.(?:fn|mock|spyOn)\b|\bMockito\b|\)\.thenReturn\("
)
# What a table of users holds instead of their passwords.
_DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128}")
_OF_A_PASSWORD = re.compile(r"(?i)pass|pwd")
_OF_A_SERVICE = re.compile(
    r"(?i)api|access|client|consumer|customer|auth|app|account|subscription|token|user|login|aws|bot|hook"
)


class Invented:
    """Which values of one text are invented; the signs are searched once, at the first question."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._expected: frozenset[str] | None = None
        self._computed: list[int] = []  # where something computed is, in order; the same for mocks
        self._mocks: list[int] = []

    def expects(self, start: int, value: str) -> bool:
        """Whether ``value``, in what begins at ``start``, is what a test expects, or has a name that says it is not
        real."""
        return self._is_said(value, self._name(self._at(start, value)))

    def holds(self, start: int, value: str) -> bool:
        """Whether ``value``, in what begins at ``start``, opens nothing."""
        at = self._at(start, value)
        end, name = at + len(value), self._name(at)
        return (
            self._is_said(value, name)
            or (_DIGEST.fullmatch(value) is not None and _OF_A_PASSWORD.search(name) is not None)
            or _is_near(self._mocks, start, end)
            or (bool(name) and not _OF_A_SERVICE.search(name) and _is_near(self._computed, start, end))
            or _GENERATED.search(self._text, max(0, start - BEFORE), end + 1) is not None
        )

    def _is_said(self, value: str, name: str) -> bool:
        if self._expected is None:
            self._expected = frozenset(
                one for line in self._text.split("\n") if _EXPECTS.search(line) for one in _VALUE.findall(line)
            )
            self._computed = [one.start() for one in _COMPUTED.finditer(self._text)]
            self._mocks = [one.start() for one in _MOCKS.finditer(self._text)]
        return value in self._expected or _OPENS_NOTHING.search(name) is not None

    def _name(self, at: int) -> str:
        """Return the name before a value, with what joins them."""
        match = _NAME.search(self._text, max(0, at - BEFORE), at)
        return match[0] if match else ""

    def _at(self, start: int, value: str) -> int:
        """Return where the value begins; a decoded value is not in the text as such."""
        return max(start, self._text.find(value, start, start + MAX_GIVEN))


def _is_near(places: list[int], start: int, end: int) -> bool:
    """Whether one of the places, which are in order, is near the text from ``start`` to ``end``."""
    at = bisect.bisect_left(places, start - NEAR)
    return at < len(places) and places[at] < end + NEAR
