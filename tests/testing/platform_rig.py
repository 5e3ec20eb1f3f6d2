"""A whole platform for one test: sandbox services behind a real Envoy, in folders and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import psutil
import yaml

from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.environment import Environment
from onlyvips_release.platform import Platform
from onlyvips_release.sandbox.demo import free_ports
from onlyvips_release.sandbox.load import Load
from onlyvips_release.sandbox.mix import default_mix

HEALTH = {"backend-api": "/api/health/health", "miniapp": "/health", "showcu-panel": "/health"}
HOSTS = {"backend-api": "api.*", "miniapp": "app.*", "showcu-panel": "panel.*"}
ROOT = Path(__file__).parents[2]


class Rig:
    """`with Rig() as rig`: `rig.up()`, `rig.load(rate)`, `rig.release("v2", faults)`; all is gone at the end."""

    def __init__(self, services: tuple[str, ...] = (*HEALTH, "flirt-bot"), suites: str = "quick") -> None:
        self.services, self.suites = services, suites
        self.folder = Path(tempfile.mkdtemp(prefix="ov-e2e-"))
        self.state, self.reports = self.folder / "state", self.folder / "reports"
        self.env = {**os.environ, "SECRET_KEY": "e2e-secret-key", "BOT_TOKEN": "e2e-bot-token"}
        self.env |= {"ONLYVIPS_STATE": str(self.state), "ONLYVIPS_REPORTS": str(self.reports)}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}"
        names = [f"{service}.{slot}" for service in services for slot in "ab"]
        self.ports = free_ports(["router", *names])
        self.stable = "v1"
        self.loads: list[Load] = []
        self.journal: list[events.Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for load in self.loads:
            load.__exit__()
        try:
            self.platform().down()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The router."""
        return f"http://127.0.0.1:{self.ports['router']}"

    def command(self, service: str, build: str, faults: tuple[str, ...] = ()) -> list[str]:
        """How a build of a service is started."""
        port = ["{port}"] if service in HEALTH else []
        extra = [
            word for fault in faults for word in (fault.split(maxsplit=1) if fault[0] == "-" else ["--fault", fault])
        ]
        return ["{python}", "-m", "onlyvips_release.sandbox", service, *port, "--build", build, *extra]

    def plan(self, canary: str, faults: Mapping[str, tuple[str, ...]] | None = None, **changes: Any) -> dict[str, Any]:
        """A plan from `self.stable` to `canary`; `faults` of the canary by service, `changes` of top-level keys."""
        services: dict[str, Any] = {}
        for name in self.services:
            routed = name in HEALTH
            services[name] = {
                "stable": {"revision": self.stable, "command": self.command(name, self.stable)},
                "canary": {"revision": canary, "command": self.command(name, canary, (faults or {}).get(name, ()))},
            }
            if routed:
                ports = [self.ports[f"{name}.a"], self.ports[f"{name}.b"]]
                services[name] |= {
                    "host": HOSTS[name],
                    "health": {"path": HEALTH[name], "within": "10s"},
                    "process": {"ports": ports, "env_from": ["SECRET_KEY"], "drain": "3s"},
                }
            else:
                services[name] |= {"routed": False, "process": {"env_from": ["BOT_TOKEN"], "drain": "3s"}}
        found: dict[str, Any] = {
            "version": 1,
            "platform": "e2e",
            "router": {"listen": f"127.0.0.1:{self.ports['router']}"},
            "services": services,
            "steps": [{"weight": 10, "bake": "6s"}, {"weight": 50, "bake": "20s"}],
            "patience": "20s",
            "watch": "4s",
            "lease": "2s",
        }
        if self.suites == "quick":
            quick = {"path": str(ROOT / "tests" / "e2e" / "quick")}
            found["checks"] = {"smoke": dict(quick), "canary": dict(quick)}
        return {**found, **changes}

    def write(self, plan: Mapping[str, Any], name: str = "release.yaml") -> Path:
        """The plan as a file."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(dict(plan), sort_keys=False))
        return path

    def platform(self, plan: Mapping[str, Any] | None = None) -> Platform:
        """Opened, in this rig's folders."""
        return Platform.load(self.write(plan or self.plan("next")), Environment(self.state, self.reports, self.env))

    def up(self) -> None:
        """Router and stable."""
        release = self.platform(self.plan("next")).up()
        assert release is None or release.phase is events.Phase.PROMOTED, release.finished

    def load(self, rate: float, *options: str) -> Load:
        """Users of the services that are here."""
        if "--mix" not in options:
            calls = [asdict(call) for call in default_mix() if call.service in self.services]
            mix = self.folder / "mix.json"
            mix.write_text(json.dumps(calls))
            options = (*options, "--mix", str(mix))
        load = Load(self.url, rate=rate, options=options)
        self.loads.append(load)
        return load

    def release(
        self, canary: str, faults: Mapping[str, tuple[str, ...]] | None = None, tell: Any = None, **changes: Any
    ) -> Release:
        """One release; `self.journal` has its events, `self.stable` moves when it is promoted."""
        self.journal = []

        def heard(event: events.Event, release: Release) -> None:
            self.journal.append(event)
            if tell:
                tell(event, release)

        release = self.platform(self.plan(canary, faults, **changes)).run(heard)
        if release.phase is events.Phase.PROMOTED:
            self.stable = canary
        return release

    def cli(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The command, as a user calls it."""
        command = [sys.executable, "-m", "onlyvips_release", *words]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=180, check=False, **more)

    def envoy(self) -> int:
        """The router's pid."""
        return int(json.loads((self.state / "e2e" / "live" / "envoy.pid.json").read_text())["pid"])

    def revisions(self) -> dict[str, str]:
        """What lives, by service: exactly one instance each, or the test fails."""
        found: dict[str, str] = {}
        for instance in self.platform().target.workload.inspect():
            assert instance.alive, instance
            assert instance.service not in found, instance
            found[instance.service] = instance.revision
        return found


def mine(folder: Path) -> list[psutil.Process]:
    """Processes that were started below a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


QUICK: dict[str, Any] = {"steps": [{"weight": 10, "bake": "4s"}], "patience": "0s", "watch": "2s"}
"""Keys of a plan whose release takes seconds."""


def installed() -> Iterator[Rig]:
    """Four services with v1 installed, as a fixture: `rig = pytest.fixture(installed)`."""
    with Rig() as found:
        found.up()
        yield found
