"""A router with two upstreams of the sandbox, for tests that need nothing else."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.model import Arm, Endpoint, Instance, Series
from onlyvips_release.core.plan import Health, ReleasePlan, Revision, Service
from onlyvips_release.core.ports import Source
from onlyvips_release.sandbox.demo import free_ports
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.targets.embedded_plan import Process
from onlyvips_release.telemetry.envoy import EnvoySource
from onlyvips_release.telemetry.gauges import GaugedSource
from onlyvips_release.telemetry.probe import RouterProber
from onlyvips_release.telemetry.proc import Usage
from onlyvips_release.traffic.envoy import EnvoyRouter

TOKEN = "ab" * 16


class Bench:
    """Envoy, a stable and a canary backend, both arms pointed, weight 0."""

    def __init__(self, sticky: tuple[str, ...], faults: tuple[str, ...], folder: Path, timeout: float = 15.0) -> None:
        self.ports = free_ports(["router", "stable", "canary", "x", "y"])
        words = {name: (name, "{port}") for name in ("v1", "v2")}
        service = Service(
            "backend-api",
            canary=Revision("v2", words["v2"]),
            stable=Revision("v1", words["v1"]),
            health=Health("/api/health/health"),
            timeout=timedelta(seconds=timeout),
            per_try_timeout=timedelta(seconds=timeout / 2),
            runs=Process((self.ports["x"], self.ports["y"])),
        )
        self.plan = ReleasePlan("t", (service,), listen=("127.0.0.1", self.ports["router"]), sticky=sticky)
        self.state, self.clock = folder, SystemClock()
        self.layout = Layout.at(folder)
        self.lease = FileLease(folder / "live", self.clock)
        self.lease.acquire("test")
        self.router = self.another("r0001")
        self.source: Source = self.new_source()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.processes += [self.spawn("stable"), self.spawn("canary", *faults)]
        self.router.start()
        self.router.point(Arm.STABLE, {"backend-api": [self.at("stable", "v1")]})
        self.router.point(Arm.CANARY, {"backend-api": [self.at("canary", "v2")]})
        self.router.set_weight(0)

    def new_source(self) -> GaugedSource:
        """As a controller that begins now has it."""
        return GaugedSource(EnvoySource(self.layout, self.plan), Usage(self.instances))

    def prober(self) -> RouterProber:
        """With the pins of the release."""
        return RouterProber(f"http://127.0.0.1:{self.ports['router']}", self.plan.routed, TOKEN)

    def another(self, release: str, token: str = TOKEN) -> EnvoyRouter:
        """Another process would see it so."""
        return EnvoyRouter(self.layout, self.plan, self.lease, self.clock, None, release, token)

    def spawn(self, name: str, *faults: str) -> subprocess.Popen[bytes]:
        """One backend, ready."""
        port = self.ports[name]
        extra = [word for fault in faults for word in ("--fault", fault)]
        command = [sys.executable, "-m", "onlyvips_release.sandbox", "backend-api", str(port), *extra]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            try:
                connection.request("GET", "/api/health/health")
                connection.getresponse().read()
            except OSError:
                time.sleep(0.02)
            else:
                return process
            finally:
                connection.close()
        raise AssertionError(f"{name} did not start")

    def at(self, name: str, revision: str) -> Endpoint:
        """Where it answers."""
        return Endpoint("127.0.0.1", self.ports[name], revision)

    def instances(self) -> list[Instance]:
        """The backends as a workload would report them."""
        return [
            Instance("backend-api", arm, name, f"pid {p.pid}", p.poll() is None, self.at(str(arm), name), p.pid)
            for arm, name, p in zip(Arm, ("v1", "v2"), self.processes, strict=True)
        ]

    def ask(
        self,
        count: int,
        headers: list[dict[str, str]] | None = None,
        method: str = "GET",
        path: str = "/api/badges/list",
    ) -> list[str]:
        """Requests over one connection; per request the arm that answered, or `HTTP nnn`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["router"], timeout=10)
        seen = []
        for number in range(count):
            more = headers[number % len(headers)] if headers else {}
            connection.request(method, path, headers=more)
            answer = connection.getresponse()
            answer.read()
            arm = answer.headers.get("x-onlyvips-arm", "")
            seen.append(arm if answer.status < 500 else f"HTTP {answer.status}")
            self.cookie = answer.headers.get("set-cookie", "")
        connection.close()
        return seen

    def series(self, arm: Arm) -> Series:
        """Of the only endpoint of an arm, when the router has written its log."""
        time.sleep(0.3)
        (found,) = self.source.sample().arms["backend-api"][arm]
        return found

    def counts(self, arm: Arm) -> tuple[int, int]:
        """(good, bad) first attempts."""
        (series,) = self.source.sample().arms["backend-api"][arm]
        return series.good, series.bad

    def close(self) -> None:
        """Stop what was started."""
        self.router.stop()
        for process in self.processes:
            process.kill()
            process.wait()
        self.lease.release()


@contextmanager
def bench(sticky: tuple[str, ...] = (), faults: tuple[str, ...] = (), timeout: float = 15.0) -> Iterator[Bench]:
    """One for a test."""
    folder = Path(tempfile.mkdtemp(prefix="ov-t-"))
    made = Bench(sticky, faults, folder / "t", timeout)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def share(seen: list[str]) -> Counter[str]:
    """How often each arm answered."""
    return Counter(seen)
