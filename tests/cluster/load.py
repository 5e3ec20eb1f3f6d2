"""Send a bounded number of requests to a gateway from outside the cluster, and count what came back.

It runs as a process of its own, so that neither the cluster nor the test can count for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from tests.cluster.place import ClusterError

ALLOWED = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "10.245.0.0/16", "10.246.0.0/16")]
MOST_REQUESTS, MOST_SECONDS = 200_000, 900.0
HANG_SECONDS, TIMEOUT = 5.0, 15.0


@dataclass(frozen=True)
class Aim:
    """Where requests go, and how many: `rate` requests a second, as fast as answers come without one."""

    address: tuple[str, int]
    host: str
    requests: int = MOST_REQUESTS
    rate: float = 0.0
    seconds: float = 120.0
    connections: int = 8
    method: str = "GET"
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse addresses that are not this machine's own, and loads without an end."""
        if not any(ipaddress.ip_address(self.address[0]) in network for network in ALLOWED):
            raise ClusterError(f"load goes to loopback and to test clusters only, not to {self.address[0]}")
        if not (0 < self.requests <= MOST_REQUESTS and 0 < self.seconds <= MOST_SECONDS):
            raise ClusterError(f"a load has at most {MOST_REQUESTS} requests and {MOST_SECONDS:g} s")


@dataclass
class Tally:
    """What came back. Failed is every answer of 400 or more (404 too), every broken or timed-out request."""

    requests: int = 0
    failures: int = 0
    hangs: int = 0
    slowest: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)

    def add(self, status: str, revision: str, seconds: float) -> None:
        """Count one request; `status` is a number, or the name of an exception."""
        self.requests += 1
        self.failures += not (status.isdecimal() and int(status) < 400)
        self.hangs += seconds > HANG_SECONDS
        self.slowest = max(self.slowest, seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if revision:
            self.revisions[revision] = self.revisions.get(revision, 0) + 1

    def share(self, revision: str) -> float:
        """Return the share of answers that came from a revision."""
        return Counter(self.revisions)[revision] / max(1, self.requests)


class Sender:
    """Sends the requests of one aim over several connections."""

    def __init__(self, aim: Aim) -> None:
        aim.check()
        self.aim, self.tally = aim, Tally()
        self.remaining = aim.requests
        self.stopped = False

    async def run(self) -> Tally:
        """Send until the number, the time or SIGTERM ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.call_later(self.aim.seconds, self.stop)
        begun = time.monotonic()
        await asyncio.gather(*(self._worker(begun, index) for index in range(self.aim.connections)))
        return self.tally

    def stop(self) -> None:
        """Send no further request."""
        self.stopped = True

    async def _worker(self, begun: float, index: int) -> None:
        connection = Connection(self.aim)
        turn = 0
        while self.remaining > 0 and not self.stopped:
            self.remaining -= 1
            if self.aim.rate:
                due = begun + (turn * self.aim.connections + index) / self.aim.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                turn += 1
            if self.stopped:
                break
            sent = time.monotonic()
            try:
                status, revision = await asyncio.wait_for(connection.exchange(), TIMEOUT)
            except (OSError, EOFError, ValueError) as error:
                status, revision = type(error).__name__, ""
                connection.close()
            self.tally.add(status, revision, time.monotonic() - sent)
        connection.close()


class Connection:
    """One connection, opened again when the gateway has closed it."""

    def __init__(self, aim: Aim) -> None:
        self.aim = aim
        more = "".join(f"{name}: {value}\r\n" for name, value in aim.headers.items())
        body = "content-length: 0\r\n" if aim.method != "GET" else ""
        self.request = f"{aim.method} {aim.path} HTTP/1.1\r\nhost: {aim.host}\r\n{more}{body}\r\n".encode()
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self) -> tuple[str, str]:
        """Send one request; return the answer's status and revision."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(*self.aim.address)
        reader, writer = self.streams
        writer.write(self.request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        else:
            await reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection") == "close":
            self.close()
        return head[0].split(" ")[1], fields.get("x-revision", "")

    def close(self) -> None:
        """Close the connection; the next exchange opens another one."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


class Load:
    """A load process that runs."""

    def __init__(self, aim: Aim) -> None:
        aim.check()
        self.limit = aim.seconds + TIMEOUT + 5
        words = [sys.executable, "-m", "tests.cluster.load", json.dumps(asdict(aim))]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def result(self) -> Tally:
        """Wait for the end of the load and return its counts."""
        output, _ = self.process.communicate(timeout=self.limit)
        if self.process.returncode:
            raise ClusterError(f"the load process ended with {self.process.returncode}")
        return Tally(**json.loads(output))

    def stop(self) -> Tally:
        """End the load and return its counts."""
        self.process.send_signal(signal.SIGTERM)
        return self.result()


def count(aim: Aim) -> Tally:
    """Send all requests and return the counts."""
    with background(aim) as load:
        return load.result()


@contextmanager
def background(aim: Aim) -> Iterator[Load]:
    """Send requests while the block runs."""
    load = Load(aim)
    try:
        yield load
    finally:
        if load.process.poll() is None:
            load.process.kill()
        with contextlib.suppress(ValueError):
            load.process.communicate()


def main() -> None:
    """Send what the JSON text in the first argument describes; print the counts as JSON."""
    parser = argparse.ArgumentParser("python -m tests.cluster.load", description=__doc__)
    parser.add_argument("aim", help='JSON, for example {"address": ["127.0.0.1", 8000], "host": "x", "requests": 10}')
    fields = json.loads(parser.parse_args().aim)
    fields["address"] = tuple(fields["address"])
    print(json.dumps(asdict(asyncio.run(Sender(Aim(**fields)).run()))))


if __name__ == "__main__":
    main()
