"""The nouns that every module shares. Values only: immutable, and they refuse nonsense when born."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from onlyvips_release.core.reasons import SuiteReason


class Arm(StrEnum):
    """One side of the comparison."""

    STABLE = "stable"
    CANARY = "canary"


class Verdict(StrEnum):
    """What a suite, a look of the judge or a whole release says. Absence of evidence is INCONCLUSIVE."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


Percent = float
"""A share of users' traffic in percent, rounded to one decimal. In JSON a whole one has no point: `10`, `0.5`."""


SMALLEST_STEP, LARGEST_STEP = 0.1, 99.9
"""The weights of a step: 0 is no canary, 100 is what promotion does."""


def percent(value: float) -> Percent:
    """The value with one decimal; a whole one as an integer, so that it is written as people write it."""
    rounded = round(float(value), 1)
    return int(rounded) if rounded.is_integer() else rounded


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one instance answers, and which revision answers there."""

    host: str
    port: int
    revision: str

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"port {self.port} is not in 1..65535")


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service, as the target itself reports it (never as the app claims).

    `identity` proves that it is the same instance as before: for a process its pid, start time and the digest of its
    command line. `alive`: this very instance runs. `ready`: it also takes requests, as far as the target can see.
    `restarts`: how often it, or the process in its slot, was started again. `image`: the image that it runs, "" = none.
    `note`: what is wrong with it.
    """

    service: str
    arm: Arm
    revision: str
    identity: str
    alive: bool
    endpoint: Endpoint | None = None
    pid: int | None = None
    log: str = ""
    note: str = ""
    ready: bool = True
    restarts: int = 0
    image: str = ""

    @property
    def serves(self) -> bool:
        """Whether it can answer a request now."""
        return self.alive and self.ready


@dataclass(frozen=True, slots=True)
class Series:
    """Raw cumulative counts of one instance, and its gauges. A new `start` means that the counts began again at zero.

    `latency`: (bucket, count) pairs of judge/buckets.py; `business`: good answers on the routes that the plan calls
    business; `cpu`: seconds used so far; `memory`: resident bytes now. None = this source does not see it.
    """

    name: str
    start: str
    good: int
    bad: int
    latency: tuple[tuple[int, int], ...] | None = None
    business: int | None = None
    cpu: float | None = None
    memory: int | None = None


Counters = Mapping[str, Mapping[Arm, tuple[Series, ...]]]
"""service -> arm -> raw cumulative counts of users' first attempts."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Raw counts at one moment.

    `arms`: of each arm; `lost`: service -> users' requests that got 5xx or were refused before an arm was chosen, so
    that they belong to none. Both count from the start of the router.
    """

    arms: Counters
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """One request of our own through the router: which arm and revision the router names, and what the app claims.

    `status` is None when no answer came; then `error` says why. `revision` None: this router names no revisions, so
    that only the target's instances and the app's claim can prove one. `claim` None: the plan asks the app for nothing.
    """

    service: str
    status: int | None
    arm: str = ""
    revision: str | None = ""
    claim: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """How one run of a suite ended. `reason`: why, in words; `kind`: the same for machines."""

    suite: str
    arm: Arm
    weight: Percent
    verdict: Verdict
    reason: str
    passed: int = 0
    planned: int = 0
    failed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    connection_retries: int = 0
    report: str = ""
    kind: SuiteReason = SuiteReason.NOT_RECORDED
