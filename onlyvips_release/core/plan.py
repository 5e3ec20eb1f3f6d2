"""The plan: everything that is fixed before a release begins. Values that refuse contradictions when born."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NoReturn

from onlyvips_release.errors import PlanError, Problem

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def refuse(key: str, message: str) -> NoReturn:
    """Raise the one error of a plan value; the file's reader adds line and column."""
    raise PlanError((Problem(0, 0, key, message),))


class OnInconclusive(StrEnum):
    """What an undecided end leads to. There is no `continue`: absence of evidence is never health."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


class Accept(StrEnum):
    """What the last step asks for: proof, or (opt-in, reported as such) only no evidence of harm."""

    PROOF = "proof"
    NO_EVIDENCE_OF_HARM = "no_evidence_of_harm"


@dataclass(frozen=True, slots=True)
class Line:
    """A line `canary rate = factor * stable rate + plus` (shares, not percents)."""

    factor: float
    plus: float

    def __post_init__(self) -> None:
        if not (0 <= self.factor <= 100 and 0 <= self.plus < 1):
            refuse("judge.errors", f"factor {self.factor} must be in 0..100 and plus {self.plus} in 0..1")


@dataclass(frozen=True, slots=True)
class ErrorLimits:
    """The two lines of judge.md: beyond `tolerated` a canary is stopped, below `never_accept` it may be promoted."""

    tolerated: Line = Line(1.2, 0.001)
    never_accept: Line = Line(1.5, 0.005)

    def __post_init__(self) -> None:
        inner, outer = self.tolerated, self.never_accept
        if outer.factor < inner.factor or outer.plus < inner.plus or inner == outer:
            refuse("judge.errors", "never_accept must lie beyond tolerated in both factor and plus")


@dataclass(frozen=True, slots=True)
class SloLimits:
    """Absolute guards. `errors`: share of users' first attempts that may fail; `share`: that may be `slower_than`;
    None = off."""

    errors: float | None = 0.05
    slower_than: timedelta | None = timedelta(milliseconds=500)
    share: float = 0.01

    def __post_init__(self) -> None:
        if self.errors is not None and not 0 < self.errors < 1:
            refuse("judge.slo.errors", f"{self.errors} is not a share between 0 and 1")
        if not 0 < self.share < 1:
            refuse("judge.slo.share", f"{self.share} is not a share between 0 and 1")
        if self.slower_than is not None and not timedelta(milliseconds=1) <= self.slower_than <= MINUTE:
            refuse("judge.slo.slower_than", "give 1ms to 1m, or off")


@dataclass(frozen=True, slots=True)
class GaugeLimits:
    """CPU or memory. `more`: tolerated share above stable; `most`: absolute, in cores or bytes, None = none."""

    more: float
    most: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.more <= 10:
            refuse("more", f"{self.more} is not a share above 0, at most 10")
        if self.most is not None and self.most <= 0:
            refuse("most", "must be more than nothing")


CPU, MEMORY = GaugeLimits(0.2), GaugeLimits(0.1)


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """Limits of the judge. `alpha`: chance to roll back a canary within tolerance; `beta`: chance to promote one
    beyond the never-accept line; both for any number of looks. `tick`: time between two samples.

    `slower`: tolerated latency (0.1 = 10 % slower), None = 10 % where history tells how much it wanders, else 25 %,
    0 = off. `volume`: least share of stable's business calls per request; `traffic_share`: least share of the weight;
    None = off. Gauges are read in blocks of `block` after `warm_up`.
    """

    alpha: float = 0.01
    beta: float = 0.05
    tick: timedelta = 2 * SECOND
    errors: ErrorLimits = ErrorLimits()
    slo: SloLimits = SloLimits()
    slower: float | None = None
    volume: float | None = 0.9
    traffic_share: float | None = 0.8
    cpu: GaugeLimits | None = CPU
    memory: GaugeLimits | None = MEMORY
    block: timedelta = MINUTE
    warm_up: timedelta = 3 * MINUTE

    def __post_init__(self) -> None:
        for key, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not 0 < value < 0.5:
                refuse(f"judge.{key}", f"{value} is not between 0 and 0.5")
        for key, share in (("volume", self.volume), ("traffic_share", self.traffic_share)):
            if share is not None and not 0 < share <= 1:
                refuse(f"judge.{key}", f"{share} is not a share above 0, at most 1 (or off)")
        if self.slower is not None and not 0 <= self.slower <= 10:
            refuse("judge.slower", f"{self.slower} is not a share in 0..10 (0.1 = 10 % slower)")
        if not SECOND <= self.block <= 60 * MINUTE:
            refuse("judge.block", "give 1s to 1h")
        if not timedelta(milliseconds=200) <= self.tick <= 5 * MINUTE:
            refuse("judge.tick", "give 200ms to 5m")


@dataclass(frozen=True, slots=True)
class Step:
    """One weight (whole percent of users' traffic) held for `bake`; `approve`: a person must say go on after it."""

    weight: int
    bake: timedelta
    approve: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= 99:
            refuse("weight", f"{self.weight} is not a whole percent in 1..99 (100 is what promotion does)")
        if self.bake <= timedelta(0):
            refuse("bake", "must be longer than nothing")


@dataclass(frozen=True, slots=True)
class Suite:
    """One pytest suite as a gate: `deadline` for the whole run, `required` node ids that must have passed."""

    path: str
    deadline: timedelta
    min_passed: int = 1
    required: tuple[str, ...] = ()
    gate: str = "normal"
    deselect: bool = False
    every: timedelta | None = None

    def __post_init__(self) -> None:
        if self.min_passed < 1:
            refuse("min_passed", "a suite that need not pass anything proves nothing: give 1 or more")
        if self.gate not in SEVERITIES:
            refuse("gate", f"{self.gate!r} is none of {', '.join(SEVERITIES)}")


SEVERITIES = ("blocker", "critical", "normal", "minor", "trivial")


@dataclass(frozen=True, slots=True)
class Health:
    """GET `path` answering 200 = ready; an instance must get there `within` its time."""

    path: str
    within: timedelta = 30 * SECOND


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the app states its own revision: a response header, or a dotted path into the health answer's JSON."""

    header: str = ""
    json: str = ""

    def __post_init__(self) -> None:
        if bool(self.header) == bool(self.json):
            refuse("identity", "give either header or json")


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable name of what runs, and how to run it: a command (process) or a URL (external)."""

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """How processes of a service are kept: two port slots, drain time, names of secrets taken from our environment."""

    ports: tuple[int, ...] = ()
    drain: timedelta = 10 * SECOND
    env_from: tuple[str, ...] = ()
    cwd: str = ""


BUSINESS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"backend-api": ("POST /api/tasks/complete", "POST /api/content/{id}/view")}
)
"""What OnlyVips' own services are there for (platform.md sections 5 and 7), by service; a plan overrides it."""

CALL = re.compile(r"[A-Z]{1,10} (?:/(?:\*|\{\w*\}|[\w.~%!$&'()+,;=:@-]*))+", re.ASCII)
"""`METHOD /path`; a whole segment may be `*` or `{name}`."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the platform. `process` is None for a service that someone else runs (`external`).

    `stable` None = whatever runs. `host` is the Host header pattern of the router ("" = all that is left over).
    `business`: calls whose good answers (2xx) are counted as business, None = `BUSINESS` of its name.
    `traffic`: users' requests per second that are expected, for the forecast.
    """

    name: str
    canary: Revision
    stable: Revision | None = None
    routed: bool = True
    host: str = ""
    timeout: timedelta = 15 * SECOND
    per_try_timeout: timedelta = 7 * SECOND
    health: Health | None = None
    identity: Identity | None = None
    process: Process | None = None
    traffic: float | None = None
    business: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum() or self.name != self.name.lower() or len(self.name) > 40:
            refuse("", f"service name {self.name!r}: use lower-case letters, digits and '-', at most 40")
        if self.process is None:
            self._check_external()
        else:
            self._check_process(self.process)
        if self.stable is not None:
            self._check_difference(self.stable)
        if self.traffic is not None and not 0 < self.traffic < 1e6:
            refuse("traffic", f"{self.traffic} is not a number of requests per second above 0")
        if self.per_try_timeout >= self.timeout:
            refuse("per_try_timeout", "must be shorter than timeout, or a retry never gets its turn")
        if self.business and not self.routed:
            refuse("business", "a service without traffic has no business calls: leave it out")
        for call in self.business or ():
            if not CALL.fullmatch(call):
                refuse("business", f"{call!r} is not METHOD /path")

    @property
    def business_calls(self) -> tuple[str, ...]:
        """`METHOD /path` of each kind of call that counts as business."""
        return BUSINESS.get(self.name, ()) if self.business is None else self.business

    def _check_external(self) -> None:
        if not self.routed:
            refuse("external", "a service without traffic that someone else runs leaves nothing to do: leave it out")
        if self.stable is None:
            refuse("stable", "an external service must name its stable revision and url")
        for key, revision in (("stable", self.stable), ("canary", self.canary)):
            if not revision.url or revision.command:
                refuse(key, "an external service has a url and no command")

    def _check_process(self, process: Process) -> None:
        if self.routed and self.health is None:
            refuse("health", "a routed service needs a health path: nothing else tells when it is ready")
        if self.routed and len(set(process.ports)) != 2:
            refuse("process.ports", "give two different ports: one for stable, one for the canary")
        if not self.routed and process.ports:
            refuse("process.ports", "a service that is not routed has no ports")
        for key, revision in (("stable", self.stable), ("canary", self.canary)):
            if revision is not None and (not revision.command or revision.url):
                refuse(key, "a process service has a command and no url")
            if revision is not None and self.routed and not any("{port}" in word for word in revision.command):
                refuse(f"{key}.command", 'must contain "{port}", or both revisions would fight for one port')

    def _check_difference(self, stable: Revision) -> None:
        if stable.name == self.canary.name:
            refuse("canary.revision", f"{self.canary.name!r} is also stable's: there is nothing to release")
        if (stable.command, stable.env, stable.url) == (self.canary.command, self.canary.env, self.canary.url):
            refuse("canary", "runs exactly what stable runs, under another name")


DEFAULT_STEPS = (Step(10, 30 * MINUTE),)
SMOKE = Suite("smoke_tests", 5 * MINUTE)
CANARY = Suite("canary_checks", 2 * MINUTE, every=5 * MINUTE)


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """One release of several services: one plan, one verdict, all or nothing."""

    platform: str
    services: tuple[Service, ...]
    target: str = "embedded"
    listen: tuple[str, int] = ("127.0.0.1", 18000)
    sticky: tuple[str, ...] = ()
    steps: tuple[Step, ...] = DEFAULT_STEPS
    patience: timedelta = timedelta(0)
    on_inconclusive: OnInconclusive = OnInconclusive.ROLLBACK
    accept: Accept = Accept.PROOF
    watch: timedelta = 5 * MINUTE
    lease: timedelta = 15 * SECOND
    smoke: Suite = SMOKE
    canary: Suite = CANARY
    judge: JudgePlan = JudgePlan()

    def __post_init__(self) -> None:
        if self.target != "embedded":
            refuse("target", f"{self.target!r} is not built yet: use embedded")
        if not self.services:
            refuse("services", "names no service")
        self._check_hosts()
        self._check_ports()
        if not 2 * SECOND <= self.lease <= 5 * MINUTE:
            refuse("lease", "give 2s to 5m: so long may a controller be silent until users are taken to the safe side")
        if not self.steps:
            refuse("steps", "give at least one step")
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            refuse("steps", f"weights must rise, got {weights}")

    def _check_hosts(self) -> None:
        if not self.routed:
            refuse("services", "no service takes traffic: a canary release needs at least one that does")
        hosts = [service.host for service in self.routed]
        for host in set(hosts):
            if hosts.count(host) > 1:
                what = f"host {host!r} is given twice" if host else "only one routed service may leave out host"
                refuse("services", what)

    def _check_ports(self) -> None:
        ports = [port for service in self.services if service.process for port in service.process.ports]
        for port in {*ports, self.listen[1]}:
            if [*ports, self.listen[1]].count(port) > 1:
                refuse("services", f"port {port} is used twice")

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
