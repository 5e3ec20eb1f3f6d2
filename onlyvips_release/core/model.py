"""The nouns that every module shares. Values only: immutable, and they refuse nonsense when born."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


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
"""Percent of users' traffic in tenths: a whole one is an int, so that JSON says `10` or `0.5`."""

SMALLEST_STEP, LARGEST_STEP = 0.1, 99.9
"""The weights of a step: 0 is no canary, 100 is what promotion does."""


def percent(value: float) -> Percent:
    """`value` rounded to tenths."""
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


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

    `identity` is what proves that it is the same instance as before: for a process its pid, start time and the
    digest of its command line. `alive` is false when that very instance is gone. `note` says what is wrong.
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
class Probe:
    """One pinned request through the router: what the router says answered, and what the app claims of itself.

    `status` is None when no answer came; then `error` says why.
    """

    service: str
    status: int | None
    arm: str = ""
    revision: str = ""
    claim: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """How one run of a suite ended (verdict.md section 3)."""

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


@dataclass(frozen=True, slots=True)
class Request:
    """What a person or a signal asked of a running release: abort, pause, resume or promote; `signal` 0 = no signal."""

    what: str
    by: str
    signal: int = 0
    reason: str = ""
