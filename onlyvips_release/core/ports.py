"""Every seam to the world on one page. Adapters do what they are told and never decide.

Rules for all: every method may be repeated (a crash is cured by issuing the command again); weights are absolute
percents; a method that changes something returns only when the change is *confirmed in force*, else it raises a
`TargetError`; foreign exceptions stop inside the adapter. Waits go through `Clock.sleep`, which is where a signal
surfaces as `Interrupted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from onlyvips_release.core.events import Event, Requested
from onlyvips_release.core.model import Arm, Endpoint, Instance, Percent, Probe, Sample, SuiteResult
from onlyvips_release.core.plan import Revision, Suite
from onlyvips_release.core.suite import SuiteContext

Endpoints = Mapping[str, Sequence[Endpoint]]
"""service -> where it answers."""


class Router(Protocol):
    """Splits users' traffic of *all* routed services at once."""

    def point(self, arm: Arm, endpoints: Endpoints) -> None:
        """Let `arm` of the named services be these endpoints, confirmed; services not named stay as they are.

        An empty list empties the arm. Requests in flight on removed endpoints are finished when this returns.
        """

    def points_at(self, arm: Arm) -> Endpoints | None:
        """The endpoints of `arm` as they are written now; None = this router does not name addresses."""

    def set_weight(self, weight: Percent) -> None:
        """Give the canary arm `weight` percent (0..100) of users' traffic, confirmed at the data plane.

        0 and 100 are exact. Raises NotConfirmed when it is not in force in time (then less weight stays written and
        holds as soon as the router is back, more weight is taken back), Unavailable when the router is down, LeaseLost
        when somebody else took over.
        """

    def prepare_safe_weights(self) -> None:
        """Write what is needed for weight 0 and 100 in advance, so that setting them needs no disk space."""

    def by_hand(self, weight: Percent) -> str:
        """Shell commands that put this weight in force without the tool."""

    def read_weight(self) -> Percent:
        """The weight in force at the data plane. Raises Unavailable; Interfered when the routes are not ours."""

    def reset(self) -> None:
        """Back to the route as it is between releases: weight 0, no pins. Confirmed."""

    def revive(self) -> tuple[str, ...]:
        """Start the router again if it must run and does not; returns what was started, () = nothing."""

    # Between releases, too:

    def running(self) -> bool:
        """Whether it runs."""

    def start(self) -> None:
        """Run it with the routes that it had, or with empty ones. Raises Refused when it cannot be had."""

    def stop(self) -> None:
        """Let requests in flight finish, then end it. Nothing to do when it does not run."""


class Workload(Protocol):
    """The instances of all services. `stable` is what serves; the canary track is what is on trial.

    `replaces`: promotion stops stable's instances, so that the stable arm must be emptied before. `one_act`: `promote`
    replaces routed and unrouted services together; else it is called for the unrouted ones first.
    """

    @property
    def replaces(self) -> bool: ...

    @property
    def one_act(self) -> bool: ...

    def resolve(self, wanted: Mapping[str, Revision]) -> dict[str, Revision]:
        """The revisions with all names made immutable (tag -> image ID). Raises Refused before anything is touched.

        What was resolved here is what the canary *and* the promotion run.
        """

    def inspect(self) -> tuple[Instance, ...]:
        """What runs, of all services of the plan in one look; an instance that died is reported with `alive` false."""

    def start_canary(self, revisions: Mapping[str, Revision], weight: Percent) -> tuple[Instance, ...]:
        """Run these revisions in the canary track, sized for `weight`, services side by side, and wait until all are
        ready, else NotReady (with the last log lines). What runs already is left as it is."""

    def promote(self, revisions: Mapping[str, Revision]) -> tuple[Instance, ...]:
        """Make these revisions stable and start what does not live. Routed services take no traffic on stable
        meanwhile; unrouted ones are stopped before they are started."""

    def remove_canary(self, keep_idle: Mapping[str, str]) -> None:
        """Drain and stop all that is not stable, keep its logs. `keep_idle`: service -> a revision whose instances stay
        running without traffic, where the target can keep them."""

    def revive(self) -> tuple[str, ...]:
        """Start again what must run and died, first what users are on; returns what was started, () = nothing."""

    def within(self, command: str) -> timedelta:
        """How long `start_canary`, `promote` or `remove_canary` may take, for the deadline of the lease."""

    # Between releases, too:

    def stable(self) -> dict[str, Revision]:
        """service -> the revision that serves (or must); services that were never installed are not in it."""

    def wait_ready(self) -> tuple[Instance, ...]:
        """Wait until every stable instance is ready, else NotReady."""

    def stop_all(self) -> None:
        """Stop every instance. What was stable is remembered: `promote` starts it again."""

    def remove(self, services: Iterable[str]) -> None:
        """Stop every instance of these services, and forget that they were ever installed."""


