"""Real processes of the sandbox on free loopback ports; each test's processes end with it, by their own pid."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECRET = "a-secret-of-the-tests"
PLAIN = {"User-Agent": "tests"}


@dataclass(frozen=True)
class Reply:
    """One answer, as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(port: int, method: str, path: str, body: object = None, headers: Mapping[str, str] = {}) -> Reply:
    """One request on a connection of its own; a body that is not text goes as JSON, text as a form."""
    kind = "application/x-www-form-urlencoded" if isinstance(body, str) else "application/json"
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        sent = {**PLAIN, **({"Content-Type": kind} if data is not None else {}), **headers}
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def opens(port: int) -> bool:
    """Whether anyone listens on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until `true()`, at most `seconds`; whether it became so."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass
class Started:
    """One process of the sandbox."""

    process: subprocess.Popen[bytes]
    port: int
    control: int
    log: Path
    _seen: int = field(default=0)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] = {}) -> Reply:
        """One request to the service."""
        return ask(self.port, method, path, body, headers)

    def statuses(self, count: int, method: str = "GET", path: str = "/api/badges/list") -> list[int]:
        """The statuses of `count` equal requests."""
        return [self.ask(method, path).status for _ in range(count)]

    def fault(self, **faults: object) -> Reply:
        """Replace the faults at run time."""
        return ask(self.control, "PUT", "/faults", faults)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(8)


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a service: `start("backend-api", "--fault", "errors=0.3")`. `env` replaces variables, `ready` waits."""
    yield from _starter(tmp_path)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """One backend-api for the tests that do not disturb it."""
    for starter in _starter(tmp_path_factory.mktemp("backend")):
        yield starter("backend-api")


@pytest.fixture
def service(backend: Started) -> Iterator[Started]:
    """The shared backend with its control port; all faults are switched off afterwards."""
    yield backend
    ask(backend.control, "DELETE", "/faults")


def _starter(folder: Path) -> Iterator[Start]:
    running: list[Started] = []

    def start(service: str, *options: str, env: Mapping[str, str] = {}, ready: bool = True) -> Started:
        port, control = free_ports(2)
        words = [service, *([] if service == "flirt-bot" else [str(port)]), "--control", str(control), *options]
        log = folder / f"{len(running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "onlyvips_release.sandbox", *words],
                env={**os.environ, "SECRET_KEY": SECRET, "BOT_TOKEN": "token", **env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        started = Started(process, port, control, log)
        running.append(started)
        awaited = control if service == "flirt-bot" else port
        if ready:
            assert until(lambda: opens(awaited) or process.poll() is not None), log.read_text()
        return started

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait(5)
