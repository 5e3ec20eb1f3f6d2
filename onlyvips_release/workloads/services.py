"""The platform's workload, made of one workload per service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Protocol

from onlyvips_release.core.model import Instance, Percent
from onlyvips_release.core.plan import Revision


class OneService(Protocol):
    """The instances of one service: the methods of the port, with one revision."""

    def inspect(self) -> tuple[Instance, ...]: ...

    def start_canary(self, revision: Revision, size: int = 1) -> tuple[Instance, ...]: ...

    def promote(self, revision: Revision) -> tuple[Instance, ...]: ...

    def remove_canary(self, keep_idle: str = "") -> None: ...

    def revive(self) -> tuple[str, ...]: ...

    def within(self, command: str) -> timedelta: ...

    def stable(self) -> Revision | None: ...

    def wait_ready(self) -> tuple[Instance, ...]: ...

    def stop_all(self) -> None: ...

    def remove(self) -> None: ...


class PerService:
    """Port InstalledWorkload: each call goes to the services that it names."""

    replaces = False
    one_act = False

    def __init__(self, services: Mapping[str, OneService]) -> None:
        self.services = services

    def resolve(self, wanted: Mapping[str, Revision]) -> dict[str, Revision]:
        """A command or an address is what it is."""
        return dict(wanted)

    def inspect(self) -> tuple[Instance, ...]:
        """All services."""
        return tuple(i for service in self.services.values() for i in service.inspect())

    def start_canary(self, revisions: Mapping[str, Revision], weight: Percent) -> tuple[Instance, ...]:
        """Side by side; one instance carries any weight."""
        with ThreadPoolExecutor(max(1, len(revisions))) as pool:
            calls = [pool.submit(self.services[name].start_canary, revision) for name, revision in revisions.items()]
        return tuple(i for call in calls for i in call.result())

    def promote(self, revisions: Mapping[str, Revision]) -> tuple[Instance, ...]:
        """One after the other."""
        return tuple(i for name, revision in revisions.items() for i in self.services[name].promote(revision))

    def remove_canary(self, keep_idle: Mapping[str, str]) -> None:
        """One after the other."""
        for name, service in self.services.items():
            service.remove_canary(keep_idle.get(name, ""))

    def revive(self) -> tuple[str, ...]:
        """Of all services."""
        return tuple(revived for service in self.services.values() for revived in service.revive())

    def within(self, command: str) -> timedelta:
        """What all services together may take: promotions and drains come one after the other."""
        return sum((service.within(command) for service in self.services.values()), timedelta(0))

    def stable(self) -> dict[str, Revision]:
        """Of the services that were installed."""
        found = {name: service.stable() for name, service in self.services.items()}
        return {name: revision for name, revision in found.items() if revision}

    def wait_ready(self) -> tuple[Instance, ...]:
        """All services."""
        return tuple(i for service in self.services.values() for i in service.wait_ready())

    def stop_all(self) -> None:
        """All services."""
        for service in self.services.values():
            service.stop_all()

    def remove(self, services: Iterable[str]) -> None:
        """One after the other."""
        for name in services:
            self.services[name].remove()
