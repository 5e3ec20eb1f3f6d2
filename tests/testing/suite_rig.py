"""Suites run as the release runner runs them, several at a time; and a router in miniature to run them against."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.codec import decode
from onlyvips_release.core.model import Arm, SuiteResult
from onlyvips_release.core.plan import Suite
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.core.suite import Access, SuiteContext
from onlyvips_release.suites.run import PytestChecks, PytestRun

FAST = "-p no:hypothesispytest -p no:allure_pytest -p no:anyio"
"""Without what takes most of each start; no suite here uses it."""
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "ONLYVIPS", "COV"))} | {
    "PYTEST_ADDOPTS": FAST
}


def written(folder: Path, **files: str) -> Path:
    """A suite of these files (`test_a` = test_a.py), with an ini file so that nobody's else is found."""
    folder.mkdir(exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def started(
    path: Path | str,
    home: Path,
    *,
    env: Mapping[str, str] = {},
    access: Mapping[str, Any] = {},
    context: Mapping[str, Any] = {},
    deadline: float = 30.0,
    arm: Arm = Arm.CANARY,
    weight: int = 0,
    name: str = "smoke",
    hidden: Sequence[str] = (),
    **words: Any,
) -> PytestRun:
    """A run of the suite at `path`; `home` is where the plan would lie, reports go there too.

    `access` by service and `context`: as JSON objects.
    """
    ways = {service: decode(Access, facts) for service, facts in access.items()}
    checks = PytestChecks(home / "reports", ways, home, sys.executable, SystemClock(), {**ENV, **env}, hidden)
    suite = Suite(str(path), timedelta(seconds=deadline), **words)
    return checks.start(SuiteRequest(name, suite, arm, weight, decode(SuiteContext, context)))


def ended(run: PytestRun, within: float = 40.0) -> SuiteResult:
    """Poll until the verdict is known."""
    end = time.monotonic() + within
    while (result := run.poll()) is None:
        assert time.monotonic() < end, "no verdict in time"
        time.sleep(0.02)
    return result


@contextmanager
def ahead(request: pytest.FixtureRequest, run: Callable[[Any], Any]) -> Iterator[Callable[[Any], Any]]:
    """`run` for the `case` of each selected test of this module, three at a time while the first one is waited for.

    xdist's workers run each where it is asked for: they are several themselves.
    """
    if os.environ.get("PYTEST_XDIST_WORKER"):
        yield run
        return
    items: list[Any] = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    cases = [item.callspec.params["case"] for item in items if "case" in item.fixturenames]
    request.getfixturevalue("tmp_path_factory").getbasetemp()  # made here once: two threads would make two of them
    with ThreadPoolExecutor(3) as pool:
        under_way = {id(case): pool.submit(run, case) for case in cases}
        yield lambda case: under_way[id(case)].result()
        pool.shutdown(cancel_futures=True)


Leg = tuple[int, str, str]
"""Port, and the arm and revision that the router says of it."""


@contextmanager
def router(legs: Mapping[str, Mapping[str, Leg]]) -> Iterator[str]:
    """The URL of a router that knows `legs` (pin -> leg) by Host header."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            port, arm, revision = legs[self.headers["Host"]][self.headers["x-onlyvips-pin"]]
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {k: v for k, v in self.headers.items() if k.lower() not in ("x-onlyvips-pin", "connection")}
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request(self.command, self.path, body, sent)
                answer = connection.getresponse()
                self.answer(answer.status, answer.read(), [*answer.getheaders(), *labels(arm, revision)])
            except (OSError, http.client.HTTPException):
                self.answer(503, b"no answer", [("Content-Length", "9"), *labels(arm, revision)])
            finally:
                connection.close()

        do_POST = do_GET

        def answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def labels(arm: str, revision: str) -> list[tuple[str, str]]:
    """What the router says of an answer."""
    return [("x-onlyvips-arm", arm), ("x-onlyvips-revision", revision)]


def free_port() -> int:
    """A free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
