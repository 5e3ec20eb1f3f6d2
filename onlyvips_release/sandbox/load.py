"""Open-loop load: requests leave by the clock, whatever the answers do, and what became of each is written down.

A request that fails is never sent again, and a broken connection costs exactly the request that was on it: retries
would hide what is measured. It loads loopback addresses only, and it ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from onlyvips_release.clients.process import Process, end, spawn
from onlyvips_release.sandbox.load_client import Client, Job
from onlyvips_release.sandbox.mix import Template, default_mix, read_mix, shuffled
from onlyvips_release.sandbox.tally import Result, Tally

MAX_SECONDS, MAX_REQUESTS = 3600, 5_000_000
TIMEOUT = 10.0
"""Seconds from the moment a request is due until it counts as failed."""
LAST_WAIT = 2.0
"""Seconds left to requests in flight when a signal ends the load."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to send where. `rate`: requests per second."""

    host: str
    port: int
    rate: float
    seconds: float
    users: int
    connections: int
    templates: tuple[Template, ...]


class Generator:
    """Sends an order and tallies what became of it."""

    def __init__(self, order: Order, *, sticky: bool = False) -> None:
        self._order = order
        self._random = random.Random(1)
        self._idle: list[Client] = []
        self._open: set[Client] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Job] = deque()
        self._start = time.monotonic()
        self._stopped = False
        self.began = time.time()
        self.sent = 0
        self.max_lag = 0.0
        self.tally = Tally(self.began, sticky=sticky)

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    async def run(self) -> dict[str, object]:
        """Send until the seconds, the cap or a stop; wait for the answers; report."""
        rate, wanted = self._order.rate, int(self._order.rate * self._order.seconds)
        sweeper = asyncio.get_running_loop().create_task(self._sweep())
        while self.sent < min(wanted, MAX_REQUESTS) and not self._stopped:
            now = self._now()
            while self.sent < min(now * rate, wanted, MAX_REQUESTS):
                self.max_lag = max(self.max_lag, now - self.sent / rate)
                self._dispatch(self._next(now))
            await asyncio.sleep(max(0.001, self.sent / rate - self._now()))
        ended = self._now()
        why = "signal" if self._stopped else "cap" if self.sent < wanted else "seconds"
        await self._settle(LAST_WAIT if self._stopped else TIMEOUT + 1)
        sweeper.cancel()
        report = self._report(ended, why)
        await self._leave()
        return report

    async def _leave(self) -> None:
        for task in self._opening:
            task.cancel()
        self._waiting.clear()
        for client in list(self._open):
            client.abort()
        await asyncio.sleep(0)

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _next(self, now: float) -> Job:
        template = self._order.templates[self.sent % len(self._order.templates)]
        user = f"u{int(self._random.random() * self._order.users):04d}"
        self.sent += 1
        return Job(template.call, user, template.render(user, int(self._random.random() * 100)), now)

    def _dispatch(self, job: Job) -> None:
        while self._idle:
            if (client := self._idle.pop()).alive:
                return client.send(job)
        self._waiting.append(job)
        if len(self._open) + len(self._opening) < self._order.connections:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        return None

    async def _connect(self) -> None:
        """Open one more connection; a refused one costs the request that has waited longest."""
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(lambda: Client(self), self._order.host, self._order.port)
        except OSError:
            if self._waiting:
                self.finish(self._waiting.popleft(), 0, "refused", "")
            return
        if client.alive:
            self._open.add(client)
            self.release(client)
        elif self._waiting:
            self.finish(self._waiting.popleft(), 0, "reset", "")

    def release(self, client: Client) -> None:
        """`client` is free again."""
        if self._waiting:
            client.send(self._waiting.popleft())
        else:
            self._idle.append(client)

    def forget(self, client: Client) -> None:
        """`client` is closed. Requests that wait get another one."""
        self._open.discard(client)
        if client in self._idle:
            self._idle.remove(client)
        if self._waiting:
            self._dispatch(self._waiting.popleft())

    def finish(self, job: Job, status: int, error: str, arm: str) -> None:
        """One request has ended."""
        call, took, path = job.call, self._now() - job.at, job.data.split(b" ", 2)[1].decode()
        expected = status in call.expect
        self.tally.add(Result(job.at, took, call.service, call.method, path, job.user, status, error, arm, expected))

    async def _sweep(self) -> None:
        """Fail what is overdue, four times a second."""
        while True:
            await asyncio.sleep(0.25)
            limit = self._now() - TIMEOUT
            for client in [each for each in self._open if each.job is not None and each.job.at < limit]:
                client.time_out()
            while self._waiting and self._waiting[0].at < limit:
                self.finish(self._waiting.popleft(), 0, "timeout", "")

    async def _settle(self, limit: float) -> None:
        end = self._now() + limit
        while self.tally.total.sent < self.sent and self._now() < end:
            await asyncio.sleep(0.01)

    def progress(self) -> dict[str, object]:
        """The counts so far; `sent` includes what is still in flight."""
        unfinished = self.sent - self.tally.total.sent
        return {**self.tally.totals(), "sent": self.sent, "unfinished": unfinished, "seconds": round(self._now(), 2)}

    def _report(self, ended: float, why: str) -> dict[str, object]:
        order = {"rate": self._order.rate, "users": self._order.users, "began": self.began, "stopped_by": why}
        more = {"seconds_sent": round(ended, 3), "max_lag_s": round(self.max_lag, 4)}
        return order | more | self.progress() | self.tally.report(ended)


