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
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast

import psutil

from onlyvips_release.clients import log_pump
from onlyvips_release.clients.process import CHILDREN, birth, same
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
        return tuple(self._instance(slot) for slot in self.slots().values())

    def start_canary(self, revision: Revision, size: int = 1) -> tuple[Instance, ...]:
        """In the free slot. A running spare (or stable) of this revision is taken as it is: the quick way back."""
        slots = self.slots()
        for slot in slots.values():
            if slot.revision == revision and running(slot):
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
        chosen = next((s for s in slots.values() if s.revision == revision and running(s)), None)
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
        """Start a dead stable process again, with the same revision in the same slot; it is not waited for."""
        done = []
        for slot in self.slots().values():
            if slot.part == Arm.STABLE and not running(slot):
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
        """Stop every instance and forget them (`down`)."""
        for slot in self.slots().values():
            self._stop(slot)
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
            if slot.revision == revision and running(slot):
                return (self._ready(slot),)
        for slot in slots.values():
            self._stop(slot)
        self._save({})
        return (self._ready(self._start("a", Arm.STABLE, revision)),)

    def _start(self, name: str, part: str, revision: Revision) -> Slot:
        port = self.process.ports[self._names().index(name)] if self.process.ports else None
        if port is not None:
            refuse_taken(self.service.name, port)
        words = [word.replace("{port}", str(port)).replace("{python}", sys.executable) for word in revision.command]
        log = self.layout.service_log(self.service.name, name)
        make_folder(log.parent)
        child = spawn(words, self._environment(revision), self.process, log, self.service.name)
        digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
        slot = Slot(name, part, revision, child.pid, birth(child.pid), digest, port, str(log))
        self._save({**self.slots(), name: slot})
        return slot

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
            if not running(slot):
                raise NotReady(self._failed(slot, "exited before it became ready"), remedy=f"read {slot.log}")
            if health is not None and slot.port is not None:
                told = ask(slot.port, health.path)
                if told == "HTTP 200" and listens(slot):
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
        """SIGTERM to its session, SIGKILL when the drain time is over. Only ever what we started ourselves.

        The record is written first: who lost the claim ends there, before it stops what users may be on by now.
        """
        if not running(slot):
            return
        self._save(self.slots())
        signal_session(slot.pid, signal.SIGTERM)
        end = self.clock.monotonic() + self.process.drain.total_seconds()
        while running(slot) and self.clock.monotonic() < end:
            self.clock.sleep(0.02)
        if running(slot):
            signal_session(slot.pid, signal.SIGKILL)
            while running(slot):
                self.clock.sleep(0.02)

    def _instance(self, slot: Slot) -> Instance:
        lives = running(slot)
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


def spawn(words: list[str], env: dict[str, str], process: Settings, log: Path, service: str) -> subprocess.Popen[bytes]:
    """Start in a session of its own, output through a pump of bounded size; both outlive this command."""
    writer = -1
    try:
        writer, pump = log_pump.start(str(log), log_pump.LOG_BEGINS)
        CHILDREN.append(pump)
        child = subprocess.Popen(
            words,
            env=env,
            cwd=process.cwd or None,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
        )
        CHILDREN.append(child)
    except OSError as error:
        raise NotReady(
            f"{service}: cannot start {words[0]!r}: {error.strerror or error}",
            remedy="check the plan's command, and its cwd",
        ) from error
    finally:
        if writer >= 0:
            os.close(writer)
    return child


def running(slot: Slot) -> bool:
    """Whether that very process lives (a pid alone is used again by others)."""
    return same(slot.pid, slot.started)


def listens(slot: Slot) -> bool:
    """Whether the slot's port is held by that process or a child of it, so that nobody else answers for it."""
    try:
        process = psutil.Process(slot.pid)
        family = [process, *process.children(recursive=True)]
        found = [c for member in family for c in member.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(c.laddr.port == slot.port for c in found)


def signal_session(pid: int, number: int) -> None:
    """A signal to the process group that the process leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


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


def refuse_taken(service: str, port: int) -> None:
    """A port that somebody else holds is found before the process dies of it, and its holder is named."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise NotReady(
                f"{service}: port {port} is taken{listener(port)}", remedy="stop it, or give the plan another port"
            ) from None


def listener(port: int) -> str:
    """Who listens on a local port, in words, as far as we may see it."""
    with contextlib.suppress(psutil.AccessDenied):
        for found in psutil.net_connections("tcp"):
            if found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN and found.pid:
                return f" by pid {found.pid}"
    return ""
