"""What must never enter a prompt, a log or a training set: files by their names, and text by its look.

Everything that reads a workspace uses it. The tokens of services are recognised by their form, a password by the name
that it is assigned to, and a secret without a name by looking drawn rather than written. Tests and comments are full of
invented passwords: there a value must have a name *and* look drawn, and in documentation only the form counts.
``scripts/secret_scan.py`` measures both kinds of error, on planted keys and on the files of packages (docs/log.md).
"""

from __future__ import annotations

import base64
import binascii
import bisect
import fnmatch
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from midfill.context.example import Surroundings
from midfill.context.secrets_invented import Invented
from midfill.context.secrets_public import Public, in_base64
from midfill.context.secrets_values import (
    MIN_DRAWN,
    is_drawn,
    is_made_up,
    is_mixed,
    is_placeholder,
    is_random,
    is_sample,
    is_word,
)

# Names of files, and of folders with everything in them; compared in lower case.
DENIED_NAMES = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.ppk", "*.p8", "*.p12", "*.pfx", "*.jks", "*.keystore",
    "*.kdbx", "*.gpg", "*.pgp", "*.asc", "*.crt", "*.cer", "*.der", "*.ovpn", "*.tfvars", "*.tfvars.json",
    "*.tfstate", "*.tfstate.*", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "known_hosts", "authorized_keys",
    ".netrc", "_netrc", ".npmrc", ".pypirc", ".htpasswd", ".pgpass", ".my.cnf", ".git-credentials", ".dockercfg",
    "credentials", "credentials.*", "*_credentials.*", "*-credentials.*", "secret", "secret.*", "secrets",
    "secrets.*", "*_secrets.*", "*-secrets.*", "passwords.*", "passwd", "shadow", "service-account*.json",
    "service_account*.json", "local.settings.json", "appsettings.*.json", "*.sqlite", "*.db", "kubeconfig",
    "*.kubeconfig", "vault.yml", "vault.yaml",
)  # fmt: skip
DENIED_FOLDERS = (
    ".git", ".hg", ".svn", ".ssh", ".aws", ".azure", ".gcloud", ".gnupg", ".kube", ".docker", ".terraform",
    ".password-store", "secrets", ".secrets", "private_keys",
)  # fmt: skip

_DENIED_NAME = re.compile("|".join(fnmatch.translate(name) for name in DENIED_NAMES))
_DENIED_FOLDER = frozenset(DENIED_FOLDERS)

MAX_SCANNED = 1 << 18  # characters; a longer text counts as one with a secret
MIN_SHOWN = (
    24  # characters of a value in documentation that counts: of the password of an address or the token of a header
)
KEY_BODY = 120  # characters after a key's first line within which its body begins
MARGIN = 3  # lines on each side of a secret that go with it
MAX_BLOCK = 200  # lines of a key in a text


@dataclass(frozen=True, slots=True)
class Secret:
    """What looks like a secret, from ``start`` to ``end``; ``kind`` is a word for users."""

    kind: str
    start: int
    end: int


_Find = Callable[[str], Iterator[tuple[Secret, str]]]


def _form(kind: str, anchors: str, pattern: str) -> tuple[str, tuple[str, ...], re.Pattern[str]]:
    return kind, tuple(anchors.split()), re.compile(pattern)


