"""Planted secrets of more than 20 kinds are in nothing that a suite leaves behind: plain, URL-encoded or base64."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, quote_plus

import pytest

from onlyvips_release.suites.secrets import Mask, forms_of
from tests.testing.suite_box import own_environment
from tests.testing.suite_rig import ended, started, written

pytestmark = pytest.mark.slow

KINDS = (
    "canary_pin", "stable_pin", "admin_token", "runner_environment", "authorization_header", "set_cookie",
    "sent_cookie", "json_password", "form_password", "access_token", "nested_refresh_token", "escaped_json_token",
    "query_token", "userinfo_password", "redirect_token", "exception_repr", "assertion_message", "printed", "logged",
    "printed_base64", "printed_url_encoded", "api_key_header", "error_page", "exception_group", "local_variable",
)  # fmt: skip
"""Each is planted in its own way; pins and what the runner's environment holds are hexadecimal, the rest is nasty."""

SUITE = """
import base64, json, logging, os
from urllib.parse import quote
import pytest

HOME = os.path.dirname(__file__)
SECRETS = json.load(open(os.path.join(HOME, "planted")))


@pytest.mark.parametrize("kind", ["access_token", "nested_refresh_token", "escaped_json_token", "error_page",
                                  "set_cookie", "redirect_token"])
def test_answer_holds_it(api, kind):
    answer = api.get("/" + kind)
    assert answer.status_code == 299, answer.text


def test_header(api):
    api.get("/", headers={"Authorization": "Bearer " + SECRETS["authorization_header"],
                          "x-api-key": SECRETS["api_key_header"], "Cookie": "session=" + SECRETS["sent_cookie"]})
    raise AssertionError(SECRETS["authorization_header"] + " " + SECRETS["api_key_header"] + SECRETS["sent_cookie"])


def test_body(api):
    api.post("/", json={"user": "x", "password": SECRETS["json_password"]})
    api.post("/", data={"user": "x", "password": SECRETS["form_password"]})
    assert 0, [SECRETS["json_password"], SECRETS["form_password"]]


def test_query(api):
    answer = api.get("/", params={"token": SECRETS["query_token"]})
    assert answer.status_code == 299, str(answer.request.url)


def test_userinfo(api):
    raise ValueError("cannot reach https://user:" + quote(SECRETS["userinfo_password"], safe="") + "@shop.example/")


def test_exception_repr(api):
    class Odd(Exception):
        def __repr__(self):
            return "Odd(password=%r)" % SECRETS["exception_repr"]
        __str__ = __repr__
    raise Odd()


def test_learned_from_an_answer_and_then_told(api):
    for kind in ("assertion_message", "printed", "logged", "printed_base64", "printed_url_encoded"):
        api.post("/", json={"client_secret": SECRETS[kind]})
    print("the runner knows", SECRETS["runner_environment"])
    print(SECRETS["printed"], repr(SECRETS["printed"]), json.dumps(SECRETS["printed"]))
    print("x" + base64.b64encode(("ab:" + SECRETS["printed_base64"]).encode()).decode())
    print("http://x/?next=" + quote(SECRETS["printed_url_encoded"], safe=""))
    logging.getLogger("x").error("it is %s", SECRETS["logged"])
    assert SECRETS["assertion_message"] == "", SECRETS["assertion_message"]


def test_group(api):
    api.post("/", json={"secret": SECRETS["exception_group"]})
    raise ExceptionGroup("several", [ValueError("secret is " + SECRETS["exception_group"])])


def test_local_variable(api):
    mine = {"token": SECRETS["local_variable"]}
    api.post("/", json=mine)
    assert mine == {}


def test_context(service):
    raise AssertionError(str(service.headers) + str(service.facts))
"""


def nasty() -> str:
    """A secret with characters that every format writes in its own way."""
    return f"{secrets.token_hex(4)}/+é\\{secrets.token_hex(4)}%<{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def planted() -> dict[str, str]:
    """A value of each kind."""
    plain = {"canary_pin", "stable_pin", "runner_environment", "admin_token", "authorization_header", "sent_cookie",
             "api_key_header", "set_cookie"}  # fmt: skip
    return {kind: secrets.token_hex(16) if kind in plain else nasty() for kind in KINDS}


