"""A service as local processes in two slots: one serves, the other takes the canary.

What must run is in `live/workload.<service>.json`: per slot the revision, its part (stable, canary, or idle = the
displaced stable, kept without traffic until the watch is over) and the process that was started for it. An instance is
*that* process: same pid, same start time, started by this command line. `promote` of a routed service restarts nothing
that lives: the canary's process itself becomes stable.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from onlyvips_release.core.model import Arm, Endpoint, Instance, Percent
from onlyvips_release.core.plan import Revision, Service
from onlyvips_release.core.ports import Clock, Files
from onlyvips_release.environment import inherited
from onlyvips_release.errors import NotReady, Refused
from onlyvips_release.state.files import make_folder
from onlyvips_release.state.layout import Layout

SETTLE = 1.0
"""Seconds that a service without a health path must live to count as started."""

LOG_GRACE = 0.2
"""Seconds that the log pump has to write the last output of a process that died."""

SLOTS = ("a", "b")
IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Slot:
    """What was started in one slot.

    `part`: stable, canary or idle. `pid` and `started`: of its process, 0 = it was stopped by `stop_all`. `weight`:
    the percent of users that its canary was started for; at 100 users depend on it. `restarts`: how often the process
    died and was started again.
    """

    name: str
    part: str
    revision: Revision
    pid: int
    started: float
    digest: str
    port: int | None
    log: str
    weight: Percent = 0
    restarts: int = 0

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
        """Every instance that was started and not stopped since, with what the process table says of it."""
        return tuple(self._instance(slot) for slot in self.slots().values() if slot.pid)

    def start_canary(self, revision: Revision, weight: Percent = 0) -> tuple[Instance, ...]:
        """In the free slot. A living instance of this revision is taken as it is: the quick way back."""
        slots = self.slots()
        slot = next((s for s in slots.values() if s.revision == revision and s.alive()), None)
        if slot is None:
            slot = self._start(self._emptied(self._free(slots), slots), Arm.CANARY, revision, weight)
        elif slot.part != Arm.STABLE:
            slot = replace(slot, part=Arm.CANARY, weight=weight)
            self._save({**slots, slot.name: slot})
        return (self._ready(slot),)

    def promote(self, revision: Revision) -> tuple[Instance, ...]:
        """Routed: the instance of this revision becomes stable, the old stable idle; it is started only when it does
        not live. Not routed: stop the old one, start the new one."""
        if not self.service.routed:
            return self._replace(revision)
        slots = self.slots()
        mine = [slot for slot in slots.values() if slot.revision == revision]
        chosen = next((slot for slot in mine if slot.alive()), None)
        if chosen is None:
            name = mine[0].name if mine else self._free(slots)
            chosen = self._start(self._emptied(name, slots), mine[0].part if mine else IDLE, revision)
            self._ready(chosen)
        slots = {**slots, chosen.name: chosen}
        slots = {n: replace(s, part=Arm.STABLE if s == chosen else IDLE) for n, s in slots.items()}
        self._save(slots)
        return (self._instance(slots[chosen.name]),)

    def remove_canary(self, keep_idle: str = "") -> None:
        """Stop all but stable (and revision `keep_idle`); their logs stay. No user depends on the canary track now."""
        slots = self.slots()
        for slot in slots.values():
            if slot.part != Arm.STABLE and slot.revision.name != (keep_idle or None):
                self._stop(slot)
                slots = {name: s for name, s in slots.items() if name != slot.name}
                self._save(slots)
        if any(slot.weight for slot in slots.values()):
            self._save({name: replace(slot, weight=0) for name, slot in slots.items()})

    def revive(self) -> tuple[str, ...]:
        """Start again, in the same slot, what died, first a canary that all users are on, then stable. What was stopped
        stays so. It is not waited for."""
        slots = [slot for slot in self.slots().values() if slot.pid and not slot.alive()]
        dead = [slot for slot in slots if slot.part != Arm.STABLE and slot.weight >= 100]
        dead += [slot for slot in slots if slot.part == Arm.STABLE]
        for slot in dead:
            self._start(slot.name, slot.part, slot.revision, slot.weight, slot.restarts + bool(slot.pid))
        return tuple(f"{self.service.name} {slot.revision.name}" for slot in dead)

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
        self._save({n: replace(s, pid=0, started=0.0, weight=0) for n, s in slots.items() if s.part == Arm.STABLE})

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
            record = json.loads(self.record.read_bytes())
        except FileNotFoundError:
            return {}
        return {name: load_slot(value) for name, value in record.items()}

    def _save(self, slots: Mapping[str, Slot]) -> None:
        data = {name: asdict(slot) for name, slot in slots.items()}
        self.files.write(self.record.name, json.dumps(data, indent=1).encode())

    def _free(self, slots: Mapping[str, Slot]) -> str:
        """The slot that stable has not."""
        taken = next((slot.name for slot in slots.values() if slot.part == Arm.STABLE), "")
        return next(name for name in SLOTS if name != taken)

    def _emptied(self, name: str, slots: Mapping[str, Slot]) -> str:
        """The slot, when nothing runs in it."""
        if name in slots:
            self._stop(slots[name])
        return name

    def _replace(self, revision: Revision) -> tuple[Instance, ...]:
        """Stop-first: two of them at once would fight for one session."""
        slots = self.slots()
        for slot in slots.values():
            if slot.revision == revision and slot.alive():
                return (self._ready(slot),)
        for slot in slots.values():
            self._stop(slot)
        return (self._ready(self._start(SLOTS[0], Arm.STABLE, revision)),)

    def _start(self, name: str, part: str, revision: Revision, weight: Percent = 0, restarts: int = 0) -> Slot:
        port = self.process.ports[SLOTS.index(name)] if self.process.ports else None
        if port is not None and (why := taken("127.0.0.1", port)):
            raise NotReady(f"{self.service.name}: {why}", remedy="stop it, or give the plan another port")
        words = [word.replace("{port}", str(port)).replace("{python}", sys.executable) for word in revision.command]
        log = self.layout.service_log(self.service.name, name)
        make_folder(log.parent)
        started = self._spawn(words, self._environment(revision), log)
        digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
        process = started.pid, started.started
        slot = Slot(name, part, revision, *process, digest, port, str(log), weight, restarts)
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
        began = self.clock.monotonic()
        answer = "nothing yet"
        while (waited := self.clock.monotonic() - began) < within:
            if not slot.alive():
                raise NotReady(self._failed(slot, "exited before it became ready"), remedy=f"read {slot.log}")
            if health is not None and slot.port is not None:
                answer = ask(slot.port, health.path)
                if answer == "HTTP 200" and listens(slot.process, slot.port):
                    return self._instance(slot)
            self.clock.sleep(0.05 if waited < 2 else 0.25)
        if health is None:
            return self._instance(slot)
        why = f"was not ready in {within:g} s: GET {health.path} on port {slot.port} last gave {answer}"
        raise NotReady(self._failed(slot, why), remedy=f"read {slot.log}")

    def _failed(self, slot: Slot, why: str) -> str:
        self.clock.sleep(LOG_GRACE)
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
        alive = slot.alive()
        return Instance(
            self.service.name,
            Arm.STABLE if slot.part == Arm.STABLE else Arm.CANARY,
            slot.revision.name,
            slot.identity,
            alive,
            Endpoint("127.0.0.1", slot.port, slot.revision.name) if slot.port else None,
            slot.pid,
            slot.log,
            "" if alive else "exited",
            restarts=slot.restarts,
        )


def load_slot(value: Mapping[str, object]) -> Slot:
    """A slot from its JSON."""
    revision = dict(value["revision"])  # type: ignore[call-overload]  # JSON written by _save
    revision["command"] = tuple(revision["command"])
    part = IDLE if value["part"] == "spare" else value["part"]  # as older versions wrote it
    return Slot(**{**value, "part": part, "revision": Revision(**revision)})  # type: ignore[arg-type]


def ask(port: int, path: str) -> str:
    """One GET to an instance itself: `HTTP 200`, or what went wrong."""
    import http.client  # noqa: PLC0415 - slow to import, and `recover` rarely needs it

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"User-Agent": "onlyvips-release"})
        return f"HTTP {connection.getresponse().status}"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({type(error).__name__})"
    finally:
        connection.close()
