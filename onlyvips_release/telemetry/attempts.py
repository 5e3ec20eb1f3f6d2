"""Latency and business calls of users' first attempts, from the lines that the router writes about each attempt.

A tail over two files that its log pump turns: whatever goes wrong, numbers are missing rather than wrong. The retry
and pin legs are clusters of their own, so their lines are simply nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from onlyvips_release.clients.attempt_log import BUSINESS, LINE
from onlyvips_release.errors import Unavailable
from onlyvips_release.judge.buckets import bucket

BLOCK = 1 << 18
"""Bytes in memory at once."""

LONGEST_LINE = 4096
LOST = 0.1
"""Share of attempts that may be missing in the log before a tick of it counts as not seen."""

UNKNOWN = b"?"
"""Stands for the beginning of a line that was not read: no cluster is called so."""


@dataclass(slots=True)
class Tally:
    """One endpoint since it was first asked for. `latency`: bucket of judge/buckets.py -> answered attempts."""

    lines: int = 0
    business: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    counted: int | None = None
    unlogged: int = 0

    def complete(self, counted: int) -> bool:
        """Whether the log has what the router's own counter (now `counted`) had at the last call, 10 % less at most.

        Lines come up to 100 ms after the counter, so now's counter would be too much to ask. What is lost stays lost:
        it is written off, and the next call asks for what came after.
        """
        before, self.counted = self.counted, counted
        if before is None:
            self.unlogged = counted - self.lines
            return True
        missing = before - self.unlogged - self.lines
        if missing <= LOST * (counted - before):
            return True
        self.unlogged += missing
        return False


class Attempts:
    """The tail of one log. It begins at the end: what was there before is nobody's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tallies: dict[bytes, Tally] = {}
        self.inode: int | None = None
        self.offset = 0
        self.torn = b""

    def read(self, endpoints: Iterable[str]) -> None:
        """Count the new lines of these endpoints (`<cluster> <host>:<port>`), forget all others.

        Raises Unavailable when there is no log; the next call goes on where this one could not.
        """
        keys = [name.encode() for name in endpoints]
        self.tallies = {key: self.tallies.get(key) or Tally() for key in keys}
        try:
            with self.path.open("rb", buffering=0) as file:
                self._follow(file)
        except OSError as error:
            raise Unavailable(f"the router's log of attempts cannot be read ({error.strerror})") from error

    def of(self, endpoint: str, counted: int) -> Tally | None:
        """What was seen of one endpoint; None when lines of attempts that the router counted are missing."""
        tally = self.tallies[endpoint.encode()]
        if tally.counted is not None and counted < tally.counted:
            tally = self.tallies[endpoint.encode()] = Tally()  # the router began again at zero, and so does this
        return tally if tally.complete(counted) else None

    def _follow(self, file: BinaryIO) -> None:
        found = os.fstat(file.fileno())
        if self.inode is None:
            self.offset, self.torn = found.st_size, UNKNOWN
        elif self.inode != found.st_ino:
            self._finish_older()
            self.offset = 0
        elif found.st_size < self.offset:
            self.offset, self.torn = 0, UNKNOWN
        self.inode = found.st_ino
        self._take(file)

    def _finish_older(self) -> None:
        """The rest of the file that was read so far, if it is still there under its second name."""
        try:
            with Path(f"{self.path}.1").open("rb", buffering=0) as older:
                if os.fstat(older.fileno()).st_ino == self.inode:
                    return self._take(older)
        except FileNotFoundError:
            pass
        self.torn = UNKNOWN
        return None

    def _take(self, file: BinaryIO) -> None:
        file.seek(self.offset)
        while block := file.read(BLOCK):
            self.offset += len(block)
            data = self.torn + block
            end = data.rfind(b"\n") + 1
            self.torn = data[end:] if len(data) - end <= LONGEST_LINE else UNKNOWN
            self._count(data[:end])

    def _count(self, data: bytes) -> None:
        for endpoint, status, microseconds, route in LINE.findall(data):
            tally = self.tallies.get(endpoint)
            if tally is None:
                continue
            tally.lines += 1
            if microseconds != b"-":
                k = bucket(int(microseconds) / 1000)
                tally.latency[k] = tally.latency.get(k, 0) + 1
            if status[:1] == b"2" and route.startswith(BUSINESS):
                tally.business += 1
