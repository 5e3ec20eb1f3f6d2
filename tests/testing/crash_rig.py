"""A real platform whose releases are killed: judged from outside, by requests, processes and the router's dump."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from onlyvips_release.clients.envoy_admin import Admin
from tests.testing.platform_rig import ROOT, Rig

LEASE = 2.0
SERVICES = ("miniapp", "flirt-bot")
GUARDIAN = "onlyvips_release.targets.process_guardian"
REQUESTS = 200
"""Requests by which a cell is judged."""


class Users(threading.Thread):
    """GETs one after another, each on a new connection: when, which arm and revision answered, "" = failed."""

    def __init__(self, port: int, pause: float = 0.004) -> None:
        super().__init__(daemon=True)
        self.port, self.pause = port, pause
        self.seen: list[tuple[float, str, str]] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        while not self.over.is_set():
            self.seen.append((time.monotonic(), *self.one()))
            time.sleep(self.pause)

    def one(self) -> tuple[str, str]:
        """Arm and revision."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": "app.onlyvips.local"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return "", ""
        finally:
            connection.close()
        if answer.status != 200:
            return "", str(answer.status)
        return answer.headers.get("x-onlyvips-arm", ""), answer.headers.get("x-onlyvips-revision", "")

    def stop(self) -> None:
        """And wait."""
        self.over.set()
        self.join()

    def failed(self, since: float = 0.0, until: float = float("inf")) -> int:
        """Failed requests in a span."""
        return sum(not arm and since <= at <= until for at, arm, _ in self.seen)

    def last_on_canary(self, since: float) -> float:
        """Seconds after `since` at which the canary arm answered a user for the last time, 0 = never."""
        return max((at - since for at, arm, _ in self.seen if arm == "canary" and at >= since), default=0.0)


class CrashRig(Rig):
    """Two services; suites that take no time, a lease of two seconds."""

    def __init__(self, services: tuple[str, ...] = SERVICES) -> None:
        super().__init__(services)
        self.number = 1

    def quick(self, canary: str, **changes: Any) -> Path:
        """A plan whose release takes some seconds."""
        plan = self.plan(
            canary,
            steps=[{"weight": 10, "bake": "400ms"}],
            watch="400ms",
            patience="0s",
            lease=f"{LEASE:g}s",
            accept="no_evidence_of_harm",
            judge={"tick": "200ms"},
        )
        path = self.folder / f"{canary}.yaml"
        path.write_text(yaml.safe_dump({**plan, **changes}, sort_keys=False))
        return path

    @contextmanager
    def controller(self, path: Path, point: str, act: str) -> Iterator[subprocess.Popen[str]]:
        """A release that strikes at a point; killed at the end, should it still live."""
        command = [sys.executable, "-m", "tests.crash.controller", str(path), point, act]
        with subprocess.Popen(command, env=self.env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            try:
                yield child
            finally:
                child.kill()

    def in_force(self) -> int:
        """The weight by the router's own dump of its routes, not by any version or file."""
        dump = Admin(self.state / "e2e" / "live" / "router").json("/config_dump?resource=dynamic_route_configs")
        hosts = dump["configs"][0]["route_config"]["virtual_hosts"]
        route = next(r for r in hosts[0]["routes"] if r["name"] == "users-safe")
        plugin = route["route"]["inline_cluster_specifier_plugin"]["extension"]["typed_config"]
        shares: list[dict[str, Any]] = plugin["priority_groups"][0]["clusters"]
        return sum(int(s.get("weight", 0)) for s in shares if s["cluster_name"].endswith("__canary")) // 100

    def guardian(self) -> int:
        """Pid of the guardian of this platform, 0 = none."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()
            if GUARDIAN in words and any(str(self.folder) in word for word in words):
                return int(process.pid)
        return 0

    def processes(self) -> list[str]:
        """What runs for this platform, by its role."""
        names = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            words = process.info["cmdline"] or []
            if any(str(self.folder) in word for word in words):
                pump = any(word.endswith("log_pump.py") for word in words)
                names.append("guardian" if GUARDIAN in words else "pump" if pump else Path(words[0]).name)
            elif "onlyvips_release.sandbox" in words and any(str(p) in words for p in self.ports.values()):
                names.append(f"{words[3]} {words[words.index('--build') + 1]}")
        return sorted(names)

    def record(self) -> dict[str, Any]:
        """The newest lease record."""
        found: dict[str, Any] = json.loads((self.state / "e2e" / "live" / "lease.json").read_text())
        return found

    def settled(self) -> dict[str, int]:
        """Requests by revision that answered, after it is over; "" = failed."""
        users, found = Users(self.ports["router"], 0), dict[str, int]()
        for _ in range(REQUESTS):
            arm, revision = users.one()
            name = f"{arm} {revision}".strip()
            found[name] = found.get(name, 0) + 1
        return found


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.005)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return
