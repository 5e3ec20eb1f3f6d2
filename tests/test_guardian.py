"""What the guardian does about a claim that is over: once, again and again, on a full disk, after somebody else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from onlyvips_release import guardian
from onlyvips_release.core import events
from onlyvips_release.core.ports import Claim
from onlyvips_release.errors import JournalError, LeaseHeld, NotConfirmed, Unavailable
from tests.testing.plans import make_plan
from tests.testing.simulated_ports import SimClock, SimRouter
from tests.testing.simulation import World

EXPIRED = Claim(1, "run by ops", "run", 0, released=False, expired=True, renewed=False)
RENEWED = replace(EXPIRED, expired=False, renewed=True)


@dataclass
class ScriptedLease:
    """Claims as a test says, one a look; the last one again and again. `faster`: so often somebody else was faster."""

    claims: list[Claim]
    faster: int = 0
    calls: list[str] = field(default_factory=list)

    def look(self) -> Claim | None:
        """The next one."""
        return self.claims.pop(0) if len(self.claims) > 1 else self.claims[0]

    def acquire(self, what: str) -> int:
        """Unless somebody was faster."""
        if self.faster:
            self.faster -= 1
            raise LeaseHeld("somebody else was faster")
        self.calls.append(f"acquire {what}")
        return self.claims[0].fence + 1

    def renew(self, within: timedelta, safe_weight: int) -> None:
        """Noted."""
        self.calls.append(f"renew {safe_weight}")

    def stand_by(self, fence: int, what: str) -> None:
        """Noted."""
        self.calls.append(f"stand by {fence} {what}")

    def release(self) -> None:
        """Noted."""
        self.calls.append("release")


@dataclass
class Watch:
    """One guardian at its work, in a world whose users are on the canary."""

    lease: ScriptedLease
    world: World = field(default_factory=lambda: World(make_plan(), rps=10))
    notified: list[events.Event] = field(default_factory=list)
    full: bool = False

    def __post_init__(self) -> None:
        self.world.weight = 50

    def append(self, event: events.Event) -> None:
        """Port Journal."""
        if self.full:
            raise JournalError("no space left")
        self.world.journal.append(event)

    def notify(self, event: events.Event) -> None:
        """Port Notifier."""
        self.notified.append(event)

    def delivered(self) -> tuple[tuple[str, str], ...]:
        """Nothing."""
        return ()

    def guard(self, fence: int = 1, *, is_open: bool = True) -> bool:
        """Until it has acted, or is not needed any more. `is_open`: its release has no end."""
        router, clock = SimRouter(self.world), SimClock(self.world)

        def journal(fence: int) -> Watch:
            return self

        ports = self.lease, router, journal, clock, self
        return guardian.guard(fence, *ports, lambda: is_open)  # type: ignore[arg-type]  # append alone


def acted(watch: Watch) -> list[tuple[int, bool]]:
    """What was recorded."""
    return [(e.weight, e.confirmed) for e in watch.world.journal if isinstance(e, events.GuardianActed)]


@pytest.mark.parametrize("safe", [0, 100])
def test_expired_claim_is_taken_the_safe_weight_put_in_force_recorded_told_and_the_claim_given_back(safe: int) -> None:
    watch = Watch(ScriptedLease([replace(EXPIRED, safe_weight=safe)]))
    assert watch.guard()
    assert watch.world.weight == safe
    assert acted(watch) == [(safe, True)]
    assert watch.notified == watch.world.journal
    assert watch.lease.calls == ["acquire guardian", f"renew {safe}", "release"]


def test_nothing_happens_while_the_claim_is_renewed_or_when_it_is_given_back() -> None:
    watch = Watch(ScriptedLease([RENEWED] * 20 + [replace(RENEWED, released=True)]))
    assert not watch.guard()
    assert (watch.world.weight, watch.lease.calls, watch.world.journal) == (50, [], [])
    assert watch.world.time == pytest.approx(20 * guardian.EVERY)


def test_safe_weight_is_tried_again_until_it_is_confirmed_and_the_claim_kept_meanwhile() -> None:
    watch, tries = Watch(ScriptedLease([EXPIRED])), list[float]()

    def refuse(name: str) -> None:
        if name == "router.set_weight" and len(tries) < 5:
            tries.append(watch.world.time)
            raise NotConfirmed("planted")

    watch.world.on_call = refuse
    assert watch.guard()
    assert watch.world.weight == 0
    assert acted(watch) == [(0, True)]
    assert watch.lease.calls.count("renew 0") == 6


def test_dead_router_is_started_with_the_safe_weight() -> None:
    watch = Watch(ScriptedLease([replace(EXPIRED, safe_weight=100)]))
    watch.world.router_up = False
    assert watch.guard()
    assert (watch.world.router_up, watch.world.weight) == (True, 100)
    assert acted(watch) == [(100, True)]


def test_safe_weight_that_cannot_be_confirmed_is_given_up_after_a_while_and_recorded_so() -> None:
    watch = Watch(ScriptedLease([EXPIRED]))

    def refuse(name: str) -> None:
        if name in ("router.set_weight", "router.revive"):
            raise Unavailable("planted")

    watch.world.on_call = refuse
    assert watch.guard()
    assert acted(watch) == [(0, False)]
    assert watch.lease.calls[-1] == "release"
    assert watch.world.time == pytest.approx(guardian.TRIES.total_seconds(), abs=1)


def test_full_disk_takes_no_record_but_users_are_safe_and_the_claim_is_given_back() -> None:
    watch = Watch(ScriptedLease([EXPIRED]), full=True)
    assert watch.guard()
    assert (watch.world.weight, watch.lease.calls[-1]) == (0, "release")
    assert len(watch.notified) == 1


def test_claim_is_given_back_whatever_goes_wrong() -> None:
    watch = Watch(ScriptedLease([EXPIRED]))

    def break_down(name: str) -> None:
        raise ZeroDivisionError

    watch.world.on_call = break_down
    with pytest.raises(ZeroDivisionError):
        watch.guard()
    assert watch.lease.calls[-1] == "release"


def test_who_was_not_fast_enough_looks_again() -> None:
    watch = Watch(ScriptedLease([EXPIRED], faster=3))
    assert watch.guard()
    assert acted(watch) == [(0, True)]


def test_whoever_takes_the_claim_over_is_watched_too_with_everything_ready() -> None:
    """A command that took over may die before it has a guardian of its own."""
    second = replace(RENEWED, fence=2)
    watch, prepared = Watch(ScriptedLease([RENEWED, second, second, replace(EXPIRED, fence=2)])), list[str]()
    watch.world.on_call = lambda name: prepared.append(name) if name == "router.prepare_safe_weights" else None
    assert watch.guard()
    assert watch.lease.calls[:2] == ["stand by 2 guardian", "acquire guardian"]
    assert prepared == ["router.prepare_safe_weights"]
    assert acted(watch) == [(0, True)]


def test_full_disk_does_not_keep_it_from_watching_who_took_over() -> None:
    watch = Watch(ScriptedLease([replace(EXPIRED, fence=2)]))

    def full(name: str) -> None:
        if name == "router.prepare_safe_weights":
            raise OSError(28, "No space left on device")

    watch.world.on_call = full
    assert watch.guard()
    assert watch.world.weight == 0


def test_claim_of_the_next_release_is_not_guarded_with_the_routes_of_the_one_that_ended() -> None:
    """The next command takes the claim sooner than a look sees that it was given back."""
    watch = Watch(ScriptedLease([RENEWED, replace(RENEWED, fence=2), replace(EXPIRED, fence=2)]))
    assert not watch.guard(is_open=False)
    assert (watch.world.weight, watch.lease.calls, watch.world.journal) == (50, [], [])
