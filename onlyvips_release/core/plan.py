"""The plan: everything that is fixed before a release begins. Values that refuse contradictions when they are made.

Each field that a plan file may give has a `Key` with its text; its type names the reader. What only one target has
stands in that target's own parts (`ServicePart`, `PlatformPart`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, ClassVar, Self

from onlyvips_release.core import keys
from onlyvips_release.core.keys import Key
from onlyvips_release.core.limits import MINUTE, SECOND, ErrorLimits, JudgePlan, Line, SloLimits, refuse, require
from onlyvips_release.core.model import LARGEST_STEP, SMALLEST_STEP, percent

__all__ = [
    "BUSINESS", "CANARY", "DEFAULT_STEPS", "GROUPS", "LISTEN", "MINUTE", "NO_ENV", "SECOND", "SEVERITIES", "SMOKE",
    "Accept", "ErrorLimits", "Health", "Identity", "JudgePlan", "Line", "OnInconclusive",
    "PlatformPart", "ReleasePlan", "Revision", "Service", "ServicePart", "SloLimits", "Step", "Suite", "refuse",
]  # fmt: skip


class OnInconclusive(StrEnum):
    """What an undecided end leads to. There is no `continue`: absence of evidence is never health."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


class Accept(StrEnum):
    """What the last step asks for: proof, or (opt-in, reported as such) only no evidence of harm."""

    PROOF = "proof"
    NO_EVIDENCE_OF_HARM = "no_evidence_of_harm"


@dataclass(frozen=True, slots=True)
class Step:
    """One weight, held for a bake."""

    weight: Annotated[keys.Weight, Key("Percent of users' traffic.")]
    bake: Annotated[keys.Duration, Key("How long the weight is held.")]
    approve: Annotated[keys.Flag, Key("A person must let the release go on after this step.")] = False

    def __post_init__(self) -> None:
        message = f"{self.weight} % is not in {SMALLEST_STEP}..{LARGEST_STEP} (100 is what promotion does)"
        require(SMALLEST_STEP <= self.weight <= LARGEST_STEP, "weight", message)
        object.__setattr__(self, "weight", percent(self.weight))
        require(self.bake > NO_TIME, "bake", "must be longer than nothing")


@dataclass(frozen=True, slots=True)
class Suite:
    """One pytest suite as a gate."""

    path: Annotated[keys.Text, Key("Folder or file of the suite.")]
    deadline: Annotated[keys.Span, Key("Longest time of a whole run.")]
    min_passed: Annotated[keys.Whole, Key("Fewest tests that must pass.")] = 1
    required: Annotated[tuple[keys.Text, ...], Key("Node ids of tests that must pass.")] = ()
    gate: Annotated[keys.Text, Key("Least severity whose failure stops the release.")] = "normal"
    deselect: Annotated[keys.Flag, Key("Tests may be left out of the run.")] = False
    every: Annotated[keys.Span | None, Key("Time between two runs while traffic is split.")] = None

    def __post_init__(self) -> None:
        require(
            self.min_passed >= 1, "min_passed", "a suite that need not pass anything proves nothing: give 1 or more"
        )
        require(self.gate in SEVERITIES, "gate", f"{self.gate!r} is none of {', '.join(SEVERITIES)}")


SEVERITIES = ("blocker", "critical", "normal", "minor", "trivial")


