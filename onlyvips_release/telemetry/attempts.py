"""How users' first attempts ended, their latency and business calls, from the lines that the router writes about each.

A tail over two files that its log pump turns: whatever goes wrong, numbers are missing rather than wrong. The retry
and pin legs are clusters of their own, so their lines are simply nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from onlyvips_release.clients.attempt_log import BUSINESS, LINE, End, end_of
from onlyvips_release.core.judge.buckets import bucket
from onlyvips_release.errors import Unavailable

BLOCK = 1 << 18
"""Bytes in memory at once."""

LONGEST_LINE = 4096
NEVER = 1 << 60
"""Milliseconds of a route without a timeout."""

LOST = 0.1
"""Share of attempts that may be missing in the log before a tick of it counts as not seen."""

UNKNOWN = b"?"
"""Stands for the beginning of a line that was not read: no cluster is called so."""


@dataclass(slots=True)
class Tally:
    """One endpoint since it was first asked for.

    `latency`: bucket of judge/buckets.py -> answers that came to their last byte, or failed; `cut`: answers that began
    and did not end, which the router counts as good; `abandoned`: requests that their client gave up before any answer,
    which the router does not count; `good`: the good ones that were given out last.
    """

    lines: int = 0
    business: int = 0
    cut: int = 0
    abandoned: int = 0
    good: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    counted: int | None = None
    unlogged: int = 0

    def ended(self, good: int, bad: int) -> tuple[int, int]:
        """(good, failed) by how attempts ended, from what the router counted by their heads.

        A line comes after the counter: until then an answer that was cut is good. What was given out as good is never
        taken back, since counts that fall would mean that the router began again.
        """
        self.good = max(self.good, good - self.cut + self.abandoned)
        return self.good, bad + self.cut

    def complete(self, counted: int, under_way: int = 0) -> bool:
        """Whether the log has what the router's own counter (now `counted`) had at the last call, 10 % less at most.

        The counter knows an attempt by the head of its answer, the log by its end: what is `under_way` may be missing.
        Lines come up to 100 ms after that, so now's counter would be too much to ask. What is lost stays lost: it is
        written off, and the next call asks for what came after.
        """
        before, self.counted = self.counted, counted
        if before is None:
            self.unlogged = counted - self.lines
            return True
        missing = before - self.unlogged - self.lines
        if missing - under_way <= LOST * (counted - before):
            return True
        self.unlogged += missing
        return False


class Attempts:
    """The tail of one log. It begins at the end: what was there before is nobody's. `timeouts`: by cluster.

    The file is kept open, so that a turned one is read to its end, and its inode is not given to the next.
    """

    def __init__(self, path: Path, timeouts: Mapping[str, timedelta] = MappingProxyType({})) -> None:
        self.path = path
        self.timeouts = {name.encode(): round(time / timedelta(milliseconds=1)) for name, time in timeouts.items()}
        self.tallies: dict[bytes, Tally] = {}
        self.file = -1
        self.torn = b""

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)

    def read(self, endpoints: Iterable[str]) -> None:
        """Count the new lines of these endpoints (`<cluster> <host>:<port>`), forget all others.

        Raises Unavailable when there is no log; the next call goes on where this one could not.
        """
        keys = [name.encode() for name in endpoints]
        self.tallies = {key: self.tallies.get(key) or Tally() for key in keys}
        try:
            if self.file < 0:
                self._begin_at_the_end()
            self._take()
            if self._turned():
                self._take()
                os.close(self.file)
                self.file = os.open(self.path, os.O_RDONLY)
                self._take()
        except OSError as error:
            raise Unavailable(f"the router's log of attempts cannot be read ({error.strerror})") from error

    def of(self, endpoint: str, counted: int, under_way: int = 0) -> Tally | None:
        """What was seen of one endpoint; None when lines of attempts that the router counted are missing."""
        tally = self.tallies[endpoint.encode()]
        if tally.counted is not None and counted < tally.counted:
            tally = self.tallies[endpoint.encode()] = Tally()  # the router began again at zero, and so does this
        return tally if tally.complete(counted, under_way) else None

    def _begin_at_the_end(self) -> None:
        """What is left of a line there belongs to nobody; the byte before tells whether there is such a rest."""
        self.file = os.open(self.path, os.O_RDONLY)
        if os.lseek(self.file, 0, os.SEEK_END):
            os.lseek(self.file, -1, os.SEEK_END)
            self.torn = UNKNOWN

    def _turned(self) -> bool:
        """Whether the name belongs to another file by now. Without any, the writer goes on in the one that we hold."""
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self.file))
        except FileNotFoundError:
            return False

    def _take(self) -> None:
        if os.fstat(self.file).st_size < os.lseek(self.file, 0, os.SEEK_CUR):
            os.lseek(self.file, 0, os.SEEK_SET)  # emptied by somebody
        while block := os.read(self.file, BLOCK):
            data = self.torn + block
            end = data.rfind(b"\n") + 1
            self.torn = data[end:] if len(data) - end <= LONGEST_LINE else UNKNOWN
            self._count(data[:end])

    def _count(self, data: bytes) -> None:
        for endpoint, code, first, last, milliseconds, flags, route in LINE.findall(data):
            tally = self.tallies.get(endpoint)
            if tally is None:
                continue
            timeout = self.timeouts.get(endpoint.partition(b" ")[0], NEVER)
            end = end_of(int(code), last != b"-", int(milliseconds), flags, timeout)
            tally.lines += end is not End.ABANDONED_UNANSWERED
            tally.abandoned += end is End.ABANDONED_UNANSWERED
            tally.cut += end is End.CUT
            took = last if last != b"-" else first
            if end in (End.COMPLETE, End.FAILED) and took != b"-":
                k = bucket(int(took) / 1000)
                tally.latency[k] = tally.latency.get(k, 0) + 1
            if end is End.COMPLETE and code[:1] == b"2" and route.startswith(BUSINESS):
                tally.business += 1
