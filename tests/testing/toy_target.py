"""The smallest target that the whole tool works on: a platform whose router, instances and users are one file.

One file and one registry line (`toy = "tests.testing.toy_target:TARGET"` in the entry point group). Users make 100
requests a second and split as the weight says; revisions whose image is `broken` answer nobody.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from onlyvips_release.core import keys
from onlyvips_release.core.keys import Key
from onlyvips_release.core.model import Arm, Endpoint, Instance, Percent, Probe, Sample, Series, percent
from onlyvips_release.core.plan import SECOND, PlatformPart, ReleasePlan, Revision, Service, ServicePart, refuse
from onlyvips_release.core.ports import Clock, Endpoints
from onlyvips_release.core.suite import Access
from onlyvips_release.core.target import Finding, Live, ok, problem
from onlyvips_release.environment import Environment
from onlyvips_release.errors import NotReady, Unavailable
from onlyvips_release.state.journal import FileArchive
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.state.requests import RequestFile
from onlyvips_release.targets import Defaults, Target
from onlyvips_release.targets.process_guardian import ProcessGuardian

RATE = 100
"""Users' requests a second, of each service."""


@dataclass(frozen=True, slots=True)
class Shelf(ServicePart):
    """A shelf that a service stands on."""

    kind: ClassVar[str] = "shelf"
    about: ClassVar[str] = "The shelf that the service stands on."
    target: ClassVar[str] = "toy"
    tenths = True
    places: Annotated[keys.Whole, Key("How many instances the shelf has room for.")]
    label: Annotated[keys.Text, Key("What is written on the shelf.")] = "toys"

    def check(self, service: Service) -> None:
        """Two revisions need two places."""
        if self.places < 2:
            refuse("shelf.places", "give 2 or more: one for stable, one for the canary")

    def text(self) -> str:
        """The shelf in words."""
        return f"shelf {self.label!r} of {self.places}"


@dataclass(frozen=True, slots=True)
class Room(PlatformPart):
    """The room that all shelves stand in."""

    kind: ClassVar[str] = "room"
    about: ClassVar[str] = "The room of the platform."
    doors: Annotated[keys.Whole, Key("How many doors it has.")] = 1

    def check(self, plan: ReleasePlan) -> None:
        """A room without doors is of no use."""
        if self.doors < 1:
            refuse("room.doors", f"nobody gets into a room with {self.doors} doors")

    def text(self) -> str:
        """The room in words."""
        return f"a room with doors: {self.doors}"


TARGET = Target(
    "toy",
    "tests.testing.toy_target",
    (Shelf,),
    missing="give it a shelf",
    several="give it one shelf",
    engine=Room,
    revision=("revision", "image"),
    defaults=Defaults(tick=5 * SECOND, listen=("127.0.0.1", 18999)),
)


class Sheet:
    """The file: what the router points at, its weight, which revision is where. Written with the lease held."""

    def __init__(self, layout: Layout, lease: FileLease) -> None:
        self.path, self.lease = layout.live / "toy.json", lease

    def read(self) -> dict[str, Any]:
        """An empty platform where there is no file."""
        try:
            sheet: dict[str, Any] = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {"runs": False, "weight": 0, "arms": {"stable": {}, "canary": {}}, "services": {}, "born": 0.0}
        return sheet

    def write(self, **changes: Any) -> None:
        """Change some of it."""
        self.lease.write(self.path.name, json.dumps({**self.read(), **changes}).encode())


@dataclass
class ToyRouter:
    """Port Router."""

    sheet: Sheet

    def point(self, arm: Arm, endpoints: Endpoints) -> None:
        """At once."""
        arms = self.sheet.read()["arms"]
        arms[arm] |= {name: [[e.host, e.port, e.revision] for e in where] for name, where in endpoints.items()}
        self.sheet.write(arms=arms)

    def points_at(self, arm: Arm) -> Endpoints | None:
        """As pointed."""
        return {name: [Endpoint(*row) for row in rows] for name, rows in self.sheet.read()["arms"][arm].items()}

    def set_weight(self, weight: Percent) -> None:
        """At once."""
        if not self.running() and weight:
            raise Unavailable("the toy router does not run")
        self.sheet.write(weight=percent(weight))

    def prepare_safe_weights(self) -> None:
        """Nothing is needed."""

    def by_hand(self, weight: Percent) -> str:
        """An edit of the file."""
        return f"write weight {weight} into {self.sheet.path}"

    def read_weight(self) -> Percent:
        """As written."""
        if not self.running():
            raise Unavailable("the toy router does not run")
        return percent(self.sheet.read()["weight"])

    def reset(self) -> None:
        """Weight 0."""
        self.set_weight(0)

    def revive(self) -> tuple[str, ...]:
        """It never dies by itself, but it may have been stopped."""
        if self.running():
            return ()
        self.start()
        return ("router",)

    def running(self) -> bool:
        """As written."""
        return bool(self.sheet.read()["runs"])

    def start(self) -> None:
        """At once; its counters begin."""
        if not self.running():
            self.sheet.write(runs=True, born=time.time())

    def stop(self) -> None:
        """At once."""
        self.sheet.write(runs=False)