@dataclass(frozen=True, slots=True)
class Health:
    """When an instance is ready."""

    path: Annotated[keys.UrlPath, Key("GET of this path answers 200 when the instance is ready.")]
    within: Annotated[keys.Span, Key("Longest time until an instance is ready.")] = 30 * SECOND


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the app states its own revision: give either key."""

    header: Annotated[keys.Header, Key("Response header that names the revision.")] = ""
    json: Annotated[keys.Text, Key("Dotted path into the JSON of the health answer.")] = ""

    def __post_init__(self) -> None:
        require(bool(self.header) != bool(self.json), "", "give either header or json")


NO_TIME = timedelta(0)
NO_ENV: Mapping[str, str] = {}
"""`env` of a revision that gives none: a canary then has stable's."""


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable name of what runs, and how to run it. Which of the keys a service takes depends on its target."""

    name: Annotated[keys.RevisionName, Key("Name of the revision, for ever.", name="revision")]
    command: Annotated[tuple[keys.Word, ...], Key("Program and its arguments.")] = ()
    env: Annotated[keys.Environment, Key("Variables. Canary's default: stable's.")] = field(
        default_factory=lambda: NO_ENV
    )
    url: Annotated[keys.Upstream, Key("Address of a service that someone else runs.")] = ""
    image: Annotated[keys.Text, Key("Container image.")] = ""
    health: Annotated[Health | None, Key("Default: the service's health.")] = None


class ServicePart:
    """How one target keeps a service: base of the frozen dataclasses behind a target's keys of a service.

    `kind` is the key in the plan file and in journals, `about` its text. A part without fields is a flag in the file.
    `ports`: of this machine, that instances listen on. `env_from`: names of secrets in the environment of the command.
    `names_revision`: whether the target itself knows which revision an instance runs. `tenths`: whether it sets weights
    in tenths of a percent.
    """

    __slots__ = ()
    kind: ClassVar[str]
    about: ClassVar[str]
    target: ClassVar[str]
    ports: tuple[int, ...] = ()
    env_from: tuple[str, ...] = ()
    names_revision: bool = True
    tenths: bool = False

    def check(self, service: Service) -> None:
        """Refuse a service that contradicts this part, with the key counted from the service."""

    def absolute(self, folder: str) -> Self:
        """The same part; paths that count from `folder`, where the plan file is, become absolute."""
        return self

    def text(self) -> str:
        """How the service is kept, in a few words for `plan`."""
        return self.kind


class PlatformPart:
    """What a target adds to the plan as a whole: base of the frozen dataclass behind its key of the plan."""

    __slots__ = ()
    kind: ClassVar[str]
    about: ClassVar[str]

    def check(self, plan: ReleasePlan) -> None:
        """Refuse a plan that contradicts this part, with the key counted from the plan."""

    def text(self) -> str:
        """The part in a few words for `plan`."""
        return self.kind


BUSINESS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"backend-api": ("POST /api/tasks/complete", "POST /api/content/{id}/view")}
)
"""What OnlyVips' own services are there for, by service; a plan overrides it."""

