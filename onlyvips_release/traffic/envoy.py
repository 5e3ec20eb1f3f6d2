"""The router of local targets: one Envoy, owned through files and confirmed through its admin socket.

`live/router/rds.json` and `eds.<service>.<arm>.json` are the whole truth about where users go; they survive Envoy and
this process, and every method starts from what they say. A write counts only when Envoy's `version_text` names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from onlyvips_release.clients.envoy_admin import short
from onlyvips_release.clients.envoy_process import EnvoyProcess
from onlyvips_release.core.model import Arm, Endpoint, Percent, percent
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.ports import Clock, Files
from onlyvips_release.errors import Interfered, NotConfirmed, Refused, Unavailable
from onlyvips_release.state.files import make_folder, open_log
from onlyvips_release.state.layout import ROUTES_FILE, Layout
from onlyvips_release.traffic import envoy_config as config

CONFIRM_WITHIN = 2.0
"""Seconds until a write must be in force."""

DRAIN = 10.0
"""Seconds that requests in flight on an emptied arm have."""

ROUTES = "http.ingress.rds.main"
VERSION = re.compile(r"(?P<release>[^\"]*)\.(?P<stamp>\d+)\.(?P<digest>[0-9a-f]+)\.w(?P<weight>\d+(?:\.\d)?)")
"""The version of a routes file: release, moment, digest of its content, and the canary's weight in percent."""

PINNED = re.compile(r'"exact": "(?:stable|canary)-(?P<token>[0-9a-f]+)"')
SAFE = (0, 100)
"""The only safe weights that there are."""