class Source(Protocol):
    """Raw counts of users' first attempts: no pinned test traffic, no retries.

    `lag`: seconds by which the counts are behind; the first tick after a shift waits for so long.
    """

    @property
    def lag(self) -> float: ...

    def sample(self) -> Sample:
        """Cumulative counts of both arms of every routed service. Raises Unavailable; never returns a guess."""


class Prober(Protocol):
    """Requests of our own through the router, apart from users' counters. `proof`: so many prove an arm."""

    @property
    def proof(self) -> int: ...

    def probe(self, arm: Arm | None, count: int) -> tuple[Probe, ...]:
        """`count` GETs of each routed service's health path, each on a new connection; failures are results.

        They are pinned to `arm`; None = as an ordinary user, which is never done inside a bake.
        """


@dataclass(frozen=True, slots=True)
class SuiteRequest:
    """One run of a suite. `context`: what the suite may know; the runner of suites adds what this request says."""

    name: str
    suite: Suite
    arm: Arm
    weight: Percent
    context: SuiteContext


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

    def read(self, *, samples: bool = True) -> Iterator[Event]:
        """All events, oldest first; an unfinished last line is no event. Raises JournalError.

        Without `samples` faster: for whoever needs to know only where it stands.
        """


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on a platform as a bystander sees it.

    `fence`: its number. `who`: its holder, for people. `what`: the command that holds it. `safe_weight`: where users
    go when its holder gives no sign of life. `released`: it was given back. `expired`: its holder is surely gone, or
    did not renew it for its whole time while we looked. `renewed`: a renewal was seen since our first look.
    """

    fence: int
    who: str
    what: str
    safe_weight: int
    released: bool
    expired: bool
    renewed: bool


class Lease(Protocol):
    """One release per platform: a claim that expires. `fence`: the number of our claim, 0 = we hold none."""

    fence: int

    def acquire(self, what: str) -> int:
        """Take it; the fence number, higher than all before.

        A claim that nobody renews is waited out, and taken at once when its holder is surely gone. Raises LeaseHeld
        (who) when it was seen to be renewed.
        """

    def renew(self, within: timedelta, safe_weight: int) -> None:
        """State that the main loop goes on, and that its next renewal comes `within` this time.

        `safe_weight` is where users go when none comes; a new one is known to others when this returns. Raises
        LeaseLost; Unavailable when the lease cannot be reached, which is no loss yet.
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
        """Have it watch the lease that we hold; returns who watches, "" = it did already. Raises Refused when it
        cannot be had."""

    def stop(self) -> None:
        """Wait until it has ended, which it does by itself when the lease is given back or taken over."""


class Notifier(Protocol):
    """A queue of what people are sent. Never raises, never blocks, never changes a verdict."""

    def notify(self, event: Event) -> None:
        """Queue one event of the release, after it was journalled."""

    def delivered(self) -> tuple[tuple[str, str], ...]:
        """(sink, key) of each message that was delivered since the last call."""


class Requests(Protocol):
    """What operators ask of a running release."""

    def take(self) -> Requested | None:
        """The next request, which is then gone from the queue; None = there is none."""

    def ask(self, request: Requested) -> None:
        """Leave a request for the controller of the open release. Raises Refused while another one waits."""

    def waits(self) -> bool:
        """Whether a request was left that no controller has taken."""

    def withdraw(self) -> None:
        """Take a request back that no controller has taken; nothing to do where there is none."""


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
    """Everything that the runner needs, made by the target from one plan."""

    router: Router
    workload: Workload
    source: Source
    prober: Prober
    checks: Checks
    journal: Journal
    lease: Lease
    guardian: Guardian
    notifier: Notifier
    requests: Requests
    clock: Clock
