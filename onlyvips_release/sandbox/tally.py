"""The truth about a load, as its users saw it: counted from the answers, never taken from the services' own numbers."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

FIRST_FAILURES = 20

Key = tuple[str, str, str]
"""Service, method, arm; the arm is empty when the answer does not name it, or none came."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one request ended. `at`: seconds since the load began, at its sending. `status` 0: no answer, see `error`
    (refused, reset, broken, timeout). `took`: seconds. `expected`: a status outside 2xx that is no surprise.
    """

    at: float
    took: float
    service: str
    method: str
    path: str
    user: str
    status: int
    error: str
    arm: str
    expected: bool = False

    @property
    def failed(self) -> bool:
        """A user was let down: an answer of 500 or above, or none."""
        return self.status >= 500 or not self.status

    @property
    def unexpected(self) -> bool:
        """Answered, but with a redirect or a refusal that the call does not expect."""
        return 300 <= self.status < 500 and not self.expected


@dataclass(slots=True)
class Count:
    """Requests of one kind that have ended."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    unexpected: int = 0

    def add(self, result: Result) -> None:
        """Count one request."""
        self.sent += 1
        self.answered += bool(result.status)
        self.failed += result.failed
        self.unexpected += result.unexpected


class Tally:
    """All results of one load. `began`: wall clock, seconds since the epoch."""

    def __init__(self, began: float, *, sticky: bool = False) -> None:
        self._began = began
        self.total = Count()
        self._cells: defaultdict[Key, Count] = defaultdict(Count)
        self._seconds: defaultdict[tuple[int, str], Count] = defaultdict(Count)
        self._took: defaultdict[str, array[float]] = defaultdict(lambda: array("f"))
        self._reasons: Counter[str] = Counter()
        self._failures: list[dict[str, object]] = []
        self._last_good: dict[str, float] = {}
        self._gaps: defaultdict[str, float] = defaultdict(float)
        self._sides: defaultdict[str, defaultdict[str, set[str]]] | None = (
            defaultdict(lambda: defaultdict(set)) if sticky else None
        )

    def add(self, result: Result) -> None:
        """Count one request that has ended."""
        self.total.add(result)
        self._cells[result.service, result.method, result.arm].add(result)
        self._seconds[int(result.at), result.arm].add(result)
        if result.status:
            self._took[result.arm].append(result.took)
        if result.failed:
            self._fail(result)
        elif not result.unexpected:
            self._good("", result.at + result.took)
            self._good(result.service, result.at + result.took)
        if self._sides is not None and result.arm:
            self._sides[result.service][result.user].add(result.arm)

    def _fail(self, result: Result) -> None:
        self._reasons[str(result.status or result.error)] += 1
        if len(self._failures) < FIRST_FAILURES:
            when = datetime.fromtimestamp(self._began + result.at, UTC).isoformat(timespec="milliseconds")
            self._failures.append({"time": when, **asdict(result)})

    def _good(self, service: str, now: float) -> None:
        self._gaps[service] = max(self._gaps[service], now - self._last_good.get(service, 0.0))
        self._last_good[service] = now

    def totals(self) -> dict[str, object]:
        """The counts, cheap enough for each second."""
        return {**asdict(self.total), "reasons": dict(self._reasons)}

    def report(self, end: float) -> dict[str, object]:
        """Everything, as JSON. `end`: seconds since the begin at which sending ended; silence until then is a gap."""
        for service in {"", *(service for service, _, _ in self._cells)}:
            gap = end - self._last_good.get(service, 0.0)
            self._gaps[service] = max(self._gaps[service], gap)
        cells = [
            {"service": service, "method": method, "arm": arm, **asdict(count)}
            for (service, method, arm), count in sorted(self._cells.items())
        ]
        seconds = [
            {"second": second, "arm": arm, **asdict(count)} for (second, arm), count in sorted(self._seconds.items())
        ]
        report = {
            "max_gap_s": round(self._gaps.pop(""), 3),
            "max_gap_s_by_service": {name: round(gap, 3) for name, gap in sorted(self._gaps.items())},
            "latency_ms": {arm: percentiles(took) for arm, took in sorted(self._took.items())},
            "cells": cells,
            "series": seconds,
            "failures": self._failures,
        }
        return report | ({"sticky": self._sticky()} if self._sides is not None else {})

    def _sticky(self) -> dict[str, dict[str, int]]:
        assert self._sides is not None
        return {
            service: {"users": len(sides), "changed": sum(len(arms) > 1 for arms in sides.values())}
            for service, sides in sorted(self._sides.items())
        }


def percentiles(took: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and the maximum of times in seconds, as milliseconds (nearest rank)."""
    times = sorted(took)
    ranks = {f"p{share}": times[math.ceil(len(times) * share / 100) - 1] for share in (50, 95, 99)}
    return {name: round(value * 1000, 3) for name, value in (ranks | {"max": times[-1]}).items()}