@contextmanager
def platform(known: dict[str, str]) -> Iterator[str]:
    """Answers that hold secrets."""
    answers = {
        "/access_token": json.dumps({"access_token": known["access_token"]}),
        "/nested_refresh_token": json.dumps({"a": [{"b": {"refresh_token": known["nested_refresh_token"]}}]}),
        "/escaped_json_token": json.dumps({"text": json.dumps({"token": known["escaped_json_token"]})}),
        "/error_page": f'<pre>SECRET_KEY={known["runner_environment"]}\ntoken = "{known["error_page"]}"</pre>',
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(307 if "redirect" in self.path else 200)
            self.send_header("Set-Cookie", f"session={known['set_cookie']}; Path=/")
            if "redirect" in self.path:
                self.send_header("Location", f"http://x/?access_token={quote(known['redirect_token'])}")
            body = answers.get(self.path, "{}").encode()
            self.send_header("Content-Type", "application/json" if body[:1] == b"{" else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def leaks(folder: Path, planted: dict[str, str]) -> list[str]:
    """Which secret is in which file, and how it is written there."""
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        text = path.read_text(errors="surrogateescape")
        for kind, secret in planted.items():
            data = secret.encode()
            written = {"plain": secret, "URL": quote(secret, safe=""), "URL+": quote_plus(secret)}
            written |= {"JSON": json.dumps(secret)[1:-1], "base64": base64.b64encode(data).decode().rstrip("=")[:-1]}
            written["base64 of more"] = base64.b64encode(b"ab:" + data).decode()[4:-4]
            found += [f"{kind} {how} in {path.name}" for how, form in written.items() if form in text]
    return found


def test_release_leaves_no_secret(tmp_path: Path, planted: dict[str, str]) -> None:
    suite = written(tmp_path / "suite", test_a=SUITE)
    (suite / "planted").write_text(json.dumps(planted))
    with platform(planted) as url:
        pins = {arm: f"{arm}-{planted[f'{arm}_pin']}" for arm in ("canary", "stable")}
        facts = {"routed": True, "url": url, "host": "x", "health": "/", "pins": pins, "admin": planted["admin_token"]}
        known = {"services": {"web": {**facts, "revisions": {"stable": "v1", "canary": "v2"}, "instances": []}}}
        env = {"PYTEST_ADDOPTS": "-rA -p no:hypothesispytest"}
        run = started(suite, tmp_path, env=env, context=known, hidden=[planted["runner_environment"]])
        result = ended(run)
    for thread in run.ends:
        thread.join(10)
    assert len(result.failed) == 15, result
    kept = {path.name for path in Path(result.report).iterdir()}
    assert {"events.jsonl", "junit.xml", "output.txt"} <= kept
    assert leaks(tmp_path / "reports", planted) == []
    assert not any(planted[kind] in result.reason for kind in KINDS)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "on workers"])
def test_pytest_alone_leaves_no_secret(tmp_path: Path, planted: dict[str, str], workers: tuple[str, ...]) -> None:
    suite = written(tmp_path / "suite", test_a=SUITE)
    (suite / "planted").write_text(json.dumps(planted))
    left = tmp_path / "left"
    left.mkdir()
    with platform(planted) as url:
        words = ["-q", "-rA", "-p", "no:cacheprovider", f"--release-target=web={url}", f"--junitxml={left / 'j.xml'}"]
        words += [f"--alluredir={left / 'allure'}", f"--release-events={left / 'events.jsonl'}", str(suite), *workers]
        env = own_environment() | {
            "ONLYVIPS_ADMIN_TOKEN": planted["admin_token"],
            "SHOP_SECRET": planted["runner_environment"],
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=suite, env=env, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    (left / "terminal.txt").write_text(done.stdout + done.stderr)
    assert "15 failed" in done.stdout, done.stdout[-2000:]
    assert len(list((left / "allure").glob("*-result.json"))) == 15
    assert leaks(left, planted) == []


@pytest.mark.parametrize("at", range(6))
def test_base64_of_a_longer_text_is_known_wherever_the_secret_begins(at: int) -> None:
    secret = secrets.token_hex(12)
    text = base64.b64encode(b"a" * at + secret.encode() + b"zz").decode()
    assert Mask([secret])(text) != text
    assert any(form in text for form in forms_of(secret))


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer opaque-0123456789",
        "{'password': 'x y z'}".replace(" y z", "yz123456"),
        '{"token": "abcdefgh"}',
        'text: {\\"api_key\\": \\"abcdefgh\\"}',
        "https://user:abcdefgh@shop.example/",
        "/callback?access_token=abcdefgh&x=1",
        "https://hooks.slack.com/services/T000/B000/abcdefgh",
        "bot 123456789:AAabcdefghijklmnopqrstuvwxyz0123456",
        "-----BEGIN RSA PRIVATE KEY-----\nabcdefgh\n-----END RSA PRIVATE KEY-----",
        "Set-Cookie: session=abcdefgh; Path=/",
    ],
)
def test_text_that_looks_like_a_secret_is_hidden_without_being_known(text: str) -> None:
    hidden = Mask()(text)
    assert "***" in hidden
    for value in ("opaque-0123456789", "xyz123456", "abcdefgh"):
        assert value not in hidden


@pytest.mark.parametrize("text", ["a token was refused", "status: error", "the key is missing", "password required"])
def test_plain_words_stay(text: str) -> None:
    assert Mask()(text) == text
