"""What a test made for itself and opens nothing, and beside each the value of the same look that may be a real one.

All are made up. Each text is judged as one of a test and, where it is none there, as code, where it counts.
"""

from __future__ import annotations

import pytest

from midfill.context.secrets import has_secret
from tests.context.made import KEY, digest, drawn, token

TEST = "tests/test_a.py"
VALUE = KEY[:28]
DJANGO = "inyd5fc5pymlsv@hwoc5+3_6*cm0erlxzv6i-wl0jm_kt-6rp9"
TOKEN = token("HS256", sub="7", exp=4513863371)
OTHER = token("HS256", sub="8", exp=4513863371)

INVENTED = [
    # What is expected to come out.
    f"token = '{VALUE}'\nassert client.sent == '{VALUE}'\n",
    f"api_key = '{VALUE}'\nself.assertEqual(client.key, 'Bearer {VALUE}')\n",
    f"my $api_key = '{VALUE}';\nis($client->key, '{VALUE}', 'it is kept');\n",
    f'if got != "{VALUE}" {{ t.Fatal(got) }}\nsecret := "{VALUE}"\n',
    # What the name says.
    f"expected_token = '{VALUE}'\n", f"FAKE_API_KEY = '{VALUE}'\n", f"const invalidSecret = '{VALUE}';\n",
    f"expired_token =\n    '{VALUE}'\n", f"salt = '{VALUE}'\n",
    # What a framework's generator writes.
    f"SECRET_KEY = '{DJANGO}'\n", f"config.secret_key_base = '{digest(64)}'\n", f"secret_token: '{digest(15)}'\n",
    # A key beside what was computed with it.
    f"secret_key = '{VALUE}'\niv = '{drawn(16)}'\n", f"hmac: '{digest(16)}',\nsecret: '{VALUE}',\n",
    # What a table of users holds.
    f'"username": "jane", "password": "{digest(16)}"\n',
    # What a mock is given.
    f"env = {{'APP_SECRET': '{VALUE}'}}\nwith mock.patch.dict('os.environ', env):\n    connect()\n",
    f"monkeypatch.setenv('A', '1')\nclient = Client(api_key='{VALUE}')\n",
    f"nock('https://api.test').get('/a').reply(200, {{ access_token: '{VALUE}' }});\n",
    # What is in base 64 was not drawn.
    "AUTH_SECRET = 'dXNlcm5hbWU6'\n",
    # Tokens.
    f"const char* expected_token =\n    \"{TOKEN}\";\n", f"assert encode(claims) == '{TOKEN}'\n",
]  # fmt: skip


@pytest.mark.parametrize("text", INVENTED)
def test_what_a_test_made_for_itself(text: str) -> None:
    assert not has_secret(text, TEST)
    assert has_secret(text, "src/a.py")


REAL = [
    # Compared with another value; below a condition; in what a lambda does; said in a comment.
    f"token = '{VALUE}'\nassert client.sent == '{KEY[5:33]}'\n",
    f"assert parsed == {{\n    'id': 7,\n}}\naccess_token = '{VALUE}'\n",
    f"if (mode === 'live') {{\n  accessToken = '{VALUE}';\n}}\n",
    f"assertThrows(Refused.class, () -> {{\n  token = \"{VALUE}\";\n}});\n",
    f"api_key = '{VALUE}'  # should be in the environment\n",
    f"REQUIRED_TOKEN = '{VALUE}'\n",
    # Names that only begin as such.
    f"SALTSTACK_TOKEN = '{VALUE}'\n", f"badge_token = '{VALUE}'\n", f"expectedly_token = '{VALUE}'\n",
    f"TEST_API_KEY = '{VALUE}'\n", f"fake_user = 'x'\napi_key = '{VALUE}'\n",
    # Of another form or name than a framework's.
    f"SECRET_KEY = '{DJANGO[1:]}'\n", f"SECRET_KEY = '{VALUE}'\n", f"config.secret_app = '{digest(64)}'\n",
    # The key of a service, though something was signed with it; one with nothing beside it.
    f"api_key = '{VALUE}'\nsignature = '{drawn(28)}'\n", f"client_secret = '{VALUE}'\nnonce = '{drawn(16)}'\n",
    f"secret_key = '{VALUE}'\n", f"secret_key = '{VALUE}'\nprivate = '{drawn(16)}'\n",
    "AUTH_SECRET = 'q7Rt2Zk9Wq4X'\n",
    f'"password": "{digest(15)}"\n', f'"api_key": "{digest(16)}"\n',
    # No mock; one far from it; one that is given what a service has handed out.
    f"patch = 7\nclient = Client(api_key='{VALUE}')\n", f"import nock\nclient({{ apiKey: '{VALUE}' }});\n",
    "with mock.patch('a.b'):\n    pass\n" + "\n" * 400 + f"api_key = '{VALUE}'\n",
    "monkeypatch.setenv('TOKEN', 'ghp_" + "a1" * 18 + "')\n",
    f"token = '{TOKEN}'\n", f"assert encode(claims) == '{OTHER}'\ntoken = '{TOKEN}'\n",
    "x = 'ghp_" + "a1" * 18 + "'\nassert x == 'ghp_" + "a1" * 18 + "'\n",
    f"def fake():\n    return '-----BEGIN PRIVATE KEY-----\\n{KEY * 2}\\n-----END PRIVATE KEY-----'\n",
]  # fmt: skip


@pytest.mark.parametrize("text", REAL)
def test_what_may_be_real_in_a_test(text: str) -> None:
    assert has_secret(text, TEST)


@pytest.mark.parametrize("piece", ["assert a == (\n    b,\n", "iv = 'aaaaaaaaaaaa'\n", "expect", "is(", "(\n  "])
def test_endless_expectations_are_judged(piece: str) -> None:
    text = piece * (100_000 // len(piece)) + f"\ntoken = '{VALUE}'\n" * 2000
    assert has_secret(text, TEST) in (True, False)
