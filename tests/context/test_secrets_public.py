"""Texts that every project holds and that are no secrets, and beside each a key of the same form that is one. All are
made up."""

from __future__ import annotations

import base64
import hashlib
import json
import random

import pytest

from midfill.context.secrets import found, has_secret, without_secrets
from tests.context.made import KEY, LETTERS, _rng, digest, drawn, signed, token

BASE64 = LETTERS + "+/"


def b64(n_bytes: int) -> str:
    """Return this many random bytes in base 64."""
    return base64.b64encode(_rng.randbytes(n_bytes)).decode()


def encoded(data: bytes) -> str:
    """``data`` in base 64."""
    return base64.b64encode(data).decode()


CLAIMS = b'{"sub":"fubar","iat":1.000,"exp":3601.000}'
MAP = base64.b64encode(b'{"version":3,"a":"b"}').decode()
WRAPPED = [b64(48) for _ in range(5)]
QUOTED = "".join(f"  '{row}',\n" for row in WRAPPED)
PIXEL = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAYAAAAf8/9hAAAABHNCSVQICAgIfAhkiAAA"


PROJECT = {
    # Lock files.
    "package-lock.json": f'"resolved": "https://r.test/a-1.2.3.tgz",\n"integrity": "sha512-{b64(64)}",\n',
    "yarn.lock": f'  resolved "https://r.test/a.tgz#{digest(20)}"\n  integrity sha512-{b64(64)}\n',
    "yarn-berry/yarn.lock": f"  version: 1.2.3\n  checksum: 10c0/{digest(64)}\n",
    "pnpm-lock.yaml": f"  /a@1.2.3:\n    resolution: {{integrity: sha512-{b64(64)}}}\n",
    "bun.lock": f'    "a": ["a@1.2.3", "", {{}}, "sha512-{b64(33)}"],\n',
    "Cargo.lock": f'name = "token"\nversion = "1.0"\nchecksum = "{digest(32)}"\n',
    "go.sum": f"golang.test/x/oauth2 v0.1.0 h1:{b64(32)}\ngolang.test/x/oauth2 v0.1.0/go.mod h1:{b64(32)}\n",
    "poetry.lock": f'files = [\n    {{file = "a-1.0.whl", hash = "sha256:{digest(32)}"}},\n',
    "uv.lock": f'sdist = {{ url = "https://f.test/a.tar.gz", hash = "sha256:{digest(32)}", size = 12 }}\n',
    "Pipfile.lock": f'"hashes": [\n  "sha256:{digest(32)}",\n',
    "requirements.txt": f"passlib==1.7.4 \\\n    --hash=sha256:{digest(32)}\n",
    "composer.lock": f'"reference": "{digest(20)}",\n"content-hash": "{digest(16)}"\n',
    "Gemfile.lock": f"  a (1.0) sha256={digest(32)}\n",
    "flake.lock": f'"narHash": "sha256-{b64(32)}",\n"rev": "{digest(20)}",\n',
    ".terraform.lock.hcl": f'  hashes = [\n    "h1:{b64(32)}",\n    "zh:{digest(32)}",\n',
    "packages.lock.json": f'"contentHash": "{b64(64)}"\n',
    "mix.lock": f'"jose": {{:hex, :jose, "1.11.1", "{digest(32)}", [:mix], [], "hexpm", "{digest(32)}"}},\n',
    "package.json": '"passport": "^0.6.0",\n"pass": "^2.0.0",\n"csrf-token": "^1.0.0-beta.1",\n"jwttoken": "9.x"\n',
    # Hashes and fingerprints in code and its tests.
    "src/hash.py": f'EXPECTED = "{b64(32)}"\nDIGEST = "{b64(20)}"\n',
    "src/chain.js": f"if (genesisHash === '{drawn(32)}') {{\n",
    "tests/fixtures/hashes.json": f'{{"password": "$2b$12${drawn(53)}", "sha1": "{digest(20)}"}}\n',
    "src/Pins.java": f'.add("api.test", "sha256/{b64(32)}")\n',
    "src/csp.py": f"POLICY = \"script-src 'sha256-{b64(32)}'\"\n",
    "src/fingerprint.py": f"PRINT = '{':'.join(digest(1) for _ in range(20)).upper()}'\nH = 'SHA256:{b64(32)[:43]}'\n",
    "src/ca.js": f"const ca = [\n  '-----BEGIN CERTIFICATE-----',\n{QUOTED}];\n",
    "src/public.py": f'KEY = """-----BEGIN PUBLIC KEY-----\n{WRAPPED[0]}\n{WRAPPED[1]}\n-----END PUBLIC KEY-----"""\n',
    "index.html": f'<script src="a.js" integrity="sha384-{b64(48)}" crossorigin="anonymous"></script>\n',
    # Migrations.
    "migrations/1.py": f"revision = '{digest(6)}'\ndown_revision = '{digest(6)}'\n",
    "migrations/1.js": f"exports.checksum = '{drawn(43)}';\n",
    "migrations/atlas.sum": f"h1:{b64(32)}\n1.sql h1:{b64(32)}\n",
    "migrations/1.sql": f"INSERT INTO _migrations VALUES ('{digest(16)}', '{digest(32)}');\n",
    # Source maps, data, files in base 64.
    "app.js.map": '{"version":3,"names":["token"],"mappings":"AAAA,SAASA,EAAMC,GACb,OAAOA,EAAI,CACb"}\n',
    "app.js": "//# sourceMappingURL=data:application/json;base64," + MAP,
    "style.css": f"a {{ background: url(data:image/png;base64,{PICTURE}) }}\n",
    "src/pixel.js": f'img.src = "data:image/gif;base64,{PIXEL}"\nconst GIF = "{PIXEL}"\n',
    "src/icon.py": f'ICON = (\n    "{PICTURE}"\n)\n',
    "src/blob.py": "DATA = (\n" + "".join(f'    "{row}"\n' for row in WRAPPED) + ")\n",
    "src/last.py": "\n".join(f'"{row}"' for row in WRAPPED),
    "src/Blob.java": "String d = " + " +\n".join(f'"{row}"' for row in WRAPPED) + ' +\n"AA";\n',
    # Identifiers.
    "src/ids.ts": f"const spreadsheetId = '{drawn(44)}';\nopen({{ id: '{drawn(34)}', client_id: \"{drawn(30)}\" }});\n",
    "src/xmp.py": "begin = b'<?xpacket begin=\"\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>'\n",
    "src/usdc.ts": 'const address = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48";\n',
    "src/Visible.cs": '[A("A, PublicKeyToken=b77a5c561934e089")]\nPublicKeyToken = "31bf3856ad364e35"\n',
    # Forms, rules, translations, defaults.
    "src/locales/ru.js": "password: 'Пароль', token: 'Токен'\n",
    "src/i18n/de.ts": 'export default { password: "Kennwort", newPassword: "Zugangswort"};\n',
    "src/words.ts": 'const labels = { password: "Contraseña:" };\n',
    "resources/lang/de/words.php": "'password' => 'Kennwort', 'token' => 'Schluessel7',\n",
    "src/program.ts": f"const contractAddress = '{drawn(44)}', chain_id: '{drawn(32)}'\n",
    "src/LoginRequest.php": "'password' => 'required|confirmed|min:8',\n'password' => 'hashed',\n",
    "src/form.tsx": '<input type="password" name="password" placeholder="Password" autoComplete="password" />\n',
    "docker-compose.yml": "URL: postgres://postgres:postgres@db:5432/app\nQUEUE: amqp://worker:worker@queue/\n",
    "src/pod.pl": '=head1 SYNOPSIS\n\n    my $a = new(access_key => "a1b2c3d4");\n\n=cut\n\nsub a { 1 }\n',
    "src/order.pm": 'my $a = new(access_key => "12345678");\n',
    "src/check.go": 'secret = "myS3cr3t"\n',
    "build/ltmain.sh": 'if test "$pass" = "link" || test "$linkmode,$pass" = "lib,link"; then\n',
    "src/Makefile": 'echo "PASS: " $$pass " of " $$all; token="$$t "\n',
    "src/token.js": f"const sample = '{token('HS256', sub='1234567890', name='John Doe')}';\n",
    "src/iss.js": f"const sample = '{token('HS256', iss='https://issuer.example/')}';\n",
    "src/jws.js": f"const signed = '{signed(b'It is a dangerous business, going out of your door')}';\n",
    "src/short.py": f"PACKET = '{drawn(28)}'\n",
    "src/alphabet.js": "const urlAlphabet = 'ModuleSymbhasOwnPr-0123456789ABCDEFGHNRVfgctiUvz_KqYTJkLxpZXIjQW'\n",
    "src/pairs.js": "const a = 'aAbBcCdDeEfFgGhHiIjJkKlLmM0123456789'\n",
    "src/keyboard.js": "const rows = 'QWERTYUIOPASDFGHJKLZXCVBNMqwertyuiopasdfghjklzxcvbnm1234567890'\n",
    "src/form.go": 'w.Start("----WebKitFormBoundary7MA4YWxkTrZu0gW")\n',
    "src/captcha.ts": "const siteKey = '6LeIxAcTAAAAAJcZVRqyHh71UMIEGNQ_MXjiZKhI';\n",
    "src/publishable.ts": f"const pk = 'pk_test_{drawn(24)}';\n",
    "src/names.ts": "PASSWORD = 'passwordField', password = '[data-test=pw1]', a_password = 'login.passwordLabel';\n",
    "src/aws.py": 'secretArn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:MySecret-a1b2c3"\n',
    "src/vault.py": 'password = "op://Team/Db2/password"\ntoken = "projects/My1/secrets/Db2/versions/3"\n',
    "src/url.ts": "const accessTokenPath = 'oauth2/v1.1/accessToken', tokenUrl = 'api/v2/oauth2/Token';\n",
    "src/pages.json": '"token": "Description.Shards[-1].ShardId"\n',
    "src/volume.py": "types = {'secret_ref': 'V1SecretReference', 'token_ref': 'V1beta1CSITokenRequest2'}\n",
    "src/space.py": "SECRET_NAMESPACE = 'oauth2client:secrets#ns'\n",
    "src/people.nix": 'longkeyid = "rsa4096/0xEDB2C634166AE6AD";\n',
    "src/prose.ts": "const password = 'bm90IG15IHJlYWwgcGFzc3dvcmQh';\n",
    "src/chains.js": f"  '{KEY[:32]}': 'a1b58899-f671-4276-6a5e-56ca5bd59700',\n",
    "src/certs.go": 'const cert = "sk-ecdsa-sha2-nistp256-cert-v01"\n',
    "src/mask.py": "TOKEN_MASK = 0xFFFFFFFF00FF0000\nTOKEN_KIND = TOKEN_KIND_OF_V2\n",
    "docs/keys.md": 'KEY="-----BEGIN RSA PRIVATE KEY-----\\nHkVN9…\\n-----END RSA PRIVATE KEY-----\\n"\n',
    "docs/more-keys.md": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n...\n-----END PRIVATE KEY-----\n",
    "tests/test_sign_up.py": "sign_up(password='P@ssw0rd2023!')\n",
    # Names that speak of something else; values that are none.
    "src/passes.py": 'class Front(CompilerPass):\n    _name = "object_mode_2"\nclass Back(Pass): _name = "back_2"\n',
    "src/filter.c": 'bandpass = "Butterworth"; depth_pass: "Opaque"; bypass = "Hardware";\n',
    "src/choice.c": 'ask(is_long ? "Password" : "Passcode7");\n',
    "src/zip.cpp": 'log(is_same ? "^2PASSWORD" : "^1FAILURE");\n',
    "src/odbc.cpp": 'connect("UID=me;PWD=" MYSQL_PWD ";DB=a");\n',
    "src/pages.sh": 'list --page-token="ala9glealanal908" --next_token "x"; sync_token = "q7Rt2Zk9Wm4X"\n',
    "src/client.py": 'CREDENTIALS_DEFAULT_CLIENT_ID = "764086051850-6qr4p6gpi6hn506pt8ej.apps.test"\n',
    "src/flags.h": "#define auth_password = 0x0000000000400000L\n",
    "src/connect.c": "relay_auth = socks5_auth_parse_9;\n",
    "src/neptune.py": "connect(http_auth=Urllib3AWSV4SignerAuth(credentials, region))\n",
    "src/oid.java": 'PRIVATE_KEY_FORMAT_OID = "1.3.6.1.4.1.18060.0.4.1.2.38";\n',
    "src/times.py": "token_expiry = '2018-03-02T21:26:13Z'\n",
    "src/types.py": "{'secrets': 'list[V1LocalObjectReference]'}\n",
    "src/pattern.py": "TOKEN_PATTERN = r'^[a-z0-9]+$'\n",
    "src/magics.py": "{'pwd': 'IPython.core.magics.osm:OSMagics'}\n",
    "src/sudo.py": "sudo(passwd='NOPASSWD: ')\n",
    "src/ftp.sh": 'user="ftp"\npasswd="anonymous@domain.test"\n',
    "src/strings.de.ts": "const labels = { password: 'Passwort', again: 'x', newPassword: 'Wachtwoord' };\n",
    "src/default.go": f'Password: "{hashlib.md5(b"guest").hexdigest()}",\n',
    "src/otp.py": f"secret = b'{base64.b32encode(b'abcdefghij').decode()}'\n",
    # Drawn to look at: names of classes, a name with a date, what is filled up, what is encoded.
    "src/models.py": 'MODELS = ("HyperCLOVAXVisionV2PreTrainedModel", "MiniCPMV4_7ViTWindowAttentionMerger")\n',
    "tools/gl.pl": "connect('glTexCoord2fColor4ubVertex3fvSUN')\n",
    "src/button.js": f'("Undo", "undo", [\n  "data:image/gif;base64,R0lGOD", "/\\x2f/",\n  "{KEY}wAw="\n])\n',
    "src/posthog.py": f"API_KEY = 'phc_{drawn(43)}'\n",
    "src/service.json": '"serviceId": "x", "endpoint": "y", "connect": "AWS242AppRegistry-2020-06-24"\n',
    "src/filled.rb": f"Client.new('{KEY[:26]}XXXXXX')\n",
    "src/claims.c": f'client("{encoded(CLAIMS)}")\n',
    "src/ntlm.pl": f'connect("{encoded(b"NTLMSSP" + bytes(3) + random.Random(1).randbytes(21))}");\n',
    "src/coin.js": "client.send('1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2')\n",
    # Tokens that open nothing: nobody signed them, they ended.
    "src/none.js": f"const token = '{token('NONE', sub='7', exp=4513863371)}';\n",
    "src/ended.js": f"const token = '{token('RS256', sub='7', exp=1513862371)}';\n",
    # Where a key's body would stand.
    "src/make.py": "f'-----BEGIN PRIVATE KEY-----\\n{body}\\n-----END PRIVATE KEY-----'\n",
    "src/make.sh": "-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n",
    "src/filled.md": 'key="-----BEGIN PRIVATE KEY-----\\nXXXX\\nXXXX\\n-----END PRIVATE KEY-----"\n',
    "src/bad_key.py": '"""-----BEGIN PRIVATE KEY-----\nLKJWE:RUWEORIU)(#*&$@(#$K\n-----END PRIVATE KEY-----"""\n',
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(PROJECT))
def test_what_every_project_holds_is_no_secret(path: str) -> None:
    text = PROJECT[path]
    assert [text[one.start : one.end] for one in found(text, path)] == []
    assert without_secrets(text, path) == (text, 0)


