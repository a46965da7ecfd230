"""What a test made for itself and opens nothing, though it looks drawn: vectors, results, what mocks are given.

``secrets`` asks about a named value of a test that has no form of its own; what services hand out it knows by its form.
"""

from __future__ import annotations

import bisect
import re

BEFORE = 60  # characters before a value that hold its name
MAX_GIVEN = 600  # characters of a name, a value and what joins them
NEAR = 400  # characters on each side within which a result of a key stands, or a mock that is given it

_NAME = re.compile(r"[\w-]+['\"\])]{0,3}\s{0,4}(?::=|=>|[=:(])[\s(]{0,24}[a-z]{0,2}['\"`]?\Z")
# What a name says of a value that opens nothing, or is public beside a hash; a word of its own in each spelling.
_SAYS = (
    "fake", "mock", "mocked", "dummy", "sample", "example", "invalid", "wrong", "bad", "bogus", "expired", "revoked",
    "expected", "public", "salt",
)  # fmt: skip
_OPENS_NOTHING = re.compile(
    rf"(?<![A-Za-z])(?:{'|'.join(_SAYS)})(?![a-z])|(?<![A-Za-z])(?:{'|'.join(map(str.upper, _SAYS))})(?![A-Za-z])"
    rf"|(?:{'|'.join(map(str.title, _SAYS))})(?![a-z])"
)
# Keys that a framework's generator writes into each new application, of which a test has one that is never deployed.
_GENERATED = re.compile(
    r"SECRET_KEY['\"]?\]?\s{0,4}[=:]\s{0,4}[a-z]?['\"][a-z0-9!@#$%^&*(\-_=+)]{50}['\"]"
    r"|secret_(?:key_base|token)['\"]?\]?\s{0,4}(?:=>|[=:(,])\s{0,4}['\"]?(?:[0-9a-f]{30}|[0-9a-f]{128})(?:['\"\n]|\Z)"
)
# A line that compares what came out with what should have.
_EXPECTS = re.compile(
    r"\bassert\w*[\s(.!]|\b(?:EXPECT|ASSERT|REQUIRE|CHECK)(?:_\w+)?\s?\(|\b(?:expect\w*|verify|(?:deep|strict)?[eE]quals?)\s?[(!]"
    r"|[=!]=|\bEqual\w*\(|\.to\.|\.should\b|\bshould[.(]|^\s*(?:is|is_deeply|ok|like|cmp_ok)\s?[($]"
)
_VALUE = re.compile(r"[A-Za-z0-9+/=_.~-]{12,}")
# What is computed with a key, or goes into that, and a value as long as such things are.
_COMPUTED = re.compile(
    r"(?<![A-Za-z])(?i:iv|nonce|plain[_-]?text|cipher[_-]?text|hmac|mac|digest|hash|sig|signature|aad|mnemonic)\d{0,2}"
    r"['\"\])]{0,3}\s{0,4}(?::=|=>|[=:(,])\s{0,4}(?:\w{1,24}\()?[a-z]{0,2}['\"`][\w+/=-]{12}"
)
# What stands in for the network or the environment: what it is given was never handed out by a service.
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
    """What is invented of one text; what tells is looked for once, at the first question."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._expected: frozenset[str] | None = None
        self._computed: list[int] = []  # where something computed stands, in order; the same for mocks
        self._mocks: list[int] = []

    def expects(self, start: int, value: str) -> bool:
        """Whether ``value``, in what begins at ``start``, is what a test expects, or named as no real one."""
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
        """The name before a value, with what joins them."""
        match = _NAME.search(self._text, max(0, at - BEFORE), at)
        return match[0] if match else ""

    def _at(self, start: int, value: str) -> int:
        """Where the value begins; what was decoded is not there as such."""
        return max(start, self._text.find(value, start, start + MAX_GIVEN))


def _is_near(places: list[int], start: int, end: int) -> bool:
    """Whether one of the places, which are in order, is near to what stands from ``start`` to ``end``."""
    at = bisect.bisect_left(places, start - NEAR)
    return at < len(places) and places[at] < end + NEAR
