"""Every seam to the world on one page. Adapters do what they are told and never decide.

Rules for all: every method may be repeated (a crash is cured by issuing the command again); weights are absolute
percents; a method that changes something returns only when the change is *confirmed in force*, else it raises a
`TargetError`; foreign exceptions stop inside the adapter. Waits go through `Clock.sleep`, which is where a signal
surfaces as `Interrupted`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from onlyvips_release.core.events import Event
from onlyvips_release.core.model import Arm, Counters, Endpoint, Instance, Percent, Probe, Request, SuiteResult
from onlyvips_release.core.plan import Revision, Suite


class Router(Protocol):
    """Splits users' traffic of *all* routed services at once."""

    def point(self, arm: Arm, endpoints: Mapping[str, Sequence[Endpoint]]) -> None:
        """Let `arm` of the named services be these endpoints, confirmed; services not named stay as they are.

        An empty list empties the arm. Requests in flight on removed endpoints are finished.
        """

    def set_weight(self, percent: Percent) -> None:
        """Give the canary arm `percent` (0..100) of users' traffic, confirmed at the data plane.

        0 and 100 are exact. Raises NotConfirmed when it is not in force in time (then less weight stays written and
        holds as soon as the router is back, more weight is taken back), Unavailable when the router is down, LeaseLost
        when somebody else took over.
        """

    def brace(self) -> None:
        """Have what is needed for weight 0 and 100 ready, so that going there needs no disk space and no thought."""

    def by_hand(self, percent: int) -> str:
        """Shell commands that put this weight in force without the tool."""

    def read_weight(self) -> Percent:
        """The weight in force at the data plane. Raises Unavailable; Interfered when the routes are not ours."""

    def reset(self) -> None:
        """Back to the route as it is between releases: weight 0, no pins. Confirmed."""

    def revive(self) -> tuple[str, ...]:
        """Start the router again if it must run and does not; say what was done, () = nothing."""


class Workload(Protocol):
    """The instances of one service. `stable` is what serves; the canary track is what is on trial."""

    def inspect(self) -> tuple[Instance, ...]:
        """What runs, from the target itself; an instance that died is reported with `alive` false."""

    def start_canary(self, revision: Revision, size: int = 1) -> tuple[Instance, ...]:
        """Run `revision` in the canary track and wait until it is ready, else NotReady (with its last log lines)."""

    def promote(self, revision: Revision) -> tuple[Instance, ...]:
        """Make `revision` stable. Routed: traffic is elsewhere. Not routed: stop the old one, start the new one."""

    def remove_canary(self, spare: str = "") -> None:
        """Drain and stop all that is not stable, keep its logs; instances of revision `spare` stay, idle."""

    def revive(self) -> tuple[str, ...]:
        """Start stable instances again that must run and died; say what was done, () = nothing."""


class Source(Protocol):
    """Raw counts of users' first attempts: no pinned test traffic, no retries."""

    def sample(self) -> Counters:
        """Cumulative counts of both arms of every routed service. Raises Unavailable; never returns a guess."""


class Prober(Protocol):
    """Pinned requests through the router, apart from users' counters."""

    def probe(self, arm: Arm, count: int) -> tuple[Probe, ...]:
        """`count` pinned GETs of each routed service's health path on new connections; failures are results."""


@dataclass(frozen=True, slots=True)
class SuiteRequest:
    """One run of a suite. `context` is what the suite may know (contract.md section 1, ONLYVIPS_CONTEXT)."""

    name: str
    suite: Suite
    arm: Arm
    weight: Percent
    context: Mapping[str, Any]


class SuiteRun(Protocol):
    """A suite under way."""

    def poll(self) -> SuiteResult | None:
        """None while it runs; the verdict as soon as it is known. A critical failure is known at once."""

    def stop(self) -> None:
        """End it now (nothing to do when it has ended)."""


class Checks(Protocol):
    """Runs suites; judged by what the suite reports, never by an exit code alone."""

    def start(self, request: SuiteRequest) -> SuiteRun:
        """Begin; one at a time."""


class Journal(Protocol):
    """Append-only record of one release."""

    def append(self, event: Event) -> None:
        """Durable when it returns (fsync). Raises JournalError."""

    def read(self) -> Iterator[Event]:
        """All events, oldest first; an unfinished last line is no event. Raises JournalError."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on a platform as a bystander sees it.

    `expired`: its holder is surely gone, or did not renew it for its whole time while we looked; `renewed`: a sign of
    life was seen since our first look.
    """

    fence: int
    who: str
    what: str
    safe_weight: int
    released: bool
    expired: bool
    renewed: bool


class Lease(Protocol):
    """One release per platform: a claim that expires."""

    def acquire(self, what: str) -> int:
        """Take it; the fence number, higher than all before.

        A claim that nobody renews is waited out, and taken at once when its holder is surely gone. Raises LeaseHeld
        (who) when it was seen to be renewed.
        """

    def renew(self, within: timedelta, safe_weight: int) -> None:
        """Say that the main loop goes on, and that its next sign of life comes `within` this time.

        `safe_weight` is where users go when none comes; a new one is known to others when this returns. Raises
        LeaseLost.
        """

    def look(self) -> Claim | None:
        """The claim as it stands, ours or another's; None = there never was one. To be asked a few times a second."""

    def stand_by(self, fence: int, what: str) -> None:
        """Have the take-over of claim number `fence` ready, so that `acquire` needs no disk space then."""

    def release(self) -> None:
        """Give it back; nothing to do when it is not held."""


class Files(Protocol):
    """The one way to write a live file: by rename out of the stage folder of the lease's fence.

    All three raise LeaseLost when the fence was taken.
    """

    def write(self, name: str, data: bytes) -> None:
        """Replace live/`name`, whole and durable."""

    def prepare(self, name: str, data: bytes) -> None:
        """Keep a file ready, durable, under a name of its own."""

    def publish(self, prepared: str, name: str) -> None:
        """Make a prepared file live/`name`: needs no disk space."""


class Guardian(Protocol):
    """The dead man's switch: writes the safe weight when the lease is not renewed in time."""

    def start(self) -> str:
        """Have it watch the lease that we hold; says in words who watches. Raises Refused when it cannot be had."""

    def stop(self) -> None:
        """Wait until it has ended, which it does by itself when the lease is given back or taken over."""


class Notifier(Protocol):
    """Tells people. Never raises, never changes a verdict."""

    def notify(self, event: Event) -> None:
        """One event of the release, after it was journalled."""


class Operator(Protocol):
    """Persons and signals."""

    def pending(self) -> Request | None:
        """What was asked since the last call, None = nothing."""


class Clock(Protocol):
    """Time, so that a 30-minute release can be simulated in milliseconds."""

    def now(self) -> datetime:
        """Wall clock, aware UTC: for people and records, never for durations."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Wait; raises Interrupted once for each signal that asked to stop."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the runner needs, made by wiring. `workloads` by service name."""

    router: Router
    workloads: Mapping[str, Workload]
    source: Source
    prober: Prober
    checks: Checks
    journal: Journal
    lease: Lease
    guardian: Guardian
    notifier: Notifier
    operator: Operator
    clock: Clock
