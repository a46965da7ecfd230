"""Which files and texts never enter the index: names of secret files, and texts that look like keys. The keys here are
made up."""

from __future__ import annotations

import random
import string

import pytest

from midfill.context.choose import choose
from midfill.context.secrets import has_secret, is_denied, without_secrets
from midfill.context.sources.opened import MAX_DOCUMENTS
from scripts import secret_scan
from tests.context.made import focus_at, view_of


@pytest.mark.parametrize(
    "path",
    [
        ".env", "a/.env.local", "prod.env", "server.pem", "id_rsa", "id_ed25519.pub", "a/credentials.py",
        "terraform.tfvars", ".npmrc", ".netrc", "a/.ssh/config.py", ".aws/x.py", "My-Credentials.json".lower(),
        "SECRETS.PY", "x/secrets.py", "service-account-7.json", "a/secrets/b.py", ".git/hooks/x.py", "db.kdbx",
        "local.settings.json",
    ],
)  # fmt: skip
def test_denied(path: str) -> None:
    assert is_denied(path)


@pytest.mark.parametrize(
    "path", ["a.py", "environment.py", "keys.py", "secret_santa/a.py", "tokenizer.py", "a/env/b.py"]
)
def test_not_denied(path: str) -> None:
    assert not is_denied(path)


KEY = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=40))


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", f"key = 'AKIA{'Q7' * 8}'",
        "x = 'ghp_" + "a1" * 18 + "'",
        'password = "hunter2x"', "DB_PASSWORD: 'correcthorse'", "passwd='abcdef'", 'self.api_key = "abc123def456"',
        '"client_secret": "abcDEF123456"', "Authorization: Bearer abcdefghijkl", "postgres://user:pa55word@host/db",
        'TOKEN: str = "x8Zk2Lm9"', f"value = '{KEY}'", "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0NTY3.abc", "sk-" + "a1B2" * 8,
    ],
)  # fmt: skip
def test_a_secret(text: str) -> None:
    assert has_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "def get_token(self) -> str: ...", "password: str", "token = self.next_token()", "password = getpass()",
        "TOKEN = 'name'", "token_type = 'identifier'", "https://example.org/a/b?c=d", "password = '$PASSWORD'",
        "class InternationalizationConfigurationProvider2Factory:", "secret = os.environ['SECRET']",
        "def f(password='')", "a = 'some words and more words'", "MAX_NUMBER_OF_ENTRIES_IN_TABLE_2",
        "digest = '9f86d081884c7d659a2feaa0c55ad015'",
        "chars = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'",
        "x = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/='",
        "k = '0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz-_'",
        "password = 'your-password'", "API_KEY = 'YOUR_API_KEY_HERE_1'",
        "integrity: 'sha512-Xf1Kq9Zt0Lm3Bv7Hc2Rw8Yd5Ns4Gp6Jq'",
        "url = f'https://{user}:{password}@host'", "this_is_a_long_name_with_many_words_and_2_digits",
    ],
)  # fmt: skip
def test_no_secret(text: str) -> None:
    assert not has_secret(text)


@pytest.mark.parametrize(
    "piece", ["eyJ", "-----BEGIN ", "password", "a://", "token: ", "xxxxxxx.", "SG.aaaaaaaaaaaaaaaa", "'"]
)
def test_endless_texts_are_judged(piece: str) -> None:
    assert has_secret(piece * 20_000) in (True, False)


