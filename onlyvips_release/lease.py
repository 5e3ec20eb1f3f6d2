"""One release per platform: a claim in the platform's `live/` folder that expires, with fencing.

The fence is a number. Its holder owns the folder `live/stage-<fence>/`, and every live file is written by a rename
*out of that folder*. Whoever takes over makes `stage-<fence + 1>` (mkdir has one winner) and renames all lower stages
away: a process that was frozen meanwhile wakes up and finds no source for its rename. No file locks.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import secrets
import socket
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from onlyvips_release.errors import LeaseHeld, LeaseLost
from onlyvips_release.ports import Clock

EXPIRES = 15.0
"""Seconds without a renewal after which a lease is free."""

RENEWED_EVERY = 5.0

REPAIR = "repair"
"""What the supervisor of `up --foreground` holds a lease for: so short that others wait for it."""


class StagedFiles:
    """Writes live files out of one stage folder; raises LeaseLost when the stage was taken away."""

    def __init__(self, live: Path, fence: int) -> None:
        self.live, self.fence = live, fence
        self.stage = live / f"stage-{fence}"

    def write(self, name: str, data: bytes) -> None:
        """Whole and durable: temporary file in the stage, fsync, rename, fsync of the folder."""
        target = self.live / name
        source = self.stage / f"{secrets.token_hex(6)}.tmp"
        try:
            descriptor = os.open(source, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            target.parent.mkdir(mode=0o700, exist_ok=True)
            source.rename(target)
        except FileNotFoundError as error:
            raise LeaseLost(
                f"the claim number {self.fence} on {self.live} was taken over: {name} was not written",
                remedy="see `onlyvips-release status`: another controller holds the platform now",
            ) from error
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class FileLease:
    """The claim on one platform on this machine; while it is held, also the one way to write its live files."""

    def __init__(self, live: Path, clock: Clock) -> None:
        self.live, self.clock = live, clock
        self.files: StagedFiles | None = None
        self.fence = 0
        self._deadline = 0.0
        self._counter = 0
        self._lost = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._record: dict[str, Any] = {}

    def acquire(self, what: str) -> int:
        """Take the claim; raises LeaseHeld while a living process renews it."""
        self.live.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = read_lease(self.live)
        begun = self.clock.monotonic()
        while found and not self._free(found):
            if found["what"] != REPAIR or self.clock.monotonic() - begun > EXPIRES:
                raise LeaseHeld(
                    f"another command holds the platform: {describe(found)}",
                    remedy="wait for it, or see `onlyvips-release status`",
                )
            self.clock.sleep(0.1)
            found = read_lease(self.live)
        self.fence = self._take(max(found.get("fence", 0), highest(self.live)) + 1)
        self.files = StagedFiles(self.live, self.fence)
        self._record = {"v": 1, "fence": self.fence, "what": what, "seconds": EXPIRES, **holder()}
        self._counter, self._lost = 0, False
        self._write(released=False)
        self.renew(timedelta(seconds=60))
        self._stop.clear()
        self._thread = threading.Thread(target=self._heartbeat, name="lease", daemon=True)
        self._thread.start()
        return self.fence

    def renew(self, within: timedelta) -> None:
        """The work goes on; the heartbeat may speak for it until `within` from now."""
        if self._lost:
            raise LeaseLost("the claim on the platform was taken over", remedy="see `onlyvips-release status`")
        self._deadline = self.clock.monotonic() + within.total_seconds()

    def release(self) -> None:
        """Give it back and take the stage folder away."""
        self._stop.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        if self.files is None:
            return
        with contextlib.suppress(LeaseLost):
            self._write(released=True)
        with contextlib.suppress(OSError):
            for left in self.files.stage.iterdir():
                left.unlink()
            self.files.stage.rmdir()
        self.files = None

    def write(self, name: str, data: bytes) -> None:
        """The port Files: out of the stage folder of our fence."""
        if self.files is None:
            raise LeaseLost(f"live/{name} cannot be written: no claim is held", remedy="this is a bug of the tool")
        self.files.write(name, data)

    def _take(self, fence: int) -> int:
        """One winner; then look again: a higher or revoked number means that we came too late."""
        try:
            (self.live / f"stage-{fence}").mkdir(mode=0o700)
        except FileExistsError:
            raise LeaseHeld(f"somebody else took claim number {fence} just now", remedy="try again") from None
        if highest(self.live) > fence or list(self.live.glob(f"revoked-{fence}-*")):
            (self.live / f"stage-{fence}").rmdir()
            raise LeaseHeld(f"claim number {fence} was already revoked", remedy="try again")
        for number, stage in stages(self.live):
            if number < fence:
                with contextlib.suppress(FileNotFoundError):
                    stage.rename(self.live / f"revoked-{number}-{secrets.token_hex(4)}")
        return fence

    def _free(self, found: Mapping[str, Any]) -> bool:
        """Released; or its holder is gone from this host; or nobody renewed it for its whole time on *our* clock."""
        if found["released"] or not alive(found):
            return True
        if found["host"] == holder()["host"]:
            return False
        begun = self.clock.monotonic()
        while self.clock.monotonic() - begun < found["seconds"]:
            self.clock.sleep(0.5)
            now = read_lease(self.live)
            if now.get("counter") != found["counter"] or now.get("fence") != found["fence"]:
                return bool(now.get("released", True))
        return True

    def _write(self, *, released: bool) -> None:
        self._counter += 1
        record = {**self._record, "counter": self._counter, "released": released}
        if self.files:
            self.files.write("lease.json", json.dumps(record).encode())

    def _heartbeat(self) -> None:
        while not self._stop.wait(RENEWED_EVERY):
            if self.clock.monotonic() > self._deadline:
                continue
            try:
                self._write(released=False)
            except LeaseLost:
                self._lost = True
                return


def holder() -> dict[str, Any]:
    """Who this process is: host, user, pid and its start time (a pid alone is used again by others)."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "pid": process.pid,
        "started": round(process.create_time(), 2),
    }


def alive(found: Mapping[str, Any]) -> bool:
    """False only when the holder is surely gone: its process ended on this very host."""
    if found["host"] != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(found["pid"]).create_time() - found["started"]) < 0.05)
    except psutil.NoSuchProcess:
        return False


def held(live: Path) -> dict[str, Any]:
    """The lease record while a living process holds it, else {}. Reads only."""
    found = read_lease(live)
    return found if found and not found["released"] and alive(found) else {}


def describe(found: Mapping[str, Any]) -> str:
    """Who holds a lease, in words."""
    return f"{found['what']} by {found['user']} on {found['host']} (pid {found['pid']})"


def read_lease(live: Path) -> dict[str, Any]:
    """The lease record, {} when there is none (written whole by rename, so it is never torn)."""
    try:
        record: dict[str, Any] = json.loads((live / "lease.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return record


def stages(live: Path) -> list[tuple[int, Path]]:
    """Stage folders by fence."""
    found = ((re.fullmatch(r"stage-(\d+)", path.name), path) for path in live.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def highest(live: Path) -> int:
    """The highest fence ever staged or revoked that is still to be seen, 0 = none."""
    numbers = (re.match(r"(?:stage|revoked)-(\d+)", path.name) for path in live.iterdir())
    return max((int(match[1]) for match in numbers if match), default=0)