# By kind: what a text must contain before the pattern is tried, and the pattern.
_FORMS = (
    _form("private key", "-----BEGIN",
          r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----"),
    _form("age key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{40,}"),
    _form("AWS", "AKIA ASIA AROA AIDA ABIA ACCA", r"\b(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _form(
        "GitHub", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    ),
    _form("GitLab", "glpat- gldt- glrt- glptt- glcbt-", r"\bgl(?:pat|dt|rt|ptt|cbt)-[\w-]{16,}"),
    _form("Slack", "xox hooks.slack.com xapp-", r"\bxox[abeoprs]-[\w-]{10,}|\bxapp-\d-[\w-]{16,}"
          r"|\bhooks\.slack\.com/(?:services|workflows)/T?\w{6,}/\w{6,}"),
    _form("Stripe", "k_live_ k_test_ whsec_", r"\b[rs]k_(?:live|test)_\w{10,}|\bwhsec_[A-Za-z0-9+/=]{24,}"),
    _form(
        "OpenAI or Anthropic", "sk-", r"\bsk-(?:ant-[\w-]{20,}|proj-[\w-]{20,}|svcacct-[\w-]{20,}"
        r"|(?=[A-Za-z_-]*\d)(?=[\w-]{0,40}[A-Za-z0-9]{16})[A-Za-z0-9_-]{20,})"
    ),
    _form("Google", "AIza ya29. GOCSPX-", r"\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}"),
    _form("Hugging Face", "hf_ api_org_", r"\bhf_[A-Za-z0-9]{30,}|\bapi_org_[A-Za-z0-9]{30,}"),
    _form("package registry", "npm_ pypi- rubygems_",
          r"\bnpm_[A-Za-z0-9]{30,}|\bpypi-[\w-]{50,}|\brubygems_[0-9a-f]{40,}"),
    _form("SendGrid", "SG.", r"\bSG\.[\w-]{16,80}\.[\w-]{16,}"),
    _form("Twilio", "SK AC", r"\b(?:SK|AC)[0-9a-f]{32}\b"),
    _form("mail service", "key- -us", r"\bkey-[0-9a-f]{32}\b|\b[0-9a-f]{32}-us\d{1,2}\b"),
    _form("Square", "sq0 EAAA", r"\bsq0(?:atp|csp|idp)-[\w-]{20,}|\bEAAA[\w-]{60}\b"),
    _form("Shopify", "shp", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b"),
    _form("Telegram", ":A", r"\b\d{8,10}:A[\w-]{34}\b"),
    _form("Discord", "discord M N O", r"\b[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,38}\b"
          r"|\bdiscord(?:app)?\.com/api/webhooks/\d{10,}/[\w-]{40,}"),
    _form("Azure", "AccountKey= SharedAccessKey= Q~", r"\b(?:Account|SharedAccess)Key=[A-Za-z0-9+/]{40,}={0,2}"
          r"|(?<![\w.~-])[\w.~-]{3}\dQ~[\w.~-]{31,34}(?![\w.~-])"),
    _form("cloud", "dop_v1_ doo_v1_ dor_v1_ LTAI sbp_ AKID", r"\bdo[opr]_v1_[0-9a-f]{64}\b|\bLTAI[A-Za-z0-9]{17,24}\b"
          r"|\bsbp_[0-9a-f]{40}\b|\bAKID[A-Za-z0-9]{32}\b"),
    _form("Databricks", "dapi", r"\bdapi[0-9a-f]{32}(?:-\d)?\b"),
    _form("Facebook", "EAACEdEose0cBA", r"\bEAACEdEose0cBA\w+"),
    _form("Linear", "lin_", r"\blin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    _form("Notion", "secret_ ntn_", r"\bsecret_[A-Za-z0-9]{43}\b|\bntn_[A-Za-z0-9]{40,}"),
    _form("monitoring", "NRAK- NRAA- glsa_ glc_ sntrys_ sntryu_ eyJrIjoi", r"\bNR(?:AK|AA)-[A-Z0-9]{27}\b"
          r"|\bglsa_[A-Za-z0-9]{32}_[0-9a-f]{8}\b|\bglc_[A-Za-z0-9+/]{32,}|\bsntry[su]_[\w+/=-]{40,}|\beyJrIjoi[\w=]{40,}"),
    _form("HashiCorp", "hvs. hvb. atlasv1", r"\bhv[sb]\.[\w-]{20,}|\b[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{50,}"),
    _form("secret manager", "dp. pul- ops_", r"\bdp\.(?:pt|st|sa|ct)\.[A-Za-z0-9_.-]{40,}|\bpul-[0-9a-f]{40}\b"
          r"|\bops_eyJ[\w-]{60,}"),
    _form("developer service", "PMAK- ATATT3 ATCTT3 dckr_pat_ pscale_ AKCp ddp_ figd_ shippo_ sl.",
          r"\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}\b|\bAT[AC]TT3[\w=-]{60,}|\bdckr_pat_[\w-]{24,}"
          r"|\bpscale_(?:tkn|oauth|pw)_[\w.=-]{30,}"
          r"|\bAKCp[A-Za-z0-9]{60,}|\bfigd_[\w-]{36,}|\bshippo_(?:live|test)_[0-9a-f]{40}\b|\bsl\.[\w=-]{120,}"),
    _form("JSON web token", "eyJ", r"\beyJ[\w-]{10,2000}\.[\w-]{10,4000}\."),
    _form(
        "URL with a password", "://",
        r"\b(?P<scheme>[a-z][a-z0-9+.-]{1,20})://(?P<user>[^\s/:@'\"<>{}()]{1,64}):"
        r"(?P<value>[^\s/@'\"{}$<>%()\\*\[\]|]{6,64})@[\w\[]"
    ),
    _form(
        "authorization header", "uthorization UTHORIZATION",
        r"(?i)\b(?:authorization|proxy-authorization)\b['\"]?\]?\s*[:=]\s*['\"]?(?:basic|bearer|token)\s+"
        r"(?P<value>[\w+/=.-]{8,})"
    ),
    _form("registry login", "_authToken _auth _password",
          r"_(?:authToken|auth|password)\s*=\s*(?P<value>(?=[\w+/=.-]*\d)[\w+/=-]{16,}+)(?![(.\[])"),
)  # fmt: skip
# A name that shows what it holds, and a literal that is assigned to it.
_GIVEN = (
    r"(?P<more>s?[\w-]{0,24})(?:['\"\])]{0,3}\s{0,4}(?:=>|:=|=|:)|[ \t]{0,4}:[ \t]{0,4}[\w\[\], .|]{1,30}=)"
    r"\s{0,4}[a-z]{0,2}(?P<quote>['\"`])"
    r"(?P<value>[^'\"`\n\\]{6,200})(?P=quote)"
)
_PASSWORD = re.compile(r"(?i)(?:pass(?:word|wd|phrase|(?![a-z]))|pwd)" + _GIVEN)
_OVER = re.compile(
    r"(?i)(?:com|by|low|high|band|all|over|under|tres|sur|(?:render|shad(?:er|ow)|depth|color|compute|post|pre|multi|single|one|two"
    r"|first|second|last|compiler|module|function|loop)[-_ ]?)pass\Z"
)
_BARE_PASS = re.compile(r"(?i)(?<![\w-])pass(?![\w-])")
_TOKEN = re.compile(
    r"(?i)(?:secret|(?<!publickey)token(?!i[sz])|(?:api|access|private|auth|account|signing|encryption|app|subscription|client)[_-]?key"
    r"|credential|salt)" + _GIVEN
)
_TOKEN_WORDS = ("secret", "token", "key", "credential", "salt")
# A line of an environment or settings file: a name in capitals, followed by a value without quotes.
_UNQUOTED = re.compile(
    r"(?m)^[ \t]*(?:export[ \t]+|ENV[ \t]+|-[ \t]+|set[ \t]+)?[A-Z0-9_]{0,40}"
    r"(?:PASSWORD|PASSWD|SECRET|TOKEN(?!IZ)|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET_?KEY)[A-Z0-9_]{0,20}"
    r"[ \t]{0,2}[=:][ \t]{0,2}"
    r"(?P<value>(?=[A-Za-z+/=_~-]*\d)[A-Za-z0-9+/=_~-]{12,200})[ \t]*$"
)
_LITERAL = re.compile(r"(?P<quote>['\"`])(?P<value>[A-Za-z0-9+/=_-]{24,72})(?P=quote)")
# A line that continues on the next one; in quotes, with an escaped line end.
_GOES_ON = re.compile(r"\Z|\r?\n|(?:\\r)?\\n(?![\"'`])")
# What may replace a key's body: less than a row of it, a mark for an omission, a template, or characters that no body
# has.
_LEFT_OUT = re.compile(
    r"(?:\s|\\n|#|//){1,8}(?:(?:[A-Za-z0-9+/=]{4,80}(?:\s|\\n|#|//){0,8}){0,2}(?:\.{3}|\[\.{3}\]|<|…)"
    r"|[${%]|([Xx*.])\1{3}|[^\s\"'`\\*!;]{1,64}[()&@*!;])"
)
_KEY_BODY = re.compile(r"[A-Za-z0-9+/]{40}")  # its lines are of 64 characters or more
_SIGNATURE = re.compile(r"[\w-]*")
_USER_AND_PASSWORD = re.compile(r"[^\s:\"{}]+:[^\s:\"{}]+")
_CHOICE = re.compile(r"\?\s{0,40}['\"][^'\"\n]{0,16}\Z")
_CLIENT_ID = re.compile(r"(?i)client[_-]?id\Z")
_CURSOR = re.compile(r"(?i)(?:page|next|prev(?:ious)?|continu(?:e|ation)|cursor|sync|resume)[_ -]?token\Z")


def is_denied(path: str) -> bool:
    """Whether a file must not be read, by its path ("/" separated)."""
    *folders, name = path.lower().split("/")
    return _DENIED_NAME.match(name) is not None or any(folder in _DENIED_FOLDER for folder in folders)


def has_secret(text: str, path: str = "") -> bool:
    """Whether ``text`` seems to hold a key, a token or a password; ``path`` is its file."""
    return len(text) > MAX_SCANNED or next(found(text, path), None) is not None


def without_secrets(text: str, path: str = "") -> tuple[str, int]:
    """Return ``text`` without the lines that seem to hold a secret and those around them; and how many were removed."""
    rows: set[int] = set()
    lines = text.split("\n")
    starts = list(itertools.accumulate((len(line) + 1 for line in lines), initial=0))
    for secret in found(text, path):
        first, last = (bisect.bisect_right(starts, at) - 1 for at in (secret.start, secret.end))
        if secret.kind == "private key":
            last = _end_of_block(lines, first)
        rows.update(range(max(0, first - MARGIN), min(last + MARGIN + 1, len(lines))))
    return "\n".join(line for at, line in enumerate(lines) if at not in rows) if rows else text, len(rows)


def _end_of_block(lines: list[str], first: int) -> int:
    """Return the line that ends the key which begins on line ``first``."""
    rest = range(first, min(first + MAX_BLOCK, len(lines)))
    return next((at for at in rest if "-----END" in lines[at]), first if "\\n" in lines[first] else rest[-1])


def found(text: str, path: str = "") -> Iterator[Secret]:
    """Yield what looks like a secret in ``text`` of the file ``path``; one may be found twice."""
    around = Surroundings(text, path)
    invented = Invented(text)
    for find in (_by_form, _by_name, _by_look):
        for secret, value in find(text):
            if value:
                place = around.at(secret.start)
                opens = _counts(value, find, place) and not (place == "example" and invented.holds(secret.start, value))
            else:
                is_expected = secret.kind == "JSON web token" and invented.expects(secret.start, _signed(text, secret))
                opens = not (is_expected and around.at(secret.start) == "example")
            if opens:
                yield secret


def _signed(text: str, token: Secret) -> str:
    """Return the token with its signature."""
    match = _SIGNATURE.match(text, token.end)
    return text[token.start : match.end() if match else token.end]


def _counts(value: str, find: _Find, place: str) -> bool:
    """Whether ``value``, which has no form of its own, is more than an example of its ``place``."""
    if place == "documentation":
        return find is _by_form and len(value) >= MIN_SHOWN and is_drawn(value)
    return place == "code" or (find is not _by_look and is_drawn(value))


def _by_form(text: str) -> Iterator[tuple[Secret, str]]:
    """Yield what services issue; with a value if only a part of it is secret and has no form of its own."""
    for kind, anchors, pattern in _FORMS:
        if any(anchor in text for anchor in anchors):
            for match in pattern.finditer(text):
                parts = match.groupdict()
                value = _decoded(parts.get("value") or "")
                if (
                    not (is_placeholder(value) if value else is_made_up(match[0]))
                    and (_has_body(text, match.end()) if kind == "private key" else not _is_default(parts))
                    and not (kind == "JSON web token" and is_sample(match[0]))
                    and not (kind == "registry login" and is_word(value))
                ):
                    yield Secret(kind, match.start(), match.end()), value


def _by_name(text: str) -> Iterator[tuple[Secret, str]]:
    """Yield values of names that mean a secret, but not of names for a position in a list."""
    lowered = text.lower()
    for match in _PASSWORD.finditer(text) if "pass" in lowered or "pwd" in lowered else ():
        value = match["value"]
        if not is_placeholder(value) and not (_is_of_something(match) and is_word(value)) and not _is_choice(match):
            yield Secret("password", match.start(), match.end()), value
    for match in _TOKEN.finditer(text) if any(word in lowered for word in _TOKEN_WORDS) else ():
        if not is_placeholder(match["value"]) and not is_word(match["value"]) and not _is_public(match):
            yield Secret("token", match.start(), match.end()), match["value"]
    for match in _UNQUOTED.finditer(text):
        if not is_placeholder(match["value"]) and not is_word(match["value"]) and is_mixed(match["value"]):
            yield Secret("setting", match.start(), match.end()), match["value"]


def _is_of_something(match: re.Match[str]) -> bool:
    """Whether the name continues after the word ("passwordField"), or is "pass" alone or part of another word
    ("bypass"), which may also be a pass over something: neither needs to hold a password."""
    is_bare = _BARE_PASS.match(match.string, match.start()) is not None and len(match["value"]) < MIN_DRAWN
    is_over = _OVER.search(match.string, max(0, match.start() - 20), match.start() + len("pass")) is not None
    return is_bare or is_over or bool(match["more"].strip("s_-"))


def _is_choice(match: re.Match[str]) -> bool:
    """Whether the name is the first of two texts that code chooses between: ``is_long ? "password" : "passcode"``."""
    return _CHOICE.search(match.string, max(0, match.start() - 60), match.start()) is not None


def _is_public(match: re.Match[str]) -> bool:
    """Whether the name is that of a page of a list, where a token says which page comes next, or of a client's public
    id."""
    is_cursor = _CURSOR.search(match.string, max(0, match.start() - 20), match.start() + len("token")) is not None
    return is_cursor or _CLIENT_ID.search(match["more"]) is not None


def _by_look(text: str) -> Iterator[tuple[Secret, str]]:
    """Yield literals without a name that look drawn; a short one only if its line mentions something that needs a
    key."""
    public = Public(text)
    for match in _LITERAL.finditer(text):
        value = match["value"]
        if is_random(value) and not _is_encoded_text(value) and not public.holds(match.start(), value):
            yield Secret("random text", match.start(), match.end()), value


def _is_encoded_text(value: str) -> bool:
    """Whether it is a text in base 64 that contains neither something drawn nor a name and its password."""
    text = in_base64(value)
    return (
        bool(text)
        and not _USER_AND_PASSWORD.fullmatch(text)
        and not any(map(is_random, re.findall(r"[\w+/-]{12,}", text)))
    )


def _has_body(text: str, end: int) -> bool:
    """Whether a key follows its first line, which ended at ``end``; code that reads keys has only that line, and
    documentation leaves out the middle."""
    if _LEFT_OUT.match(text, end):
        return False
    return (_GOES_ON.match(text, end) or _KEY_BODY.search(text, end, end + KEY_BODY)) is not None


def _is_default(parts: dict[str, str | None]) -> bool:
    """Whether the password of an address is its user or its service: ``postgres://app:app@``."""
    value, user, scheme = (parts.get(name) or "" for name in ("value", "user", "scheme"))
    return bool(user) and (value == user or scheme.startswith(value))


def _decoded(value: str) -> str:
    """Return the password of a basic authorization; any other value unchanged."""
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return value
    return password if colon and user.isprintable() and password else value