@pytest.mark.parametrize(
    "piece", ["/*\n", '"""\n', "#\n", "<!--", "///\n", ":\n'''\n", "\n  ", "token = 'a1b2c3d4e5'\n"]
)
def test_endless_surroundings_are_judged(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    assert len(without_secrets(f"{text}\n}}\n{{\npassword = 'hunter2x'\n", "a.py")) == 2


DRAWN = "q7Rt2Zk9Wm4Xv8Lp"
DATA = "lObeZJorGVyeSWUA8khTO/8UCzFVBY9g0MGU6/J3NN1R5x11dn2JIA=="


@pytest.mark.parametrize(
    ("path", "text", "is_secret"),
    [
        # A test's invented passwords; what may be a real one; what a service has handed out.
        ("a.py", "password = 'hunter2x'", True),
        ("tests/test_a.py", "password = 'hunter2x'", False),
        ("tests/test_a.py", f"password = '{DRAWN}'", True),
        ("tests/test_a.py", f"value = '{KEY}'", False),
        ("a.py", f"value = '{KEY}'", True),
        ("tests/test_a.py", "x = 'ghp_" + "a1" * 18 + "'", True),
        ("tests/test_a.py", f"-----BEGIN RSA PRIVATE KEY-----\n{KEY * 2}\n-----END RSA PRIVATE KEY-----", True),
        ("tests/a.py", "connect('postgres://me:sesame7@host/')", False),
        ("a.py", "connect('postgres://me:sesame7@host/')", True),
        ("a.rs", f'#[cfg(test)]\nmod tests {{\n    let a = f("{KEY}");\n}}\n', False),
        ("a.rs", f'let a = f("{KEY}");\n#[cfg(test)]\nmod tests {{\n}}\n', True),
        # Comments: a name and a drawn value. Documentation: a form.
        ("a.py", f"# one\n# token = '{DRAWN}'\n# three\n", True),
        ("a.py", "# one\n# token = 'abc123def'\n# three\n", False),
        ("a.py", "# token = 'abc123def'\n", True),
        ("a.py", f'def f():\n    """A.\n\n    token = "{DRAWN}"\n    """\n', False),
        ("a.py", f'def f():\n    """A."""\n    token = "{DRAWN}"\n', True),
        ("a.py", 'def f():\n    """A.\n\n    x = "ghp_' + "a1" * 18 + '"\n    """\n', True),
        ("a.py", 'def f():\n    """A.\n\n    Authorization: Bearer mF_9.B5f-4.1JqM\n    """\n', False),
        ("a.c", "/* postgres://me:sesame7@host/ */\n", False),
        ("a.go", f'/*\nkey "{KEY}"\n*/\n', False),
        # Data in base 64 without a name; the same behind one.
        ("a.js", f'add("{DATA}")', False),
        ("a.js", f'tsigSecret: {{"axfr.": "{DATA}"}}', True),
        # A key's first line in code that reads keys.
        ("a.js", "const a = '-----BEGIN RSA PRIVATE KEY-----';\nconst b = '-----END RSA PRIVATE KEY-----';\n", False),
        ("a.js", r"if (/-----BEGIN RSA PRIVATE KEY-----\s*([A-Za-z0-9]+)/.test(a)) {", False),
        ("a.go", 'if line == "-----BEGIN PRIVATE KEY-----\\n" {\n', False),
        ("a.js", f"const a = '-----BEGIN RSA PRIVATE KEY-----\\n{KEY}", True),
        ("a.c", f'"-----BEGIN RSA PRIVATE KEY-----\\n"\n  "{KEY * 2}\\n"\n', True),
        # A name that goes on behind the word; a word; a synopsis; what is inside a basic authorization.
        ("a.rb", "pass_top_level = 'Gorilla'", False),
        ("a.rb", "pass_top_level = 'g0r1lla-7x'", True),
        ("a.rb", "user_pass = 'Gorilla'", True),
        ("a.php", "private_key = 'PRIVATE-KEY-BASE-64-DATA'", False),
        ("a.php", "private_key = 'PR1V4TE-KEY-B4SE-64-D4TA'", True),
        ("a.go", 'token_name = "ILLEGALEOFWSMSGLENSYSLOGMSG"', False),
        ("a.go", 'token_name = "iLLeGaLEoFWsMSgLENsYSlOGmsG"', True),
        ("a.c", 'puts("socks5h://username[:password]@host[:port]");', False),
        ("a.py", "Authorization: Basic dXNlcjpwYXNzd29yZA==", False),  # user:password
        ("a.py", "Authorization: Basic dXNlcjpaN3EtVHIyLWs=", True),  # user:Z7q-Tr2-k
    ],
)
def test_where_it_stands(path: str, text: str, is_secret: bool) -> None:
    assert has_secret(text, path) is is_secret


def test_a_canary_is_in_0_of_1000_snippets() -> None:
    """Keys are planted in many forms beside names that the file needs: the names are in the snippets, the keys are
    not."""
    rng = random.Random(3)
    n_snippets = 0
    for _ in range(120):
        canary = "Cn4ry" + "".join(rng.choices(string.ascii_letters + string.digits, k=27))
        forms = (
            f"API_KEY = '{canary}'\n", f"def connect(user, password='{canary}'):\n    pass\n", f"# token: '{canary}'\n",
            f"class Client:\n    secret = '{canary}'\n    def send(self, token='{canary}'): pass\n",
            f"URL = 'https://me:{canary}@host/'\n", f"HEADERS = {{'Authorization': 'Bearer {canary}'}}\n",
            f"def load():\n    return connect('{canary}')\n",
        )  # fmt: skip
        files = {f"p/m{n}.py": f"def helper_{n}(a, b):\n    return a\n\n" + form for n, form in enumerate(forms)}
        files |= {f"p/n{n}.py": f"def other_{n}(): pass\n\n{rng.choice(forms)}" for n in range(8)}
        imports = "".join(
            f"from p.m{n} import *, helper_{n}\nfrom p.m{n} import connect, Client, load\n" for n in range(7)
        )
        focus = focus_at("p/a.py", imports + "def work(client: Client):\n    connect(load(), helper_1)\n    client.‸\n")
        view = view_of(files | {"p/a.py": focus.text}, tuple(files)[:MAX_DOCUMENTS])
        snippets = choose(view, focus, 3000).snippets
        assert any("helper_" in snippet.text for snippet in snippets)
        assert not any(canary in snippet.text for snippet in snippets)
        n_snippets += len(snippets)
    assert n_snippets >= 1000


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\nb\n", "a\nb\n"),
        ("1\n2\n3\n4\n5\n6\nkey = 'KEY'\n7\n8\n9\n10\n11\n", "1\n2\n3\n10\n11\n"),
        ("key = 'KEY'\n1\n2\n3\n4", "4"),
        ("0\n1\n2\n3\n-----BEGIN PRIVATE KEY-----\nabc\ndef\n-----END PRIVATE KEY-----\n4\n5\n6\n7\n", "0\n7\n"),
        ("0\n1\n2\n3\nx = '-----BEGIN PRIVATE KEY-----\\nabc'\n4\n5\n6\n7", "0\n7"),
    ],
)
def test_lines_with_a_secret_and_those_around_it(text: str, kept: str) -> None:
    left, n_lines = without_secrets(text.replace("KEY'", KEY + "'"))
    assert left == kept
    assert n_lines == text.count("\n") - kept.count("\n")
    assert not has_secret(left)


@pytest.mark.parametrize("kind", sorted(secret_scan.KINDS))
def test_planted_keys_of_every_kind(kind: str) -> None:
    make, lines = secret_scan.KINDS[kind]
    rng = random.Random(11)
    n_found = sum(has_secret(lines[n % len(lines)].format(make(rng))) for n in range(40))
    assert n_found >= 38
