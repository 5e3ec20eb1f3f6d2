"""A service that someone else runs: two URLs. Nothing is started or stopped, only traffic moves.

`live/external.<service>.json` remembers which revision users are on; a plan that does not name that one as stable is
refused. Host names are resolved once, at the start.
"""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from onlyvips_release.core.model import Arm, Endpoint, Instance, Percent
from onlyvips_release.core.plan import Revision, Service
from onlyvips_release.core.ports import Files
from onlyvips_release.errors import NotReady
from onlyvips_release.state.layout import Layout


class ExternalWorkload:
    """Two addresses that were there before us and stay after us."""

    def __init__(self, service: Service, layout: Layout, files: Files) -> None:
        self.service, self.files = service, files
        self.record = layout.external(service.name)

    def inspect(self) -> tuple[Instance, ...]:
        """Stable, and the canary's address of the plan; alive = its port accepts a connection."""
        if self._record().get("stopped"):
            return ()
        serving = self.stable()
        others = [
            r for r in (self.service.stable, self.service.canary) if r and not (serving and r.name == serving.name)
        ]
        stable = [self._instance(Arm.STABLE, serving)] if serving else []
        return tuple(stable + [self._instance(Arm.CANARY, revision) for revision in others])

    def start_canary(self, revision: Revision, weight: Percent = 0) -> tuple[Instance, ...]:
        """Somebody else started it; here it only must be there."""
        instance = self._instance(Arm.CANARY, revision)
        if not instance.alive:
            raise NotReady(
                f"{self.service.name}: nothing accepts connections at {revision.url}", remedy="start it, then try again"
            )
        return (instance,)

    def promote(self, revision: Revision) -> tuple[Instance, ...]:
        """From now on users belong to this address."""
        record = {"name": revision.name, "url": revision.url}
        self.files.write(self.record.name, json.dumps(record).encode())
        return (self._instance(Arm.STABLE, revision),)

    def remove_canary(self, keep_idle: str = "") -> None:
        """Nothing of it is ours."""

    def revive(self) -> tuple[str, ...]:
        """Nothing of it is ours."""
        return ()

    def within(self, command: str) -> timedelta:
        """Nothing is waited for."""
        return timedelta(0)

    def stable(self) -> Revision | None:
        """The revision that users are on, None before the first installation."""
        known = self._record()
        return Revision(known["name"], url=known["url"]) if known else None

    def stop_all(self) -> None:
        """Nothing of it is ours; no user is sent there any more."""
        if known := self._record():
            self.files.write(self.record.name, json.dumps({**known, "stopped": True}).encode())

    def remove(self) -> None:
        """Forget it."""
        self.record.unlink(missing_ok=True)

    def wait_ready(self) -> tuple[Instance, ...]:
        """Stable must answer."""
        serving = self.stable()
        return self.start_canary(serving) if serving else ()

    def _record(self) -> dict[str, Any]:
        """{} before the first installation."""
        try:
            known: dict[str, Any] = json.loads(self.record.read_bytes())
        except FileNotFoundError:
            return {}
        return known

    def _instance(self, arm: Arm, revision: Revision) -> Instance:
        host, port = address(revision.url)
        alive, note = True, ""
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError as error:
            alive, note = False, f"does not accept connections ({error.strerror or error})"
        endpoint = Endpoint(host, port, revision.name)
        return Instance(self.service.name, arm, revision.name, revision.url, alive, endpoint, note=note)


def address(url: str) -> tuple[str, int]:
    """IPv4 address and port of an http URL; the router knows addresses only."""
    parts = urlsplit(url)
    try:
        return socket.gethostbyname(parts.hostname or ""), parts.port or 80
    except OSError as error:
        raise NotReady(f"cannot resolve {parts.hostname!r} of {url}", remedy="check the url in the plan") from error
