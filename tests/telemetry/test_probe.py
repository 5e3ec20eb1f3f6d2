"""Pinned requests: what is sent, and what is read of an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onlyvips_release.core.model import Arm, Probe
from onlyvips_release.core.plan import Health, Identity, Service
from onlyvips_release.telemetry.probe import RouterProber, claim
from tests.testing.plans import service

TOKEN = "ab" * 16


@dataclass
class App:
    """A router with an app behind it. `asked`: path and headers of each request."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def app() -> Iterator[App]:
    """Answers on a port of its own."""
    found = App()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b'{"build": {"name": "v2"}}')

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def one(identity: Identity | None = None) -> Service:
    """A service."""
    return replace(service("miniapp", 1), health=Health("/health"), identity=identity)


@pytest.mark.parametrize(
    ("arm", "pin"), [(Arm.CANARY, f"canary-{TOKEN}"), (Arm.STABLE, f"stable-{TOKEN}"), (None, None)]
)
def test_request_is_pinned_to_its_arm_or_comes_as_an_ordinary_user(app: App, arm: Arm | None, pin: str | None) -> None:
    RouterProber(app.url, [one()], TOKEN).probe(arm, 1)
    ((path, headers),) = app.asked
    assert (path, headers.get("x-onlyvips-pin")) == ("/health", pin)
    assert headers["host"] == "miniapp.onlyvips.local"
    assert headers["connection"] == "close"


def test_answer_names_status_arm_revision_and_what_the_app_claims(app: App) -> None:
    app.headers = {"x-onlyvips-arm": "canary", "x-onlyvips-revision": "v2"}
    (found,) = RouterProber(app.url, [one(Identity(json="build.name"))], TOKEN).probe(Arm.CANARY, 1)
    assert found == Probe("miniapp", 200, "canary", "v2", "v2")


def test_each_service_is_asked_so_often(app: App) -> None:
    services = [one(), replace(one(), name="backend-api", host="backend-api.*")]
    found = RouterProber(app.url, services, TOKEN).probe(Arm.CANARY, 3)
    assert [probe.service for probe in found] == ["miniapp"] * 3 + ["backend-api"] * 3
    assert (
        sorted(headers["host"].partition(".")[0] for _, headers in app.asked) == ["backend-api"] * 3 + ["miniapp"] * 3
    )


def test_failed_answer_and_no_answer_are_told_apart(app: App) -> None:
    app.status = 503
    (found,) = RouterProber(app.url, [one()], TOKEN).probe(Arm.CANARY, 1)
    assert (found.status, found.error) == (503, "")
    (found,) = RouterProber("http://127.0.0.1:1", [one()], TOKEN).probe(Arm.CANARY, 1)
    assert found.status is None
    assert "ConnectionRefusedError" in found.error


HEADER, JSON = Identity(header="X-Build"), Identity(json="build.name")


@pytest.mark.parametrize(
    ("identity", "headers", "body", "claimed"),
    [
        pytest.param(None, {"X-Build": "v2"}, b"{}", None, id="the plan does not ask"),
        pytest.param(HEADER, {"x-build": "v2"}, b"", "v2", id="header"),
        pytest.param(HEADER, {}, b"", "", id="no header"),
        pytest.param(JSON, {}, b'{"build": {"name": "v2"}}', "v2", id="json"),
        pytest.param(JSON, {}, b'{"build": {"name": 7}}', "7", id="a number"),
        pytest.param(JSON, {}, b'{"build": {}}', "", id="no such key"),
        pytest.param(JSON, {}, b'{"build": "v2"}', "", id="no object there"),
        pytest.param(JSON, {}, b"<html>", "", id="no json"),
    ],
)
def test_claim_of_the_app_is_read_where_the_plan_says_and_never_taken_for_granted(
    identity: Identity | None, headers: dict[str, str], body: bytes, claimed: str | None
) -> None:
    assert claim(identity, headers, body) == claimed
