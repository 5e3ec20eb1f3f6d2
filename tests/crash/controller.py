"""A real `run` that dies, stops or hangs at a given call: `python -m tests.crash.controller PLAN POINT ACT`.

POINT is one side of one call as `tap` names it (`before journal.append Shifted`). After `10/` it counts only once
10 % is confirmed; after `abort/` too, and then a person asks for an abort. ACT: `kill` and `stop` are SIGKILL and
SIGSTOP of ourselves, `hang` blocks the main loop in a socket read. Suites pass at once unless ACT ends with
`+suites`: they are not the subject.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from dataclasses import replace
from datetime import timedelta

from onlyvips_release import upkeep
from onlyvips_release.core.events import Requested
from onlyvips_release.core.model import SuiteResult, Verdict
from onlyvips_release.core.ports import Ports, SuiteRequest
from onlyvips_release.platform import Platform
from onlyvips_release.state.files import StagedFiles
from onlyvips_release.state.requests import RequestFile
from onlyvips_release.wiring import Parts
from tests.testing.simulated_ports import SimRun
from tests.testing.tap import tapped


class Passed:
    """Suites that pass at once."""

    def start(self, request: SuiteRequest) -> SimRun:
        """Passed."""
        return SimRun(SuiteResult(request.name, request.arm, request.weight, Verdict.PASS, "not the subject", 1, 1))


class Strike:
    """Acts when its point is reached."""

    def __init__(self, point: str, act: str, wish: RequestFile) -> None:
        self.when, _, self.name = point.rpartition("/")
        self.act, self.wish, self.armed = act, wish, not self.when

    def __call__(self, kind: str) -> None:
        """One side of one call."""
        if self.armed and kind == self.name:
            self.armed, self.when = False, "done"
            self.strike()
        if kind == "after router.set_weight 10" and self.when in ("10", "abort"):
            self.armed = True
            if self.when == "abort":
                self.wish.ask(Requested("abort", "ops"))

    def strike(self) -> None:
        """Tell, then act."""
        sys.stdout.write("reached\n")
        sys.stdout.flush()
        if self.act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.act == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.act == "hang":
            ours, _theirs = socket.socketpair()
            ours.recv(1)


def main(plan: str, point: str, act: str) -> int:
    """One release."""
    upkeep.MAIN_LOOP = timedelta(seconds=2) if act == "hang" else upkeep.MAIN_LOOP  # its bar is deadline + lease
    platform = Platform.load(plan)
    platform.clock.listen()
    act, _, suites = act.partition("+")
    strike = Strike(point, act, RequestFile(platform.parts.layout.request))
    if point.startswith("rename "):
        inside_the_write(point.removeprefix("rename "), strike)
    make = Parts.ports

    def ports(parts: Parts, release: str, *, guardian: bool = True) -> Ports:
        made = make(parts, release, guardian=guardian)
        return tapped(made if suites else replace(made, checks=Passed()), strike)

    Parts.ports = ports  # type: ignore[method-assign,assignment]  # the same, each tapped
    release = platform.run()
    assert release.finished is not None
    sys.stdout.write(f"{release.finished.sentence}\n")
    sys.stdout.flush()
    return release.finished.exit


def inside_the_write(weight: str, strike: Strike) -> None:
    """Between the fence's check (the source was in our stage) and the rename of this weight's routes."""
    honest = StagedFiles.publish

    def publish(self: StagedFiles, prepared: str, name: str) -> None:
        if prepared == f"routes-{weight}.json" and (self.stage / prepared).exists():
            strike(f"rename {weight}")
        honest(self, prepared, name)

    StagedFiles.publish = publish  # type: ignore[method-assign]  # a stop exactly here


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