@dataclass
class ToyWorkload:
    """Port Workload: in place, each service in one act of its own."""

    plan: ReleasePlan
    sheet: Sheet
    replaces: bool = True
    one_act: bool = False

    def resolve(self, wanted: Mapping[str, Revision]) -> dict[str, Revision]:
        """Names mean what they say."""
        return dict(wanted)

    def inspect(self) -> tuple[Instance, ...]:
        """What is written as running."""
        services, planned = self.sheet.read()["services"], {service.name for service in self.plan.services}
        return tuple(
            self._instance(name, Arm(arm), one["name"])
            for name, arms in services.items()
            if name in planned
            for arm, one in arms.items()
            if one["runs"]
        )

    def start_canary(self, revisions: Mapping[str, Revision], weight: Percent) -> tuple[Instance, ...]:
        """At once."""
        for name, revision in revisions.items():
            if revision.image == "never-ready":
                raise NotReady(f"{name}: {revision.name} was not ready in time")
            self._set(name, Arm.CANARY, revision)
        return tuple(self._instance(name, Arm.CANARY, revision.name) for name, revision in revisions.items())

    def promote(self, revisions: Mapping[str, Revision]) -> tuple[Instance, ...]:
        """At once."""
        for name, revision in revisions.items():
            self._set(name, Arm.STABLE, revision)
        return tuple(self._instance(name, Arm.STABLE, revision.name) for name, revision in revisions.items())

    def remove_canary(self, keep_idle: Mapping[str, str]) -> None:
        """Nothing is kept idle."""
        services = self.sheet.read()["services"]
        self.sheet.write(
            services={name: {a: r for a, r in arms.items() if a == "stable"} for name, arms in services.items()}
        )

    def revive(self) -> tuple[str, ...]:
        """They never die by themselves."""
        return ()

    def within(self, command: str) -> timedelta:
        """Nothing is waited for."""
        return timedelta(0)

    def stable(self) -> dict[str, Revision]:
        """As written."""
        services = self.sheet.read()["services"]
        written = {s.name: services.get(s.name, {}).get("stable") for s in self.plan.services}
        return {name: Revision(one["name"], image=one["image"]) for name, one in written.items() if one}

    def wait_ready(self) -> tuple[Instance, ...]:
        """They are."""
        return tuple(i for i in self.inspect() if i.arm is Arm.STABLE)

    def stop_all(self) -> None:
        """Stable stays written, as not running."""
        self.remove_canary({})
        services = self.sheet.read()["services"]
        self.sheet.write(
            services={n: {a: {**one, "runs": False} for a, one in arms.items()} for n, arms in services.items()}
        )

    def remove(self, services: Iterable[str]) -> None:
        """Out of the file."""
        gone = set(services)
        self.sheet.write(services={n: arms for n, arms in self.sheet.read()["services"].items() if n not in gone})

    def _set(self, name: str, arm: Arm, revision: Revision) -> None:
        services = self.sheet.read()["services"]
        one = {"name": revision.name, "image": revision.image, "runs": True}
        self.sheet.write(services={**services, name: {**services.get(name, {}), arm: one}})

    def _instance(self, service: str, arm: Arm, revision: str) -> Instance:
        routed = service in {s.name for s in self.plan.routed}
        endpoint = Endpoint("127.0.0.1", 1 + (arm is Arm.CANARY), revision) if routed else None
        return Instance(service, arm, revision, f"toy {service} {arm} {revision}", True, endpoint)


