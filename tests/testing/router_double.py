"""An Envoy in memory behind the real EnvoyRouter: it reads the files that the router writes, and answers as told.

Everything that the router asks Envoy for goes over `stats`; a test says which subscribers take a version, which of them
refuse it, whether Envoy lives, and how many requests are in flight.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.errors import Unavailable
from onlyvips_release.state.layout import Layout
from onlyvips_release.traffic import envoy_config as config
from onlyvips_release.traffic.envoy import ROUTES, EnvoyRouter
from tests.testing.plans import make_plan, service

TOKEN = "ab" * 16
SERVICE = "backend-api"


class HastyClock:
    """Each look at it costs a twentieth of a second, so that no wait lasts."""

    at = 0.0

    def now(self) -> datetime:
        """A day."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """Virtual seconds."""
        self.at += 0.05
        return self.at

    def sleep(self, seconds: float) -> None:
        """At once."""
        self.at += seconds


class PlainFiles:
    """Port Files without a claim. `full`: the disk takes nothing new; a rename still works."""

    def __init__(self, live: Path) -> None:
        self.live, self.full = live, False
        self.published: list[str] = []

    def write(self, name: str, data: bytes) -> None:
        """At once."""
        self.prepare("new", data)
        self.publish("new", name)

    def prepare(self, name: str, data: bytes) -> None:
        """Beside the live files."""
        if self.full:
            raise OSError(28, "No space left on device")
        (self.live / "stage").mkdir(parents=True, exist_ok=True)
        (self.live / "stage" / name).write_bytes(data)

    def publish(self, prepared: str, name: str) -> None:
        """A rename."""
        (self.live / name).parent.mkdir(parents=True, exist_ok=True)
        (self.live / "stage" / prepared).rename(self.live / name)
        self.published.append(name)


@dataclass
class EnvoyDouble:
    """Envoy, as its admin socket shows it.

    `deaf`: subscribers (`cluster.<service>__<leg>`, or the routes) that never take a new version; `refuses`: those that
    count a new version as rejected; `in_flight`: requests on each cluster, at each look one less; `looks`: what was
    asked for.
    """

    folder: Path
    lives: bool = True
    answers: bool = True
    deaf: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    in_flight: dict[str, int] = field(default_factory=dict)
    looks: list[str] = field(default_factory=list)
    on_look: Callable[[], None] = lambda: None
    versions: dict[str, str] = field(default_factory=dict)
    refused: dict[str, set[str]] = field(default_factory=dict)

    def alive(self) -> bool:
        """Whether its process lives."""
        return self.lives

    def stats(self, pattern: str) -> dict[str, str]:
        """What matches, after every subscriber has looked at its file."""
        if not (self.lives and self.answers):
            raise Unavailable("the router does not answer")
        self.looks.append(pattern)
        self.on_look()
        found = {}
        for subscriber, name in self.subscribers().items():
            self._look_at(subscriber, self.read(name))
            found[f"{subscriber}.version_text"] = f'"{self.versions.get(subscriber, "")}"'
            found[f"{subscriber}.update_rejected"] = str(len(self.refused.get(subscriber, ())))
            found[f"{subscriber}.update_failure"] = "0"
            active = self.in_flight.get(subscriber, 0)
            found[f"{subscriber}.upstream_rq_active"] = str(active)
            if "upstream_rq_active" in pattern and re.search(pattern, f"{subscriber}.upstream_rq_active"):
                self.in_flight[subscriber] = max(active - 1, 0)
        return {name: value for name, value in found.items() if re.search(pattern, name)}

    def total(self, pattern: str) -> int:
        """The sum of what matches as a whole."""
        return sum(int(value) for value in self.stats(f"^{pattern}$").values())

    def subscribers(self) -> dict[str, str]:
        """Subscriber -> the file that it watches."""
        legs = {f"cluster.{SERVICE}__{leg}": config.endpoints_file(SERVICE, arm) for leg, arm in config.LEGS.items()}
        return {ROUTES: "rds.json", **legs}

    def _look_at(self, subscriber: str, file: dict[str, object]) -> None:
        version = str(file.get("version_info", ""))
        if version == self.versions.get(subscriber):
            return
        if subscriber in self.refuses:
            self.refused.setdefault(subscriber, set()).add(version)
        elif subscriber not in self.deaf:
            self.versions[subscriber] = version

    def read(self, name: str) -> dict[str, object]:
        """A file as it is, {} when it is not there."""
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, object] = json.loads((self.folder / name).read_bytes())
            return found
        return {}

    @property
    def weight(self) -> int:
        """That users have now: of the version that was taken last."""
        return int(self.versions.get(ROUTES, "w0").rpartition("w")[2] or 0)


@dataclass
class RouterBench:
    """A router with its double; `written` is what its routes file holds."""

    router: EnvoyRouter
    envoy: EnvoyDouble
    files: PlainFiles

    @property
    def written(self) -> int:
        """The weight of the routes file."""
        return int(str(self.envoy.read("rds.json")["version_info"]).rpartition("w")[2])


def router_bench(folder: Path, release: str = "r0001", token: str = TOKEN) -> RouterBench:
    """Weight 0 in force, both arms empty."""
    files = PlainFiles(folder / "live")
    router = EnvoyRouter(Layout.at(folder), plan(), files, HastyClock(), None, release, token)
    envoy = EnvoyDouble(router.folder)
    attach(router, envoy)
    router.set_weight(0)
    return RouterBench(router, envoy, files)


def attach(router: EnvoyRouter, envoy: EnvoyDouble) -> None:
    """The router asks this Envoy."""
    router.process.alive = envoy.alive  # type: ignore[method-assign]
    router.process.admin = router.admin = envoy  # type: ignore[assignment]


def plan() -> ReleasePlan:
    """One routed service."""
    return make_plan(services=(service(SERVICE, 0),))
