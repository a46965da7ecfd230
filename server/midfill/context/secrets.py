"""What must never enter a prompt, a log or a training set: files by their names, and text by its look.

Two lists, used by everything that reads a workspace. Both are meant to say yes too often rather than too seldom: a
lost snippet costs a hint.
"""

from __future__ import annotations

import fnmatch
import itertools
import re

# Names of files, and of folders with all that is in them; compared in lower case.
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

_SECRETS = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY|CERTIFICATE|PGP)",
        r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}",
        r"\bxox[abeoprs]-[\w-]{10,}|\bhooks\.slack\.com/services/\w",
        r"\bsk-[A-Za-z0-9_-]{20,}|\b[rsp]k_(?:live|test)_\w{10,}|\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}",
        r"\bhf_[A-Za-z0-9]{20,}|\bnpm_[A-Za-z0-9]{30,}|\bpypi-[\w-]{30,}|\bSG\.[\w-]{16,80}\.[\w-]{16,}",
        r"\beyJ[\w-]{10,400}\.[\w-]{10,400}\.",  # a JSON web token
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"]{1,64}:[^\s/@'\"{}$<%]{3,}@",  # a URL with a password
        r"(?i)\b(?:authorization|proxy-authorization)\b['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token)\s+[\w+/=.-]{8,}",
    )
)
# A name that says what it holds, and a literal that is given to it.
_GIVEN = (
    r"s?[\w-]{0,24}['\"\])]{0,3}\s{0,4}(?::\s{0,4}[\w\[\], .|]{1,30})?(?:=>|:=|=|:)\s{0,4}[a-z]{0,2}['\"`]"
    r"(?P<value>[^'\"`\n]{6,})['\"`]"
)
_PASSWORD = re.compile(r"(?i)(?:pass(?:word|wd|phrase)?|pwd)" + _GIVEN)
_TOKEN = re.compile(
    r"(?i)(?:secret|token|(?:api|access|private|auth|account|signing)[_-]?key|credential|salt)" + _GIVEN
)
_LITERAL = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
MAX_SCANNED = 1 << 18  # characters; a longer text counts as one with a secret


def is_denied(path: str) -> bool:
    """Whether a file must not be read, by its path ("/" separated)."""
    *folders, name = path.lower().split("/")
    return _DENIED_NAME.match(name) is not None or any(folder in _DENIED_FOLDER for folder in folders)


def has_secret(text: str) -> bool:
    """Whether ``text`` looks as if it held a key, a token or a password."""
    if len(text) > MAX_SCANNED:
        return True
    if any(pattern.search(text) for pattern in _SECRETS):
        return True
    if any(not _is_placeholder(match["value"]) for match in _PASSWORD.finditer(text)):
        return True
    if any(not _is_placeholder(match["value"]) and not _is_word(match["value"]) for match in _TOKEN.finditer(text)):
        return True
    return any(_is_random(match[0]) for match in _LITERAL.finditer(text))


def _is_placeholder(value: str) -> bool:
    """Words with spaces, a reference or a name: prose and code around secrets, not a secret."""
    return value.startswith(("$", "{", "<", "%")) or " " in value.strip() or len(set(value)) < 4


def _is_word(value: str) -> bool:
    """A token may also be one of a language, and a secret's name stands beside its kind."""
    return len(value) < 20 and not any(char.isdigit() for char in value)


def _is_random(word: str) -> bool:
    """Whether a long run of letters and digits was drawn rather than named.

    A name changes from small to capital letters, or between letters and digits, once a part; a key at every second or
    third character.
    """
    if not any(map(str.isdigit, word)) or not any(map(str.isalpha, word)):
        return False
    if re.fullmatch(r"[0-9a-fA-F]{32,}", word):
        return len(set(word)) >= 8
    has_small = any(map(str.islower, word))
    n_breaks = sum(_is_break(a, b, has_small) for a, b in itertools.pairwise(word))
    return n_breaks > len(word) / 3


def _is_break(a: str, b: str, has_small: bool) -> bool:
    return a.isdigit() != b.isdigit() or (has_small and b.isupper() and a not in "_-/")
