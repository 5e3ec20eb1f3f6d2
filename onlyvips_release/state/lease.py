"""One release per platform: a claim in the platform's `live/` folder that expires, with fencing.

The fence is a number. Its holder owns the folder `live/stage-<fence>/`, and every live file is written by a rename
*out of that folder*. Whoever takes over renames a claim folder of its own to `stage-<fence + 1>` (one winner: a stage
folder is never empty) and then renames all lower stages away: a process that was frozen meanwhile, also between its
last look and its write, wakes up and finds no source for its rename. No file locks, and a take-over needs no disk
space when its claim folder was made before.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from onlyvips_release.clients.process import Process, birth
from onlyvips_release.core.ports import Claim, Clock
from onlyvips_release.errors import LeaseHeld, LeaseLost
from onlyvips_release.state import layout
from onlyvips_release.state.files import StagedFiles, make_folder, refuse_shared
from onlyvips_release.state.layout import LEASE, stages

EXPIRES = timedelta(seconds=15)
"""How long a lease is valid without renewal; its holder renews it every third of that."""

REPAIR = "repair"
"""What the supervisor of `up --foreground` holds a lease for."""

SHORT = (REPAIR, "guardian")
"""Holders that are done within seconds: others wait for them."""

LONGEST_LOOK = 1.0
"""Seconds that one look counts at most: who slept (a stopped process, a closed laptop) did not look meanwhile."""

SAFE = (0, 100)
"""The only safe weights there are: all users on stable, or all on the canary arm."""


class FileLease:
    """The claim on one platform on this machine; while it is held, also the one way to write its live files."""

    def __init__(self, live: Path, clock: Clock, expires: timedelta = EXPIRES) -> None:
        self.live, self.clock, self.seconds = live, clock, expires.total_seconds()
        self.files: StagedFiles | None = None
        self.fence = 0
        self.safe_weight = 0
        self._watch: tuple[tuple[Any, Any] | None, bool, float, float] = (None, False, 0.0, 0.0)
        self._deadline = 0.0
        self._counter = 0
        self._lost = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._record: dict[str, Any] = {}

    # --- the port -----------------------------------------------------------------------------------------------------

    def look(self) -> Claim | None:
        """From the record and the process table; it counts for itself how long nothing was renewed."""
        record = read_lease(self.live)
        fence = max(record.get("fence", 0), highest(self.live))
        if not fence:
            return None
        now, mark = self.clock.monotonic(), (record.get("fence"), record.get("counter"))
        before, renewed, waited, looked = self._watch
        if mark == before:
            waited += min(now - looked, LONGEST_LOOK)
        else:
            renewed, waited = before is not None, 0.0
        self._watch = (mark, renewed, waited, now)
        expired = waited >= record.get("seconds", self.seconds) or (bool(record) and not alive(record))
        who = "{what} by {user} on {host} (pid {pid})".format_map(record) if record else "somebody (its record is gone)"
        noted = record.get("what", ""), record.get("safe_weight", 0), record.get("released", False)
        return Claim(fence, who, *noted, expired, renewed)

    def acquire(self, what: str) -> int:
        """Take the claim. Raises LeaseHeld as soon as a renewal was seen, or when somebody else was faster.

        Raises Refused where others may write the platform's folders, but never for who protects users (`SHORT`).
        """
        make_folder(self.live)
        if what not in SHORT:
            refuse_shared([self.live, *layout.Layout.at(self.live.parent).folders()])
        mark, _, waited, looked = self._watch
        self._watch = (mark, False, waited, looked)
        begun = self.clock.monotonic()
        while (found := self.look()) and not (found.released or found.expired):
            short = found.what in SHORT and self.clock.monotonic() - begun < 2 * self.seconds
            if found.renewed and not short:
                raise LeaseHeld(
                    f"another command holds the platform: {found.who}",
                    remedy="wait for it, or see `onlyvips-release status`",
                )
            self.clock.sleep(0.1)
        after = found.fence if found else 0
        if self.files is None or self.fence != after + 1:
            self.stand_by(after, what)
        self._take(self.fence)
        self._counter, self._lost = 1, False
        for path in layout.leftovers(self.live, self.fence):
            remove(path)
        self.renew(timedelta(seconds=60), self.safe_weight)
        self._stop.clear()
        self._thread = threading.Thread(target=self._heartbeat, name="lease", daemon=True)
        self._thread.start()
        return self.fence

    def renew(self, within: timedelta, safe_weight: int) -> None:
        """Note the deadline until which the heartbeat may speak for the main loop; a new safe weight is written now."""
        if self.files is None or self._lost or not self.files.stage.exists():
            raise LeaseLost("the claim on the platform was taken over", remedy="see `onlyvips-release status`")
        self._deadline = self.clock.monotonic() + within.total_seconds()
        if safe_weight != self.safe_weight:
            self.safe_weight = safe_weight
            self._write(released=False)

    def release(self) -> None:
        """Give it back and take the stage folder away. On a full disk the record stays: its holder is gone, then."""
        if self._thread:
            self._stop.set()
            self._thread.join()
            self._thread = None
            with contextlib.suppress(LeaseLost, OSError):
                self._write(released=True)
        if self.files:
            remove(self.files.stage)
            self.files = None

    # --- the port Files -----------------------------------------------------------------------------------------------

    def write(self, name: str, data: bytes) -> None:
        """Out of the stage folder of our fence."""
        self._mine(name).write(name, data)

    def prepare(self, name: str, data: bytes) -> None:
        """Into the stage folder of our fence (or of the claim that stands by)."""
        self._mine(name).prepare(name, data)

    def publish(self, prepared: str, name: str) -> None:
        """Out of the stage folder of our fence."""
        self._mine(name).publish(prepared, name)

    # --- taking it ----------------------------------------------------------------------------------------------------

    def stand_by(self, fence: int, what: str) -> None:
        """Make the claim that follows `fence`, with all that its take-over writes: then `acquire` is renames alone."""
        if self.files:
            remove(self.files.stage)
        self.fence = fence + 1
        self._record = {"v": 1, "fence": self.fence, "what": what, "seconds": self.seconds, **holder()}
        folder = layout.claim_folder(self.live, fence, mark())
        make_folder(folder)
        self.files = StagedFiles(self.live, folder)
        self.files.prepare("claim", b"")
        for self.safe_weight in SAFE:
            self.files.prepare(f"lease-{self.safe_weight}.json", self._encoded(0, released=False))

    def _mine(self, name: str) -> StagedFiles:
        if self.files is None:
            raise LeaseLost(f"live/{name} cannot be written: no claim is held", remedy="this is a bug of the tool")
        return self.files

    def _take(self, fence: int) -> None:
        """One winner; then look again: a higher or revoked number means that we came too late."""
        files, folder = self._mine(LEASE), layout.stage_folder(self.live, fence)
        try:
            files.stage.rename(folder)
        except OSError:
            self._give_up(files.stage, fence)
        late = max(read_lease(self.live).get("fence", 0) + 1, highest(self.live)) > fence
        if late or layout.is_revoked(self.live, fence):
            self._give_up(folder, fence)
        files.stage = folder
        for number, lower in stages(self.live):
            if number < fence:
                with contextlib.suppress(FileNotFoundError):
                    lower.rename(layout.revoked_folder(self.live, number, mark()))
        try:
            self.safe_weight = read_lease(self.live).get("safe_weight", 0)  # final: its holder cannot write any more
            files.publish(f"lease-{self.safe_weight}.json", LEASE)
        except LeaseLost:
            self._give_up(files.stage, fence)

    def _give_up(self, folder: Path, fence: int) -> NoReturn:
        remove(folder)
        self.files = None
        raise LeaseHeld(f"somebody else took claim number {fence} just now", remedy="try again")

    # --- renewing it --------------------------------------------------------------------------------------------------

    def _encoded(self, counter: int, *, released: bool) -> bytes:
        expires = self.clock.now() + timedelta(seconds=self.seconds)
        told = {"counter": counter, "safe_weight": self.safe_weight, "released": released, "expires": expires}
        return json.dumps({**self._record, **told}, default=str).encode()

    def _write(self, *, released: bool) -> None:
        with self._lock:
            self._counter += 1
            self._mine(LEASE).write(LEASE, self._encoded(self._counter, released=released))

    def _heartbeat(self) -> None:
        """Speaks for the main loop, but only until its deadline. A full disk is no renewal, and may end."""
        while not self._stop.wait(self.seconds / 3):
            if self.clock.monotonic() > self._deadline:
                continue
            try:
                self._write(released=False)
            except LeaseLost:
                self._lost = True
                return
            except OSError:
                continue


def mark() -> str:
    """A name that no other process chooses."""
    return os.urandom(4).hex()


def holder() -> dict[str, Any]:
    """Who this process is: host, user, pid, when it began, and in which space of pids (containers share host names)."""
    pid = os.getpid()
    return {
        "host": os.uname().nodename,
        "user": getpass.getuser(),
        "pid": pid,
        "started": birth(pid),
        "space": pid_space(),
    }


def pid_space() -> int:
    """Two processes with different numbers cannot find each other by pid; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino
    return 0


def alive(found: Mapping[str, Any]) -> bool:
    """False only when the holder is surely gone: its process ended on this very host."""
    if (found["host"], found["space"]) != (os.uname().nodename, pid_space()):
        return True
    return Process(found["pid"], found["started"]).alive()


def read_lease(live: Path) -> dict[str, Any]:
    """The lease record, {} when there is none (written whole by rename, so it is never torn)."""
    try:
        record: dict[str, Any] = json.loads((live / LEASE).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return record


def highest(live: Path) -> int:
    """The highest fence that has a stage folder, 0 = none."""
    return max((number for number, _ in stages(live)), default=0)


def remove(folder: Path) -> None:
    """Take a stage or claim folder away; others may do the same at the same time."""
    with contextlib.suppress(OSError):
        gone = layout.revoked_folder(folder.parent, 0, mark())
        folder.rename(gone)
        folder = gone
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()
