"""The guardian as a process of this machine: how it is started, and what runs in it.

`python -m onlyvips_release.targets.process_guardian STATE PLATFORM RELEASE FENCE` watches the claim number FENCE.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onlyvips_release.alerts.queue import Alerts
from onlyvips_release.clients.process import Process, birth, end, spawn
from onlyvips_release.clock import SystemClock
from onlyvips_release.environment import Environment, inherited, read_environment
from onlyvips_release.errors import NotReady
from onlyvips_release.guardian import guard, stand_by
from onlyvips_release.state.files import open_log
from onlyvips_release.state.journal import read_release
from onlyvips_release.state.layout import Layout
from onlyvips_release.targets import open_target

START_WITHIN = 10.0
"""Seconds that the guardian's process has to say that it watches."""

STOP_WITHIN = 5.0
"""Seconds that the guardian's process has to end after the lease was given back."""

LAST_MESSAGES = 5.0
"""Seconds that messages to people have after it acted."""


class ProcessGuardian:
    """A process of its own session whose parent is not we: it outlives our SIGKILL, SIGHUP and process group.

    It does not outlive what kills a whole machine, container, control group or pid namespace (docs/runbook.md). It
    inherits nothing that a CI could know it by. `fence` returns the number of our claim.
    """

    def __init__(self, layout: Layout, release: str, fence: Callable[[], int], environment: Environment) -> None:
        self.layout, self.release, self.fence, self.environment = layout, release, fence, environment
        self.process = Process()

    def start(self) -> str:
        """Returns when it watches; "" = it did already."""
        if self.process.alive():
            return ""
        name, platform = self.layout.guardian_log, self.layout.platform
        words = [sys.executable, "-m", __name__, str(self.layout.state), platform, self.release, str(self.fence())]
        variables = inherited(self.environment.variables, "PYTHONPATH")
        if self.environment.router_binary:
            variables["ONLYVIPS_ENVOY"] = str(self.environment.router_binary)
        with (
            os.fdopen(open_log(name), "ab") as log,
            spawn(words, env=variables, cwd="/", stdout=subprocess.PIPE, stderr=log) as child,
        ):
            assert child.stdout is not None
            ready = select.select([child.stdout], [], [], START_WITHIN)[0]
            line = child.stdout.readline().split() if ready else []
            if not line:
                end(Process.of(child.pid))
                raise NotReady("the guardian did not start", remedy=f"read {name}, or use --no-guardian")
        self.process = Process(int(line[0]), float(line[1]))
        return f"a guardian watches (pid {self.process.pid})"

    def stop(self) -> None:
        """It ends by itself; one that hangs is left alone, it can only write the safe weight."""
        until = time.monotonic() + STOP_WITHIN
        while self.process.alive() and time.monotonic() < until:
            time.sleep(0.02)


def main(state: str, platform: str, release: str, fence: str) -> None:
    """The guardian's process, from its start to its end."""
    stand_alone()
    clock, layout = SystemClock(), Layout(Path(state), platform)
    environment = replace(read_environment(), state=layout.state)
    path = layout.journal(release)
    plan = read_release(path, samples=False).release.plan
    target = open_target(plan, environment, clock)
    router = target.router(release, target.archive.token(release))
    notifier = Alerts()
    try:
        stand_by(int(fence), target.lease, router)
        say_ready()
        guard(
            int(fence),
            target.lease,
            router,
            lambda _: target.archive.journal(release),
            clock,
            notifier,
            lambda: read_release(path, samples=False).unfinished,
        )
    finally:
        target.lease.release()
        notifier.close(LAST_MESSAGES)


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


if __name__ == "__main__":
    main(*sys.argv[1:])
