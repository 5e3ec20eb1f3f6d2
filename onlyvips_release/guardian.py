"""The dead man's switch: a weight above 0 is a loan. When its holder gives no sign of life, users go to the safe side.

It looks at the lease a few times a second and does nothing while it is renewed. When the lease has expired it takes it
over, so that the old holder cannot write any more even if it wakes up, puts the safe weight in force, journals that,
and ends. It removes nothing: `recover` or `resume` do the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

from onlyvips_release.core.events import GuardianActed
from onlyvips_release.core.ports import Clock, Journal, Lease, Notifier, Router
from onlyvips_release.errors import JournalError, LeaseHeld, TargetError

GUARDIAN = "guardian"
"""What we hold a lease for: others wait for it, it takes seconds."""

EVERY = 0.2
"""Seconds between two looks at the lease."""

TRIES = timedelta(seconds=15)
"""How long a safe weight that is not confirmed is tried again; once written it holds as soon as the router is back."""


class NoGuardian:
    """Nobody takes the weight back when the controller is killed with SIGKILL (`--no-guardian`)."""

    def start(self) -> str:
        """In words, so that nobody believes otherwise."""
        return "NO GUARDIAN: if this command is killed (-9), the weight stays until `onlyvips-release recover`"

    def stop(self) -> None:
        """Nothing to end."""


def guard(
    fence: int,
    lease: Lease,
    router: Router,
    journal: Callable[[int], Journal],
    clock: Clock,
    notifier: Notifier,
    is_open: Callable[[], bool] = lambda: True,
) -> bool:
    """Watch the claim number `fence`, and whoever takes it over, until it is given back; whether we had to act.

    A command that took over may die before it has a guardian of its own. `is_open`: whether our release has no end yet;
    else the next claim is another release's, with other routes.
    """
    while (claim := lease.look()) and not claim.released:
        if claim.fence != fence:
            if not is_open():
                return False
            fence = claim.fence
            with contextlib.suppress(OSError):  # a full disk: `acquire` tries again
                stand_by(fence, lease, router)
        if claim.expired:
            with contextlib.suppress(LeaseHeld):  # it woke up, or somebody else was faster: look again
                act(lease.acquire(GUARDIAN), lease, router, journal, clock, notifier)
                return True
        clock.sleep(EVERY)
    return False


def stand_by(fence: int, lease: Lease, router: Router) -> None:
    """Have everything ready that acting needs, so that it is renames alone."""
    lease.stand_by(fence, GUARDIAN)
    router.prepare_safe_weights()


def act(
    fence: int, lease: Lease, router: Router, journal: Callable[[int], Journal], clock: Clock, notifier: Notifier
) -> None:
    """The old holder cannot write any more: now its last safe weight is final."""
    try:
        claim = lease.look()
        weight = claim.safe_weight if claim else 0
        confirmed = put(weight, router, lease, clock)
        at = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        acted = GuardianActed(weight, at, confirmed)
        with contextlib.suppress(JournalError):  # a full disk: what had to be done is done, and needed no space
            journal(fence).append(acted)
        notifier.notify(acted)
    finally:
        lease.release()


def put(weight: int, router: Router, lease: Lease, clock: Clock) -> bool:
    """The safe weight, again and again until it is confirmed; a dead router is started, with this weight written."""
    end = clock.monotonic() + TRIES.total_seconds()
    while clock.monotonic() < end:
        with contextlib.suppress(TargetError):
            lease.renew(TRIES, weight)
            router.set_weight(weight)
            return True
        with contextlib.suppress(TargetError):
            router.revive()
        clock.sleep(EVERY)
    return False
