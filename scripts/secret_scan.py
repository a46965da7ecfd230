"""Measure how well the secret scan tells keys from code: how many planted keys it finds, and which files it suspects.

    python scripts/secret_scan.py [--each 200] [--seed 1] [--all] [FOLDER...]

The planted keys are invented in the formats of more than thirty services (those of gitleaks' and detect-secrets'
rules), on lines as people write them. Each subfolder of a FOLDER counts as a package, as in ``site-packages`` or
``node_modules``. Of each package the first 60 files in a language that context is gathered from are scanned; with
``--all``, every file in a known language. Prints a table, then the suspected files; the last line is JSON. Files that
hold a whole private key, as tests of TLS do, are counted separately: they are no false alarms.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import random
import re
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from midfill.context import secrets
from midfill.context.walk import readable
from midfill.syntax import languages

MAX_FILES = 60  # of one package
HEX, UPPER = "0123456789abcdef", string.ascii_uppercase
ALNUM = string.ascii_letters + string.digits
WORD = ALNUM + "_-"
# A line of base 64 and the end, with any quotes and indentation of a language between them.
WHOLE_KEY = re.compile(
    r"-----BEGIN [^-]*PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,400}?[A-Za-z0-9+/]{40,}[^-]*-----END"
)
Make = Callable[[random.Random], str]

# Lines around a key whose form identifies it, and around one that only its name identifies.
LINES = ("key = '{}'\n", 'const client = new Client("{}");\n', "# old: {}\n", "  value: {}\n", "run --with {} --now\n")
NAMED = ("API_KEY = '{}'\n", 'secret_key: "{}",\n', '  "access_token": "{}",\n', "export APP_SECRET={}\n")


def of(n: int, chars: str, before: str = "", after: str = "") -> Make:
    """Return a maker of ``n`` characters between two fixed texts."""
    return lambda rng: before + "".join(rng.choices(chars, k=n)) + after


def jwt(rng: random.Random) -> str:
    """Return a JSON web token."""
    parts = ('{"alg":"HS256","typ":"JWT"}', json.dumps({"sub": str(rng.random()), "iat": rng.randrange(10**9)}))
    head, body = (base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.{of(43, WORD)(rng)}"


KINDS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "AWS access key": (of(16, UPPER + "234567", "AKIA"), LINES),
    "AWS secret key": (of(40, ALNUM + "/+"), ("aws_secret_access_key = '{}'\n", "AWS_SECRET_ACCESS_KEY={}\n")),
    "GitHub token": (of(36, ALNUM, "ghp_"), LINES),
    "GitHub fine-grained": (lambda rng: f"github_pat_{of(22, ALNUM)(rng)}_{of(59, ALNUM)(rng)}", LINES),
    "GitLab token": (of(20, WORD, "glpat-"), LINES),
    "Slack bot": (lambda rng: f"xoxb-{of(12, string.digits)(rng)}-{of(24, ALNUM)(rng)}", LINES),
    "Slack webhook": (
        lambda rng: f"https://hooks.slack.com/services/T{of(8, UPPER)(rng)}/B{of(8, UPPER)(rng)}/{of(24, ALNUM)(rng)}",
        LINES,
    ),
    "Stripe": (of(24, ALNUM, "sk_live_"), LINES),
    "OpenAI": (lambda rng: f"sk-{of(20, ALNUM)(rng)}T3BlbkFJ{of(20, ALNUM)(rng)}", LINES),
    "OpenAI project": (of(60, WORD, "sk-proj-"), LINES),
    "Anthropic": (of(93, WORD, "sk-ant-api03-", "AA"), LINES),
    "Google API": (of(35, WORD, "AIza"), LINES),
    "Google OAuth": (of(28, WORD, "GOCSPX-"), LINES),
    "Hugging Face": (of(34, ALNUM, "hf_"), LINES),
    "npm": (of(36, ALNUM, "npm_"), LINES),
    "PyPI": (of(60, WORD, "pypi-AgEIcHlwaS5vcmc"), LINES),
    "RubyGems": (of(48, HEX, "rubygems_"), LINES),
    "SendGrid": (lambda rng: f"SG.{of(22, WORD)(rng)}.{of(43, WORD)(rng)}", LINES),
    "Twilio": (of(32, HEX, "SK"), LINES),
    "Mailgun": (of(32, HEX, "key-"), LINES),
    "Mailchimp": (of(32, HEX, "", "-us12"), LINES),
    "Square": (of(22, WORD, "sq0atp-"), LINES),
    "Shopify": (of(32, HEX, "shpat_"), LINES),
    "Telegram bot": (of(34, WORD, "1234509876:A"), LINES),
    "Discord bot": (lambda rng: f"M{of(23, ALNUM)(rng)}.{of(6, WORD)(rng)}.{of(26, ALNUM)(rng)}A", LINES),
    "Azure storage": (of(86, ALNUM + "+/", "AccountKey=", "=="), LINES),
    "Azure AD": (lambda rng: f"{of(3, ALNUM)(rng)}8Q~{of(34, ALNUM)(rng)}", LINES),
    "DigitalOcean": (of(64, HEX, "dop_v1_"), LINES),
    "Databricks": (of(32, HEX, "dapi"), LINES),
    "Facebook": (of(60, ALNUM, "EAACEdEose0cBA"), LINES),
    "Linear": (of(40, ALNUM, "lin_api_"), LINES),
    "Notion": (of(46, ALNUM, "ntn_"), LINES),
    "New Relic": (of(27, UPPER + string.digits, "NRAK-"), LINES),
    "Grafana": (lambda rng: f"glsa_{of(32, ALNUM)(rng)}_{of(8, HEX)(rng)}", LINES),
    "Vault": (of(95, WORD, "hvs."), LINES),
    "Terraform": (lambda rng: f"{of(14, ALNUM)(rng)}.atlasv1.{of(64, WORD)(rng)}", LINES),
    "Doppler": (of(43, ALNUM, "dp.pt."), LINES),
    "Postman": (lambda rng: f"PMAK-{of(24, HEX)(rng)}-{of(34, HEX)(rng)}", LINES),
    "Atlassian": (of(180, WORD, "ATATT3"), LINES),
    "Docker": (of(27, WORD, "dckr_pat_"), LINES),
    "Alibaba": (of(20, ALNUM, "LTAI"), LINES),
    "age": (of(58, UPPER + string.digits, "AGE-SECRET-KEY-1"), LINES),
    "JSON web token": (jwt, LINES),
    "private key": (of(60, ALNUM, "-----BEGIN RSA PRIVATE KEY-----\n", "\n-----END RSA PRIVATE KEY-----"), ("{}\n",)),
    "URL with a password": (of(14, ALNUM, "postgres://app:", "@db.internal:5432/x"), LINES),
    "bearer header": (of(32, ALNUM), ("headers = {{'Authorization': 'Bearer {}'}}\n", 'Authorization: "Token {}"\n')),
    "registry login": (of(36, HEX), ("//registry.local/:_authToken={}\n",)),
    "key by its name, letters": (of(32, ALNUM), NAMED),
    "key by its name, hex": (of(40, HEX), NAMED),
    "password": (
        of(12, ALNUM + "!#-"),
        ("password = '{}'\n", '"db_password": "{}",\n', "connect(user, passwd='{}')\n"),
    ),
    "random text": (of(40, ALNUM), ("value = '{}'\n", 'f(a, "{}")\n')),
}


def planted(each: int, seed: int, path: str = "a.py") -> dict[str, float]:
    """Return the share of keys that is found in a file with this name, by kind."""
    rng = random.Random(seed)  # noqa: S311
    return {
        kind: sum(secrets.has_secret(rng.choice(lines).format(make(rng)), path) for _ in range(each)) / each
        for kind, (make, lines) in KINDS.items()
    }


def texts(folder: Path, is_all: bool) -> Iterator[tuple[Path, str]]:
    """Yield the source files of one package; every text of a known language if ``is_all``."""
    language_of = languages.of_path if is_all else languages.indexed
    n = 0
    for file in sorted(folder.rglob("*")):
        if n >= MAX_FILES and not is_all:
            return
        if not file.is_file() or not language_of(file.name) or secrets.is_denied(file.name):
            continue
        if (text := readable(file.read_bytes())) is not None:
            n += 1
            yield file, text


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--each", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="scan every file in a known language")
    options = parser.parse_args()
    shares = planted(options.each, options.seed)
    for kind, share in sorted(shares.items(), key=lambda pair: pair[1]):
        print(f"{share:7.1%}  {kind}")
    packages = [one for folder in options.folders for one in sorted(folder.iterdir()) if one.is_dir()]
    n_files = n_packages = n_alarms = n_keys = 0
    for package in packages:
        n_before = n_files
        for file, text in texts(package, options.all):
            n_files += 1
            for first in itertools.islice(secrets.found(text, file.relative_to(package).as_posix()), 1):
                is_key = WHOLE_KEY.match(text, first.start) is not None
                n_keys, n_alarms = n_keys + is_key, n_alarms + (not is_key)
                said = "(whole)" if is_key else " ".join(text[first.start : first.end].split())[:70]
                print(f"{first.kind:20} {str(file)[-60:]:60} {said}", file=sys.stderr)
        n_packages += n_files > n_before
    mean = sum(shares.values()) / len(shares)
    in_tests = planted(options.each, options.seed, "tests/test_a.py")
    print(json.dumps({
        "command": "secret_scan", "kinds": len(shares), "found": round(mean, 4),
        "least": round(min(shares.values()), 4), "found_in_tests": round(sum(in_tests.values()) / len(in_tests), 4),
        "not_in_tests": [kind for kind, share in in_tests.items() if share < 0.95],
        "packages": n_packages, "files": n_files, "alarms": n_alarms, "whole_keys": n_keys,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