CONTROLS = {
    "package.json": f'"npmToken": "{KEY}",\n"pass": "2k9Zt.R7q"\n',
    "src/hash.py": f'API_SECRET = "{b64(32)}"\n',
    "src/chain.js": f"if (given === '{KEY}') {{\n",
    "src/more.js": f"if (hash === given) use('{KEY}')\n",
    "tests/fixtures/hashes.json": f'{{"password": "{KEY}"}}\n',
    "src/Pins.java": f'.add("api.local", "{KEY}")\n',
    "src/ca.js": f"const k = [\n  '-----BEGIN PRIVATE KEY-----',\n{QUOTED}];\n",
    "src/blob.py": "SECRET = (\n" + "".join(f'    "{row}"\n' for row in WRAPPED) + ")\n",
    "src/two.py": f'DATA = (\n    "{WRAPPED[0]}"\n    "{WRAPPED[1]}"\n)\n',
    "src/list.py": "VALUES = [\n" + "".join(f'    "{KEY[n:] + KEY[:n]}",\n' for n in range(5)) + "]\n",
    "migrations/1.js": f"exports.value = '{KEY}';\n",
    "app.js": f"fetch('/a?b=c', '{KEY}')\n//# sourceMappingURL=app.js.map\n",
    "src/pixel.js": f'const gif = "{KEY}"\n',
    "src/ids.ts": f"const sessionId = '{KEY}';\n",
    "src/key_id.ts": f"open({{ secret_id: '{KEY}', token_id: '{KEY}' }});\n",
    "src/valid.ts": f"const valid = '{KEY}';\n",
    "src/Visible.cs": 'string AccessToken = "31bf3856ad364e35";\n',
    "src/locales/ru.js": f"token: '{KEY[:16]}'\n",
    "src/words.ts": 'const labels = { password: "Contra7sena" };\nconst password = "Gorilla";\n',
    "src/LoginRequest.php": "'password' => 'p4ss|w0rd9|Zq',\n",
    "src/User.php": "'password' => 'hashed7Zt',\n",
    "docker-compose.yml": "URL: postgres://postgres:pa55word@db:5432/app\n",
    "src/pod.pl": '=head1 NAME\n\na\n\n=cut\n\nmy $a = new(access_key => "a1b2c3d4");\n',
    "src/order.pm": 'my $a = new(access_key => "12845679");\n',
    "src/check.go": 'secret = "myS3cr3tOf7Zq"\n',
    "src/connect.go": f'client.Open(address, "{KEY}")\n',
    "src/keychain.ts": f"keychain.store('{KEY}'); const inKeychain = '{KEY}';\n",
    "src/lang/Words.java": 'String password = "hunter2x";\n',
    "build/ltmain.sh": 'if test "$pass" = "l1b,l7nk"; then\n',
    "src/Makefile": "user_pass = 'Gorilla'\n",
    "src/mail.js": "const auth = { user: 'me', pass: 'abkdqfghvjkl' };\n",
    "src/token.js": f"const token = '{token('HS256', sub='7', name='Jane Roe')}';\n",
    "src/jwe.js": f"const token = '{signed(b'drawn', enc='A128GCM')}';\n",
    "src/short.py": f"connect('{KEY[:28]}')\n",
    "src/alphabet.js": f"const url = '{KEY}'\n",
    "src/pairs.js": "const a = 'aXbQcTdZePf1R7gWh4HiS9jOkNlLmK0193857462'\n",
    "src/names.ts": "const PASSWORD = 'passw7ordFie9ld', password = '[data-te9';\n",
    "src/aws.py": 'secretValue = "a9rnAw7s:Zq2kT5"\n',
    "src/url.ts": "const accessToken = 'oa9th2/v1.1/acc7ssT0ken';\n",
    "src/pages.json": '"token": "Desc7r.Sh4rds.Sh9Id"\n',
    "src/volume.py": "types = {'secret_ref': 'V1Sec7etR3fer'}\n",
    "src/space.py": "SECRET_NAMESPACE = 'oA7th2cliEnt:s3crets#ns'\n",
    "src/people.nix": f'longkeyid = "{KEY[:30]}";\n',
    "src/prose.ts": f"const password = '{KEY[:28]}';\n",
    "src/chains.js": f"  '{KEY[:32]}': 'bob',\n",
    "src/users.js": f"const tokens = {{ '{KEY[:32]}': 'a1b58899-f671-4276-6a5e-56ca5bd59700' }};\n",
    "src/certs.go": f'const cert = "sk-ab-{KEY[:20]}-v01"\n',
    "src/mask.py": "TOKEN_MASK = FFx0FF7F00aFbb009q\n",
    "docs/keys.md": f'KEY="-----BEGIN RSA PRIVATE KEY-----\\n{WRAPPED[0]}\\n-----END RSA PRIVATE KEY-----\\n"\n',
    "tests/test_sign_up.py": "sign_up(password='P4xT!w0rk2z9Q')\n",
    "src/passes.py": 'class Front(Pass): _password = "object_mode_2"\n',
    "src/typed.py": 'PASSWORD: str | None = "sesame7x"\n',
    "src/filter.c": 'bandpass = "q7Rt2Zk9Wm"; \n',
    "src/mine.c": 'mypass = "Gorilla"\n',
    "src/choice.c": 'x = {a: "b?", "Password" : "sesame7x"};\n',
    "src/zip.cpp": 'log({"is": "?", "PASSWORD" : "^1FAILURE"});\n',
    "src/odbc.cpp": 'connect("UID=me", PWD=" q7Rt2Zk9");\n',
    "src/pages.sh": 'page_secret = "ala9glealanal908"\n',
    "src/client.py": f'CREDENTIALS_DEFAULT_CLIENT_SECRET = "{KEY[:24]}"\n',
    "src/flags.h": "registry_auth = 0x0000000000400000L0pq7Rt\n",
    "src/npmrc.txt": "registry.local/:_auth=Urllib3AWSV4SignerAuth\n",
    "src/oid.java": 'PRIVATE_KEY = "1.3.6.q7Rt2.Zk9Wm"\n',
    "src/times.py": "token = '2018-03-02T21q7Rt'\n",
    "src/types.py": "{'secrets': 'list[V1Local'}\n",
    "src/pattern.py": "TOKEN_PATTERN = 'a[z0-9q7Rt2Zk9]'\n",
    "src/magics.py": "{'pwd': 'I7ython.core:OSMagics'}\n",
    "src/sudo.py": "sudo(passwd='N7PASSWD: ')\n",
    "src/ftp.sh": 'user="ftp"\npasswd="anonym0us@domain"\n',
    "src/strings.de.ts": "const labels = { password: 'Regenwald' };\n",
    "src/default.go": f'Password: "{hashlib.md5(b"Regenwald").hexdigest()}",\n',
    "src/otp.py": f"secret = b'{base64.b32encode(bytes(range(7, 247, 24))).decode()}'\n",
    "src/models.py": 'MODELS = ("HypeR7LOVAXVi2sionV2PreT9rainedModel",)\n',
    "src/button.js": f'add("data:image/gif;base64,R0lGOD"); add("{KEY}")\n',
    "src/posthog.py": f"API_KEY = 'phx_{drawn(43)}'\n",
    "src/service.json": '"connect": "AWS242q7Rt2Zk9Wm4X-2020-16-24"\n',
    "src/filled.rb": f"Client.new('{KEY[:26]}XX')\n",
    "src/claims.c": f'client("{encoded(b"app:" + KEY[:20].encode())}")\n',
    "src/nested.c": f'client("{encoded(json.dumps([KEY[:32]]).encode())}")\n',
    "src/ntlm.pl": f'connect("{KEY[:36]}");\n',
    "src/coin.js": "client.send('1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3')\n",
    "src/none.js": f"const token = '{token('HS256', sub='none', exp=4513863371)}';\n",
    "src/ended.js": f"const token = '{token('RS256', sub='7', exp=4513862371)}';\n",
    "src/make.sh": f"-----BEGIN PRIVATE KEY-----\n{WRAPPED[0]}\n-----END PRIVATE KEY-----\n",
    "src/make.c": f"/*\n * -----BEGIN PRIVATE KEY-----\n * {WRAPPED[0]}\n */\n",
    "src/old.pem.txt": f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED (x)\n\n{WRAPPED[0]}\n",
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(CONTROLS))
def test_a_key_of_the_same_form_is_one(path: str) -> None:
    assert has_secret(CONTROLS[path], path)


@pytest.mark.parametrize(
    "piece",
    ["A", "v1/", "Ab", "a.", "a,", "a|", "a[0].", "A_", "pass", "a1-", "Vv1", "string|min:1"],
)
def test_endless_values_are_judged(piece: str) -> None:
    for end in ("", "1!", "!1", "/"):
        text = f"token = '{(piece * 200)[:190]}{end}'\npassword = '{(piece * 200)[:190]}{end}'\n"
        assert has_secret(text * 20, "a.py") in (True, False)


@pytest.mark.parametrize("form", ["'{}'\n", '"{}" +\n', "  '{}',\n", "id='{}'"])
def test_endless_rows_are_judged(form: str) -> None:
    text = form.format(WRAPPED[0]) * 3000
    assert has_secret(text, "a.py") in (True, False)