@dataclass
class ToySource:
    """Port Source: users as they would be since the router began."""

    plan: ReleasePlan
    sheet: Sheet
    lag: float = 0.0

    def __post_init__(self) -> None:
        self.counts: dict[tuple[str, Arm], list[int]] = {}
        self.last = time.monotonic()

    def sample(self) -> Sample:
        """Since the last one, by the weight of now."""
        sheet, now = self.sheet.read(), time.monotonic()
        if not sheet["runs"]:
            raise Unavailable("the toy router does not run")
        requests, self.last = RATE * (now - self.last), now
        arms = {}
        for service in self.plan.routed:
            for arm, share in ((Arm.CANARY, sheet["weight"] / 100), (Arm.STABLE, 1 - sheet["weight"] / 100)):
                image = sheet["services"].get(service.name, {}).get(arm, {}).get("image", "")
                count = self.counts.setdefault((service.name, arm), [0, 0])
                count[image == "broken"] += round(requests * share)
            arms[service.name] = {arm: (self._series(service.name, arm, sheet),) for arm in Arm}
        return Sample(arms)

    def _series(self, service: str, arm: Arm, sheet: Mapping[str, Any]) -> Series:
        good, bad = self.counts[service, arm]
        return Series(f"{service} {arm}", str(sheet["born"]), good, bad)


@dataclass
class ToyProber:
    """Port Prober: what the file would answer."""

    plan: ReleasePlan
    sheet: Sheet
    proof: int = TARGET.defaults.proof

    def probe(self, arm: Arm | None, count: int) -> tuple[Probe, ...]:
        """200 from where the router points, 503 from an empty arm; no answer without a router."""
        sheet = self.sheet.read()
        arm = arm or (Arm.CANARY if sheet["weight"] == 100 else Arm.STABLE)
        return tuple(self._one(sheet, s.name, arm) for s in self.plan.routed for _ in range(count))

    def _one(self, sheet: Mapping[str, Any], service: str, arm: Arm) -> Probe:
        if not sheet["runs"]:
            return Probe(service, None, error="no router")
        where = sheet["arms"][arm].get(service)
        running = [one["name"] for one in sheet["services"].get(service, {}).values() if one["runs"]]
        where = where if where and where[0][2] in running else None
        return Probe(service, 200, arm, where[0][2]) if where else Probe(service, 503)


class ToyTarget:
    """Port Target."""

    def __init__(
        self, plan: ReleasePlan, environment: Environment, clock: Clock, lease: FileLease | None = None
    ) -> None:
        self.plan, self.environment, self.clock = plan, environment, clock
        self.layout = Layout(environment.state, plan.platform)
        self.lease = lease or FileLease(self.layout.live, clock, plan.lease)
        self.requests = RequestFile(self.layout.request)
        self.archive = FileArchive(self.layout, clock, self.lease)
        self.sheet = Sheet(self.layout, self.lease)
        self.workload = ToyWorkload(plan, self.sheet)
        self.source = ToySource(plan, self.sheet)

    def for_plan(self, plan: ReleasePlan) -> ToyTarget:
        """With the same lease."""
        return ToyTarget(plan, self.environment, self.clock, self.lease)

    def router(self, release: str = "", token: str = "") -> ToyRouter:
        """It has no pins."""
        return ToyRouter(self.sheet)

    def prober(self, token: str) -> ToyProber:
        """Over the file."""
        return ToyProber(self.plan, self.sheet)

    def guardian(self, release: str) -> ProcessGuardian:
        """The one of this machine."""
        return ProcessGuardian(self.layout, release, lambda: self.lease.fence, self.environment)

    def access(self, token: str) -> dict[str, Access]:
        """Nobody can call a toy."""
        return {service.name: Access("http://127.0.0.1:1", service.name, "/") for service in self.plan.routed}

    def examine(self) -> Iterator[Finding]:
        """The router."""
        runs = self.router().running()
        yield ok("toy router", "runs") if runs else problem("toy router", "does not run", "onlyvips-release up PLAN")

    def live(self, seconds: float) -> Live:
        """As written."""
        sheet = self.sheet.read()
        return Live(sheet["weight"], {}, seconds) if sheet["runs"] else Live(trouble="does not run")


def open_target(plan: ReleasePlan, environment: Environment, clock: Clock) -> ToyTarget:
    """The platform of this plan."""
    return ToyTarget(plan, environment, clock)
