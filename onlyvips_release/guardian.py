"""The dead man's switch: a weight above 0 is a loan. When its holder gives no sign of life, users go to the safe side.

It looks at the lease a few times a second and does nothing while it is renewed. When the lease has expired it takes it
over, so that the old holder cannot write any more even if it wakes up, puts the safe weight in force, journals that,
and ends. It removes nothing: `recover` or `resume` do the rest.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from onlyvips_release.clients.process import Process, birth, end, spawn
from onlyvips_release.core.events import GuardianActed
from onlyvips_release.core.ports import Clock, Journal, Lease, Router
from onlyvips_release.environment import inherited
from onlyvips_release.errors import JournalError, LeaseHeld, NotReady, TargetError
from onlyvips_release.state.files import open_log

GUARDIAN = "guardian"
"""What we hold a lease for: others wait for it, it takes seconds."""

EVERY = 0.2
"""Seconds between two looks at the lease."""

TRIES = timedelta(seconds=15)
"""How long a safe weight that is not confirmed is tried again; once written it holds as soon as the router is back."""


START_WITHIN = 10.0
"""Seconds that the guardian's process has to say that it watches."""

STOP_WITHIN = 5.0
"""Seconds that the guardian's process has to end after the lease was given back."""


class ProcessGuardian:
    """A process of its own session whose parent is not we: it outlives our SIGKILL, SIGHUP and process group.

    It does not outlive what kills a whole machine, container, control group or pid namespace (docs/runbook.md).
    `command`: what is run, ended by the fence that `fence` returns; `log`: its error output; `variables`: this
    command's, of which it inherits nothing that a CI could know it by.
    """

    def __init__(
        self, command: Sequence[str], fence: Callable[[], int], log: Path, variables: Mapping[str, str]
    ) -> None:
        self.command, self.fence, self.log, self.variables = command, fence, log, variables
        self.process = Process()

    def start(self) -> str:
        """Returns when it watches; "" = it did already."""
        if self.process.alive():
            return ""
        command, env = [*self.command, str(self.fence())], inherited(self.variables, "PYTHONPATH")
        with (
            os.fdopen(open_log(self.log), "ab") as log,
            spawn(command, env=env, cwd="/", stdout=subprocess.PIPE, stderr=log) as child,
        ):
            assert child.stdout is not None
            ready = select.select([child.stdout], [], [], START_WITHIN)[0]
            words = child.stdout.readline().split() if ready else []
            if not words:
                end(Process.of(child.pid))
                raise NotReady("the guardian did not start", remedy=f"read {self.log}, or use --no-guardian")
        self.process = Process(int(words[0]), float(words[1]))
        return f"a guardian watches (pid {self.process.pid})"

    def stop(self) -> None:
        """It ends by itself; one that hangs is left alone, it can only write the safe weight."""
        until = time.monotonic() + STOP_WITHIN
        while self.process.alive() and time.monotonic() < until:
            time.sleep(0.02)


def stand_alone() -> None:
    """Become a process that no tree, group or terminal leads to: called first in the guardian's process."""
    if os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def say_ready() -> None:
    """Tell who started us that we watch, and let go of its pipe."""
    sys.stdout.write(f"{os.getpid()} {birth(os.getpid())}\n")
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class NoGuardian:
    """Nobody takes the weight back when the controller is killed with SIGKILL (`--no-guardian`)."""

    def start(self) -> str:
        """In words, so that nobody believes otherwise."""
        return "NO GUARDIAN: if this command is killed (-9), the weight stays until `onlyvips-release recover`"

    def stop(self) -> None:
        """Nothing to end."""


def guard(fence: int, lease: Lease, router: Router, journal: Callable[[int], Journal], clock: Clock) -> bool:
    """Watch the claim number `fence`, and whoever takes it over, until it is given back; whether we had to act.

    A command that took over may die before it has a guardian of its own.
    """
    while (claim := lease.look()) and not claim.released:
        if claim.fence != fence:
            fence = claim.fence
            with contextlib.suppress(OSError):  # a full disk: `acquire` tries again
                stand_by(fence, lease, router)
        if claim.expired:
            with contextlib.suppress(LeaseHeld):  # it woke up, or somebody else was faster: look again
                act(lease.acquire(GUARDIAN), lease, router, journal, clock)
                return True
        clock.sleep(EVERY)
    return False


def stand_by(fence: int, lease: Lease, router: Router) -> None:
    """Have everything ready that acting needs, so that it is renames alone."""
    lease.stand_by(fence, GUARDIAN)
    router.prepare_safe_weights()


def act(fence: int, lease: Lease, router: Router, journal: Callable[[int], Journal], clock: Clock) -> None:
    """The old holder cannot write any more: now its last safe weight is final."""
    try:
        claim = lease.look()
        weight = claim.safe_weight if claim else 0
        confirmed = put(weight, router, lease, clock)
        at = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with contextlib.suppress(JournalError):  # a full disk: what had to be done is done, and needed no space
            journal(fence).append(GuardianActed(weight, at, confirmed))
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