def loopback(url: str) -> tuple[str, int]:
    """Host and port of a URL that stays on this machine, else ValueError."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = False
    if parts.scheme != "http" or not inside:
        raise ValueError(f"{url} is not http on a loopback address: this tool loads nothing else")
    return host, parts.port or 80


def write_json(path: Path, value: object) -> None:
    """Replace `path` at once, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
    temporary.replace(path)


async def _run(found: argparse.Namespace) -> None:
    host, port = loopback(found.url)
    calls = default_mix(os.environ.get("SECRET_KEY")) if found.mix == "default" else read_mix(Path(found.mix))
    seconds = MAX_SECONDS if found.until_signal else found.seconds
    order = Order(host, port, found.rate, seconds, found.users, found.connections, tuple(shuffled(calls)))
    generator = Generator(order, sticky=found.sticky_report)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, generator.stop)
    reporter = asyncio.get_running_loop().create_task(_report_progress(generator, found.progress))
    report = await generator.run()
    reporter.cancel()
    write_json(found.out, {"url": found.url, **report})
    if found.progress:
        write_json(found.progress, generator.progress())


async def _report_progress(generator: Generator, path: Path | None) -> None:
    while path is not None:
        write_json(path, generator.progress())
        await asyncio.sleep(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onlyvips_release.sandbox.load", description=__doc__)
    parser.add_argument("--url", required=True, help="http on a loopback address")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, default=30.0, help=f"how long, at most {MAX_SECONDS}")
    parser.add_argument("--until-signal", action="store_true", help="until SIGTERM or SIGINT, within the same limit")
    parser.add_argument("--mix", default="default", help="`default` or a JSON file, a list of calls")
    parser.add_argument("--users", type=int, default=3000, help="how many different x-user-id")
    parser.add_argument("--connections", type=int, default=256, help="at most this many at a time, opened on demand")
    parser.add_argument("--out", type=Path, required=True, help="the result, JSON")
    parser.add_argument("--progress", type=Path, help="rewritten each second with the totals")
    parser.add_argument("--sticky-report", action="store_true", help="count the users that changed their arm")
    return parser


def main() -> int:
    """The exit code: 0 done or stopped by a signal, 2 the command line is wrong. Failed requests are no failure."""
    parser = _parser()
    found = parser.parse_args()
    if not 0 < found.rate <= 100_000 or not 0 < found.seconds <= MAX_SECONDS:
        parser.error(f"--rate must be in 0..100000 and --seconds in 0..{MAX_SECONDS}")
    if found.users < 1 or found.connections < 1:
        parser.error("--users and --connections must be at least 1")
    try:
        asyncio.run(_run(found))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


class Load:
    """A load in a process of its own, for tests and the demo; without `seconds` until `stop`. Its two files lie in
    `folder`, by default a temporary one.
    """

    def __init__(
        self, url: str, *, rate: float, seconds: float = 0.0, folder: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="onlyvips-load-")) if folder is None else folder
        self._temporary = folder is None
        self._out, self._progress = self._folder / "load.json", self._folder / "load.progress.json"
        self._out.unlink(missing_ok=True)
        self._progress.unlink(missing_ok=True)
        length = ["--seconds", str(seconds)] if seconds else ["--until-signal"]
        command = [sys.executable, "-m", "onlyvips_release.sandbox.load", "--url", url, "--rate", str(rate)]
        files = ["--out", str(self._out), "--progress", str(self._progress)]
        self._process = spawn([*command, *length, *files, *options], env=None, stdout=None, stderr=None)
        while self._process.poll() is None and not self._progress.exists():
            time.sleep(0.01)  # a signal before it listens to signals would end it without a result

    def totals(self) -> dict[str, Any]:
        """The counts so far, at most a second old."""
        return _read(self._progress)

    def stop(self) -> dict[str, Any]:
        """End it now and return its result."""
        if self._process.poll() is None:
            self._process.terminate()
        return self.wait(LAST_WAIT + 10)

    def wait(self, limit: float = MAX_SECONDS + 60.0) -> dict[str, Any]:
        """Wait at most `limit` seconds for its own end and return its result; RuntimeError when it has none."""
        with self, contextlib.suppress(subprocess.TimeoutExpired):
            if self._process.wait(limit) == 0:
                return _read(self._out)
        raise RuntimeError(f"the load generator ended with {self._process.returncode}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            end(Process.of(self._process.pid))
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
