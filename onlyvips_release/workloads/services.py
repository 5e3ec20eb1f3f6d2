"""The platform's workload, made of one workload per service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from onlyvips_release.core.model import Instance, Percent
from onlyvips_release.core.plan import Revision
from onlyvips_release.core.ports import Clock
from onlyvips_release.errors import Interrupted, Refused

POLL = 0.02
"""Seconds between two looks at services that start or stop side by side."""

Result = TypeVar("Result")


class OneService(Protocol):
    """The instances of one service: the methods of the port, with one revision."""

    def inspect(self) -> tuple[Instance, ...]: ...

    def start_canary(self, revision: Revision, weight: Percent = 0) -> tuple[Instance, ...]: ...

    def promote(self, revision: Revision) -> tuple[Instance, ...]: ...

    def remove_canary(self, keep_idle: str = "") -> None: ...

    def revive(self) -> tuple[str, ...]: ...

    def within(self, command: str) -> timedelta: ...

    def stable(self) -> Revision | None: ...

    def wait_ready(self) -> tuple[Instance, ...]: ...

    def stop_all(self) -> None: ...

    def remove(self) -> None: ...


class PerService:
    """Port Workload: each call goes to the services that it names. `clock`: the one that they wait on."""

    replaces = False
    one_act = False

    def __init__(self, services: Mapping[str, OneService], clock: Clock) -> None:
        self.services, self.clock = services, clock

    def resolve(self, wanted: Mapping[str, Revision]) -> dict[str, Revision]:
        """A command or an address is what it is. Refused: one that serves already, under another name."""
        for name, revision in wanted.items():
            serving = self.services[name].stable()
            if serving and serving != revision and replace(serving, name=revision.name) == revision:
                raise Refused(
                    f"{name}: {revision.name} is started exactly as {serving.name}, which serves: nobody can tell them "
                    "apart",
                    remedy="give the two another command, variable or url",
                )
        return dict(wanted)

    def inspect(self) -> tuple[Instance, ...]:
        """All services."""
        return tuple(i for service in self.services.values() for i in service.inspect())

    def start_canary(self, revisions: Mapping[str, Revision], weight: Percent) -> tuple[Instance, ...]:
        """Side by side; one instance carries any weight."""
        starts = [partial(self.services[name].start_canary, revision, weight) for name, revision in revisions.items()]
        return tuple(i for instances in side_by_side(starts, self.clock) for i in instances)

    def promote(self, revisions: Mapping[str, Revision]) -> tuple[Instance, ...]:
        """One after the other."""
        return tuple(i for name, revision in revisions.items() for i in self.services[name].promote(revision))

    def remove_canary(self, keep_idle: Mapping[str, str]) -> None:
        """Side by side."""
        stops = [partial(one.remove_canary, keep_idle.get(name, "")) for name, one in self.services.items()]
        side_by_side(stops, self.clock)

    def revive(self) -> tuple[str, ...]:
        """Of all services."""
        return tuple(revived for service in self.services.values() for revived in service.revive())

    def within(self, command: str) -> timedelta:
        """As long as the slowest service; promotions come one after the other, so they add up."""
        each = [service.within(command) for service in self.services.values()]
        return sum(each, timedelta(0)) if command == "promote" else max(each, default=timedelta(0))

    def stable(self) -> dict[str, Revision]:
        """Of the services that were installed."""
        found = {name: service.stable() for name, service in self.services.items()}
        return {name: revision for name, revision in found.items() if revision}

    def wait_ready(self) -> tuple[Instance, ...]:
        """All services."""
        return tuple(i for service in self.services.values() for i in service.wait_ready())

    def stop_all(self) -> None:
        """All services, side by side."""
        side_by_side([one.stop_all for one in self.services.values()], self.clock)

    def remove(self, services: Iterable[str]) -> None:
        """One after the other."""
        for name in services:
            self.services[name].remove()


def side_by_side(calls: Sequence[Callable[[], Result]], clock: Clock) -> list[Result]:
    """The results of all calls, each made in a thread of its own. The first error is raised when all have ended.

    A signal interrupts each of them that waits on the clock, and then the caller.
    """
    if len(calls) < 2:
        return [call() for call in calls]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - slow to import, and `recover` rarely needs it

    interrupted: Interrupted | None = None
    with ThreadPoolExecutor(len(calls)) as pool:
        pending = [pool.submit(call) for call in calls]
        while not interrupted and not all(one.done() for one in pending):
            try:
                clock.sleep(POLL)
            except Interrupted as error:
                interrupted = error
    if interrupted:
        raise interrupted
    return [one.result() for one in pending]