PER_TRY = 7 * SECOND


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the platform. `runs`: how its target keeps it."""

    name: keys.Name
    canary: Annotated[Revision, Key("The revision that is released.")]
    stable: Annotated[Revision | None, Key("The revision that users are on. Default: whatever runs.")] = None
    routed: Annotated[keys.Flag, Key("Whether users' HTTP requests reach it. If not, it has no canary arm.")] = True
    host: Annotated[keys.Host, Key("Host header, `name.*` or `*.name`. One routed service may leave it out.")] = ""
    timeout: Annotated[keys.Span, Key("Longest time of a whole request.")] = 15 * SECOND
    per_try_timeout: Annotated[keys.Span, Key("Longest first try. Default: 7s, at most half of timeout.")] = NO_TIME
    health: Annotated[Health | None, Key("When an instance is ready.")] = None
    identity: Annotated[Identity | None, Key("The app's own claim of its revision. Default: none.")] = None
    traffic: Annotated[keys.Number | None, Key("Expected requests per second, for the forecast.")] = None
    business: Annotated[tuple[keys.Call, ...] | None, Key("Calls whose 2xx answers are the volume.")] = None
    runs: ServicePart = field(kw_only=True)

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum() or self.name != self.name.lower() or len(self.name) > 40:
            refuse("", f"service name {self.name!r}: use lower-case letters, digits and '-', at most 40")
        if not self.per_try_timeout:
            object.__setattr__(self, "per_try_timeout", min(PER_TRY, self.timeout / 2))
        if self.canary.env is NO_ENV:
            env = self.stable.env if self.stable else NO_ENV
            object.__setattr__(self, "canary", replace(self.canary, env=dict(env)))
        self.runs.check(self)
        if self.stable is not None:
            self._check_difference(self.stable)
        message = f"{self.traffic} is not a number of requests per second above 0"
        require(self.traffic is None or 0 < self.traffic < 1e6, "traffic", message)
        message = "must be shorter than timeout, or a retry never gets its turn"
        require(self.per_try_timeout < self.timeout, "per_try_timeout", message)
        message = "a service without traffic has no business calls: leave it out"
        require(self.routed or not self.business, "business", message)
        for call in self.business or ():
            valid = re.fullmatch(keys.CALL, call, re.ASCII) is not None
            require(valid, "business", f"{call!r} is not METHOD /path")

    @property
    def kind(self) -> str:
        """The key of the plan that says how it is kept."""
        return self.runs.kind

    @property
    def business_calls(self) -> tuple[str, ...]:
        """`METHOD /path` of each kind of call that counts as business."""
        return BUSINESS.get(self.name, ()) if self.business is None else self.business

    def _check_difference(self, stable: Revision) -> None:
        message = f"{self.canary.name!r} is also stable's: there is nothing to release"
        require(stable.name != self.canary.name, "canary.revision", message)
        same = replace(stable, name=self.canary.name, health=self.canary.health)
        require(same != self.canary, "canary", "runs exactly what stable runs, under another name")


DEFAULT_STEPS = (Step(10, 30 * MINUTE),)
SMOKE = Suite("smoke_tests", 5 * MINUTE)
CANARY = Suite("canary_checks", 2 * MINUTE, every=5 * MINUTE)


LISTEN = ("127.0.0.1", 18000)
JUDGE = JudgePlan()
GROUPS = {"router": "Where users come in, and what keeps a user on one arm.", "checks": "The suites that are gates."}
"""Keys of the plan that only group others."""


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """One release of several services: one plan, one verdict, all or nothing. `engine`: its target's own part."""

    platform: Annotated[keys.Name, Key("Name of the platform: it has one release at a time.")]
    services: Annotated[tuple[Service, ...], Key("What is released, by name.", by="name")]
    target: Annotated[keys.Text, Key("Where the services run.")] = ""
    listen: Annotated[keys.Address, Key("Address that the router listens on for users.", group="router")] = LISTEN
    sticky: Annotated[tuple[keys.Sticky, ...], Key("What keeps a user on one arm.", group="router")] = ()
    steps: Annotated[tuple[Step, ...], Key("Rising weights, each held for its bake.")] = DEFAULT_STEPS
    patience: Annotated[keys.Duration, Key("How much longer each step may wait for missing evidence.")] = NO_TIME
    on_inconclusive: Annotated[OnInconclusive, Key("What an undecided end leads to.")] = OnInconclusive.ROLLBACK
    accept: Annotated[Accept, Key("Proof, or only that nothing speaks against the canary.")] = Accept.PROOF
    watch: Annotated[keys.Duration, Key("How long the release watches its services after promotion.")] = 5 * MINUTE
    lease: Annotated[keys.Duration, Key("Longest silence of a live controller: 2s to 5m.")] = 15 * SECOND
    smoke: Annotated[Suite, Key("Before any traffic, on both arms.", group="checks", without=("every",))] = SMOKE
    canary: Annotated[Suite, Key("Again and again while traffic is split.", group="checks", without=())] = CANARY
    judge: Annotated[JudgePlan, Key("Limits of the judge.")] = JUDGE
    engine: PlatformPart | None = None

    def __post_init__(self) -> None:
        require(bool(self.services), "services", "names no service")
        self._check_target()
        self._check_hosts()
        self._check_ports()
        message = "give 2s to 5m: so long may a controller be silent until users are taken to the safe side"
        require(2 * SECOND <= self.lease <= 5 * MINUTE, "lease", message)
        require(bool(self.steps), "steps", "give at least one step")
        weights = [step.weight for step in self.steps]
        require(weights == sorted(set(weights)), "steps", f"weights must rise, got {weights}")
        whole = not any(weight % 1 for weight in weights)
        tenths = all(service.runs.tenths for service in self.services)
        require(whole or tenths, "steps", f"tenths of a percent are not built yet for target {self.target}")

    def _check_hosts(self) -> None:
        message = "no service takes traffic: a canary release needs at least one that does"
        require(bool(self.routed), "services", message)
        hosts = [service.host for service in self.routed]
        for host in hosts:
            message = f"host {host!r} is given twice" if host else "only one routed service may leave out host"
            require(hosts.count(host) == 1, "services", message)

    def _check_target(self) -> None:
        targets = {service.runs.target for service in self.services} | ({self.target} - {""})
        message = f"a release runs on one target, not on {' and '.join(sorted(targets))}"
        require(len(targets) == 1, "services", message)
        object.__setattr__(self, "target", targets.pop())
        if self.engine is not None:
            self.engine.check(self)

    def _check_ports(self) -> None:
        ports = [self.listen[1], *(port for service in self.services for port in service.runs.ports)]
        for port in ports:
            require(ports.count(port) == 1, "services", f"port {port} is used twice")

    @property
    def routed(self) -> tuple[Service, ...]:
        """The services that take users' traffic."""
        return tuple(service for service in self.services if service.routed)

    @property
    def unrouted(self) -> tuple[Service, ...]:
        """The services without HTTP: no canary arm, replaced last."""
        return tuple(service for service in self.services if not service.routed)

    @property
    def bake(self) -> timedelta:
        """All planned bakes together."""
        return sum((step.bake for step in self.steps), timedelta(0))
