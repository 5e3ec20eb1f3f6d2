"""A service as local processes in two slots: one serves, the other takes the canary.

What must run is in `live/workload.<service>.json`: per slot the revision, its part (stable, canary, or spare = the
displaced stable, kept idle until the watch is over) and the process that was started for it. An instance is *that*
process: same pid, same start time, started by this command line. Deviation from the port: `promote` of a routed
service starts nothing, the canary's process itself becomes stable.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast

from onlyvips_release.clients import log_pump
from onlyvips_release.clients.process import Process, end, listens, logged, spawn, taken
from onlyvips_release.core.model import Arm, Endpoint, Instance
from onlyvips_release.core.plan import Revision, Service
from onlyvips_release.core.ports import Clock, Files
from onlyvips_release.environment import inherited
from onlyvips_release.errors import NotReady, Refused
from onlyvips_release.state.files import make_folder
from onlyvips_release.state.layout import Layout

SETTLE = 1.0
"""Seconds that a service without a health path must live to count as started."""

LAST_WORDS = 0.2
"""Seconds that the log pump has for the last output of a process that died."""

SPARE = "spare"


@dataclass(frozen=True, slots=True)
class Slot:
    """What was started in one slot. `part`: stable, canary or spare; `started`: see clients.processes."""

    name: str
    part: str
    revision: Revision
    pid: int
    started: float
    digest: str
    port: int | None
    log: str

    @property
    def identity(self) -> str:
        """What makes this instance this one."""
        return f"pid {self.pid} started {self.started:.2f} command {self.digest}"

    @property
    def process(self) -> Process:
        """The process that was started for it."""
        return Process(self.pid, self.started)

    def alive(self) -> bool:
        """Whether that very process lives."""
        return self.process.alive()


class Settings(Protocol):
    """What a plan gives for the processes of a service: slots, time to stop, names of secrets, working folder."""

    ports: tuple[int, ...]
    drain: timedelta
    env_from: tuple[str, ...]
    cwd: str


class ProcessWorkload:
    """The instances of one service on this machine. `variables`: this command's, of which they inherit `env_from`."""

    def __init__(
        self, service: Service, layout: Layout, files: Files, clock: Clock, variables: Mapping[str, str]
    ) -> None:
        self.service, self.process = service, cast(Settings, service.runs)
        self.layout, self.files, self.clock, self.variables = layout, files, clock, variables
        self.record = layout.processes(service.name)

    # --- the port ---------------------------------------------------------------------------------------------------

    def inspect(self) -> tuple[Instance, ...]:
        """Every instance that was started, with what the process table says of it."""
        return tuple(self._instance(slot) for slot in self.slots().values() if slot.pid)

    def start_canary(self, revision: Revision, size: int = 1) -> tuple[Instance, ...]:
        """In the free slot. A running spare (or stable) of this revision is taken as it is: the quick way back."""
        slots = self.slots()
        for slot in slots.values():
            if slot.revision == revision and slot.alive():
                if slot.part == SPARE:
                    self._save({**slots, slot.name: replace(slot, part=Arm.CANARY)})
                return (self._ready(self.slots()[slot.name]),)
        taken = next((slot.name for slot in slots.values() if slot.part == Arm.STABLE), "")
        free = next(name for name in self._names() if name != taken)
        if free in slots:
            self._stop(slots[free])
        slot = self._start(free, Arm.CANARY, revision)
        return (self._ready(slot),)

    def promote(self, revision: Revision) -> tuple[Instance, ...]:
        """Routed: the canary's process becomes stable, the old one spare. Not routed: stop the old, start the new."""
        slots = self.slots()
        if not self.service.routed:
            return self._replace(revision)
        chosen = next((s for s in slots.values() if s.revision == revision and s.alive()), None)
        stopped = next((s for s in slots.values() if s.revision == revision and s.part == Arm.STABLE), None)
        if chosen is None and stopped is not None:
            return (self._ready(self._start(stopped.name, Arm.STABLE, revision)),)
        if chosen is None:
            raise NotReady(f"{self.service.name}: no living instance of {revision.name} to promote")
        parts = {name: replace(s, part=Arm.STABLE if s == chosen else SPARE) for name, s in slots.items()}
        self._save(parts)
        return (self._instance(parts[chosen.name]),)

    def remove_canary(self, keep_idle: str = "") -> None:
        """Stop all but stable (and revision `keep_idle`); their logs stay."""
        slots = self.slots()
        for slot in slots.values():
            if slot.part != Arm.STABLE and slot.revision.name != (keep_idle or None):
                self._stop(slot)
                slots = {name: s for name, s in slots.items() if name != slot.name}
                self._save(slots)

    def revive(self) -> tuple[str, ...]:
        """Start a dead stable process again, with the same revision in the same slot; it is not waited for. One that
        was stopped stays so."""
        done = []
        for slot in self.slots().values():
            if slot.part == Arm.STABLE and slot.pid and not slot.alive():
                self._start(slot.name, Arm.STABLE, slot.revision)
                done.append(f"{self.service.name} {slot.revision.name}")
        return tuple(done)

    def within(self, command: str) -> timedelta:
        """To become ready, and for what was there to stop."""
        ready = self.service.health.within if self.service.health else timedelta(seconds=SETTLE)
        return ready + self.process.drain + timedelta(seconds=10)

    # --- beyond the port: between releases --------------------------------------------------------------------------

    def stable(self) -> Revision | None:
        """The revision that serves (or must), None before the first installation."""
        return next((slot.revision for slot in self.slots().values() if slot.part == Arm.STABLE), None)

    def stop_all(self) -> None:
        """Stop every instance; stable's slot stays on record, stopped."""
        slots = self.slots()
        for slot in slots.values():
            self._stop(slot)
        self._save({n: replace(s, pid=0, started=0.0) for n, s in slots.items() if s.part == Arm.STABLE})

    def remove(self) -> None:
        """Stop every instance and forget them."""
        self.stop_all()
        self._save({})

    def wait_ready(self) -> tuple[Instance, ...]:
        """Wait until stable answers."""
        return tuple(self._ready(slot) for slot in self.slots().values() if slot.part == Arm.STABLE)

    # --- inside -----------------------------------------------------------------------------------------------------

    def slots(self) -> dict[str, Slot]:
        """What was started, by slot name."""
        try:
            found = json.loads(self.record.read_bytes())
        except FileNotFoundError:
            return {}
        return {name: load_slot(value) for name, value in found.items()}

    def _save(self, slots: Mapping[str, Slot]) -> None:
        data = {name: asdict(slot) for name, slot in slots.items()}
        self.files.write(self.record.name, json.dumps(data, indent=1).encode())

    def _names(self) -> tuple[str, str]:
        return ("a", "b")

    def _replace(self, revision: Revision) -> tuple[Instance, ...]:
        """Stop-first: two of them at once would fight for one session (platform.md, row 33)."""
        slots = self.slots()
        for slot in slots.values():
            if slot.revision == revision and slot.alive():
                return (self._ready(slot),)
        for slot in slots.values():
            self._stop(slot)
        self._save({})
        return (self._ready(self._start("a", Arm.STABLE, revision)),)

    def _start(self, name: str, part: str, revision: Revision) -> Slot:
        port = self.process.ports[self._names().index(name)] if self.process.ports else None
        if port is not None and (why := taken("127.0.0.1", port)):
            raise NotReady(f"{self.service.name}: {why}", remedy="stop it, or give the plan another port")
        words = [word.replace("{port}", str(port)).replace("{python}", sys.executable) for word in revision.command]
        log = self.layout.service_log(self.service.name, name)
        make_folder(log.parent)
        started = self._spawn(words, self._environment(revision), log)
        digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
        slot = Slot(name, part, revision, started.pid, started.started, digest, port, str(log))
        self._save({**self.slots(), name: slot})
        return slot

    def _spawn(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
        """Its output goes to a log of bounded size, of which it is the newest part."""
        try:
            with logged(log, log_pump.LOG_BEGINS) as output:
                child = spawn(words, env=env, cwd=self.process.cwd or None, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            raise NotReady(
                f"{self.service.name}: cannot start {words[0]!r}: {error.strerror or error}",
                remedy="check the plan's command, and its cwd",
            ) from error
        return Process.of(child.pid)

    def _environment(self, revision: Revision) -> dict[str, str]:
        missing = [name for name in self.process.env_from if name not in self.variables]
        if missing:
            raise Refused(
                f"{self.service.name}: {', '.join(missing)} is not set in the environment",
                remedy="the plan's env_from names it: export it for this command",
            )
        return {**inherited(self.variables, *self.process.env_from), **revision.env}

    def _ready(self, slot: Slot) -> Instance:
        """Wait for GET health = 200 from this very process; without a health path: for a second of life."""
        health = self.service.health
        within = health.within.total_seconds() if health else SETTLE
        begun = self.clock.monotonic()
        told = "nothing yet"
        while (waited := self.clock.monotonic() - begun) < within:
            if not slot.alive():
                raise NotReady(self._failed(slot, "exited before it became ready"), remedy=f"read {slot.log}")
            if health is not None and slot.port is not None:
                told = ask(slot.port, health.path)
                if told == "HTTP 200" and listens(slot.process, slot.port):
                    return self._instance(slot)
            self.clock.sleep(0.05 if waited < 2 else 0.25)
        if health is None:
            return self._instance(slot)
        why = f"was not ready in {within:g} s: GET {health.path} on port {slot.port} last gave {told}"
        raise NotReady(self._failed(slot, why), remedy=f"read {slot.log}")

    def _failed(self, slot: Slot, why: str) -> str:
        self.clock.sleep(LAST_WORDS)
        with contextlib.suppress(OSError):
            last = log_pump.output_of(slot.log).splitlines()[-3:]
            why += "; its last words: " + " / ".join(line[:200] for line in last) if last else ""
        return f"{self.service.name}: {slot.revision.name} ({slot.identity}) {why}"

    def _stop(self, slot: Slot) -> None:
        """End what was started in a slot, with all that it started; SIGKILL comes when the drain time is over.

        The record is written first: who lost the claim ends there, before it stops what users may be on by now.
        """
        if not slot.alive():
            return
        self._save(self.slots())
        drain = [(signal.SIGTERM, self.process.drain.total_seconds())]
        if not end(slot.process, drain, sleep=self.clock.sleep):
            raise NotReady(f"{self.service.name}: {slot.identity} does not end", remedy=f"see: ps -f -s {slot.pid}")

    def _instance(self, slot: Slot) -> Instance:
        lives = slot.alive()
        arm = Arm.STABLE if slot.part == Arm.STABLE else Arm.CANARY
        endpoint = Endpoint("127.0.0.1", slot.port, slot.revision.name) if slot.port else None
        note = "" if lives else "exited"
        return Instance(
            self.service.name, arm, slot.revision.name, slot.identity, lives, endpoint, slot.pid, slot.log, note
        )


def load_slot(value: Mapping[str, object]) -> Slot:
    """A slot from its JSON."""
    revision = dict(value["revision"])  # type: ignore[call-overload]  # JSON written by _save
    revision["command"] = tuple(revision["command"])
    return Slot(**{**value, "revision": Revision(**revision)})  # type: ignore[arg-type]


def ask(port: int, path: str) -> str:
    """One GET to an instance itself: `HTTP 200`, or what went wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"User-Agent": "onlyvips-release"})
        return f"HTTP {connection.getresponse().status}"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({type(error).__name__})"
    finally:
        connection.close()