class EnvoyRouter:
    """Port Router. `release` and `token`: of the release that pins belong to."""

    def __init__(
        self,
        layout: Layout,
        plan: ReleasePlan,
        files: Files,
        clock: Clock,
        binary: Path | None = None,
        release: str = "",
        token: str = "",
    ) -> None:
        self.layout, self.plan, self.files, self.clock = layout, plan, files, clock
        self.release, self.token = release, token
        self.process = EnvoyProcess(layout.live, layout.log, files, clock, binary)
        self.folder, self.admin = self.process.folder, self.process.admin
        self.safe_versions: dict[Percent, str] = {}

    # --- the port -----------------------------------------------------------------------------------------------------

    def point(self, arm: Arm, endpoints: Mapping[str, Sequence[Endpoint]]) -> None:
        """Write each arm's file, wait until its clusters name it; an emptied arm is waited for until it is idle."""
        for service, where in endpoints.items():
            name = config.endpoints_file(service, arm)
            version = self._version()
            wanted = config.endpoints(service, arm, where, version)
            on_disk = self._read(name)
            prepared = name
            if on_disk.get("resources") == wanted["resources"]:
                version, prepared = on_disk["version_info"], ""
            else:
                self.files.prepare(name, config.dumped(wanted))
            legs = [leg for leg, of in config.LEGS.items() if of is arm]
            self._put(name, prepared, f"cluster.{service}__({'|'.join(legs)})", version, len(legs))
        emptied = [service for service, where in endpoints.items() if not where]
        self._drained(arm, emptied)

    def set_weight(self, weight: Percent) -> None:
        """New routes. When more weight is not confirmed the old routes are written again; less weight stays written."""
        self._weigh(percent(weight), pins=True)

    def prepare_safe_weights(self) -> None:
        """Both safe weights as files of our stage, and as files beside it for who has to do it by hand."""
        for weight in SAFE:
            self._write(self.layout.by_hand(weight), self._routes(weight, pins=False)[1])
            self.safe_versions[weight], data = self._routes(weight, pins=True)
            self.files.prepare(f"routes-{weight}.json", data)

    def by_hand(self, weight: Percent) -> str:
        """A rename into the folder that Envoy watches; and Envoy itself, should it be dead."""
        source, target = self.layout.by_hand(weight), self.layout.routes
        move = f"cp {source} {target}.tmp && mv {target}.tmp {target}"
        return f"{move}\n{self.process.by_hand()}   # only when no Envoy runs"

    def points_at(self, arm: Arm) -> dict[str, list[Endpoint]]:
        """As the files name them."""
        return {
            service.name: config.written(self._read(config.endpoints_file(service.name, arm)))
            for service in self.plan.routed
        }

    def read_weight(self) -> Percent:
        """From the version in force; Interfered when it, or what is written under it, is none of ours."""
        version = self._in_force()
        match = VERSION.fullmatch(version)
        if match is None:
            raise Interfered(f"the routes in force ({version or 'none'}) were not written by this tool")
        written = self._read(ROUTES_FILE)
        if written.get("version_info") != version or digest(written.get("resources")) != match["digest"]:
            raise Interfered(f"{self.layout.routes} is not what was written under {version}: somebody edited it")
        return percent(float(match["weight"]))

    def reset(self) -> None:
        """Weight 0 without pins."""
        self._weigh(0, pins=False)

    def revive(self) -> tuple[str, ...]:
        """Start it again from its files when it died."""
        if self.running():
            return ()
        try:
            self.start()
        except Refused as error:  # its port, say: it was ours, and may be again
            raise Unavailable(str(error), remedy=error.remedy) from error
        return ("router",)

    # --- its process --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run Envoy with the files that are there, or with empty arms. Raises Refused for a port that is taken."""
        os.close(open_log(self.process.messages))
        make_folder(self.folder)
        bootstrap = config.bootstrap(self.plan, self.folder, short(self.folder))
        self.process.start(config.dumped(bootstrap), self.plan.listen, self._first_files)
        self.process.wait_live(lambda: self._in_force() == self._read(ROUTES_FILE)["version_info"])

    def stop(self) -> None:
        """Let requests in flight finish, then end Envoy. Nothing to do when it is dead."""
        self.process.stop()

    def running(self) -> bool:
        """Whether the Envoy that we started lives."""
        return self.process.alive()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _first_files(self) -> None:
        """Envoy does not start without its files, nor with routes to services that its plan has no longer."""
        for service in self.plan.routed:
            for arm in Arm:
                name = config.endpoints_file(service.name, arm)
                if not (self.folder / name).exists():
                    empty = config.endpoints(service.name, arm, [], self._version())
                    self._write(self.folder / name, config.dumped(empty))
        if not config.routed(self._read(ROUTES_FILE)) <= {service.name for service in self.plan.routed}:
            self.layout.routes.unlink()
        if not self.layout.routes.exists():
            self._write(self.layout.routes, self._routes(0, pins=False)[1])

    def _in_force(self) -> str:
        name = f"{ROUTES}.version_text"
        return self.admin.stats(f"^{name}$").get(name, "").strip('"')

    def _version(self) -> str:
        """Never used before, also not by another process."""
        return f"{self.release or '-'}.{time.time_ns()}"

    def _weigh(self, weight: Percent, *, pins: bool) -> None:
        """Routes that are written already are only waited for; a prepared file needs no disk space."""
        on_disk, prepared = self._read(ROUTES_FILE), f"routes-{weight}.json"
        before = percent(float(weighed(on_disk).get("weight", 0)))
        if weight > before and not self.running():
            raise Unavailable("the router does not run", remedy="onlyvips-release up PLAN")
        version, data = self._routes(weight, pins=pins)
        if weighed(on_disk) and on_disk.get("resources") == json.loads(data)["resources"]:
            version, prepared = on_disk["version_info"], ""
        elif pins and weight in self.safe_versions:
            version = self.safe_versions.pop(weight)
        else:
            self.files.prepare(prepared, data)
        try:
            self._put(ROUTES_FILE, prepared, ROUTES, version, 1)
        except NotConfirmed as error:
            if weight > before:
                with contextlib.suppress(NotConfirmed):
                    self._weigh(before, pins=pins)
            raise NotConfirmed(f"{weight} % was not confirmed: {error}", remedy=error.remedy) from error

    def _routes(self, weight: Percent, *, pins: bool) -> tuple[str, bytes]:
        """A version and its routes file; the version carries the digest of the content, and the weight.

        A router that was made for no release keeps the pins that are there.
        """
        release, token = self.release, self.token
        if pins and not token:
            on_disk = self._read(ROUTES_FILE)
            pinned = PINNED.search(json.dumps(on_disk))
            token, release = pinned["token"] if pinned else "", release or weighed(on_disk).get("release", "")
        routes = config.routes(self.plan, weight, "", release, token if pins else "")
        version = f"{self._version()}.{digest(routes['resources'])}.w{weight}"
        return version, config.dumped({**routes, "version_info": version})

    def _write(self, path: Path, data: bytes) -> None:
        """A live file, by the port Files."""
        self.files.write(self.layout.in_live(path), data)

    def _read(self, name: str) -> dict[str, Any]:
        """A file as it is, {} when it is not there."""
        try:
            content: dict[str, Any] = json.loads((self.folder / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return content

    def _put(self, name: str, prepared: str, subject: str, version: str, subscribers: int) -> None:
        """Publish a prepared file ("" = it is there) and poll until every subscriber names its version.

        A rise of their failure counters ends the wait at once; the reason is in Envoy's log only. The file is written
        also when Envoy does not answer: it holds as soon as Envoy reads it again.
        """
        pattern = f"^{subject}.(version_text|update_(rejected|failure))$"
        end = self.clock.monotonic() + CONFIRM_WITHIN
        before = self._stats(pattern)
        if prepared:
            self.files.publish(prepared, self.layout.in_live(self.folder / name))
        while self.clock.monotonic() < end:
            if not self.running():
                why = f"the router does not run; {name} is written for when it does"
                raise Unavailable(why, remedy=self.process.remedy())
            stats = self._stats(pattern)
            if list(stats.values()).count(f'"{version}"') >= subscribers:
                return
            failures = {n: int(v) for n, v in stats.items() if n in before and n.endswith(("rejected", "failure"))}
            if any(count > int(before[n]) for n, count in failures.items()):
                break
            time.sleep(0.001)
        why = f"{name} {version} is not in force: {self.process.last_line()}"
        raise NotConfirmed(why, remedy=self.process.remedy())

    def _stats(self, pattern: str) -> dict[str, str]:
        """{} when Envoy does not answer."""
        try:
            return self.admin.stats(pattern)
        except Unavailable:
            return {}

    def _drained(self, arm: Arm, services: Sequence[str]) -> None:
        """Wait until requests in flight on an emptied arm have finished, at most `DRAIN` seconds."""
        for service in services:
            names = "|".join(leg for leg, of in config.LEGS.items() if of is arm)
            pattern = f"cluster.{service}__({names}).upstream_rq_active"
            self.process.wait(partial(self._idle, pattern), DRAIN)

    def _idle(self, pattern: str) -> bool:
        return self.admin.total(pattern) == 0


def weighed(routes: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a routes file's version; {} when it is not ours."""
    match = VERSION.fullmatch(str(routes.get("version_info")))
    return match.groupdict() if match else {}


def digest(resources: Any) -> str:
    """Of what a routes file holds besides its version."""
    return hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:12]
