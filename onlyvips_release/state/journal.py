"""The record of one release: one JSON object a line, appended and fsynced before the next command.

`{"v": 2, "seq": 12, "fence": 3, "t": "2026-...Z", "event": "Shifted", ...the event's fields...}`. An unfinished last
line is no record. A record with a lower fence than one before it was written by a controller that had already lost
its claim: it is ignored. Journals of version 1 are read as today's events.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import replay
from onlyvips_release.core.ports import Clock
from onlyvips_release.core.upgrade import Upgrade
from onlyvips_release.errors import JournalError
from onlyvips_release.state.codec import decode, encode

VERSIONS, VERSION = (1, 2), 2
KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(events.Event)}


class FileJournal:
    """`releases/<id>/journal.jsonl`. `clock` None = for reading only."""

    def __init__(self, path: Path, clock: Clock | None = None, fence: int = 0) -> None:
        self.path, self.clock, self.fence = path, clock, fence
        self.seq = max((record["seq"] for record in records(path)), default=0)
        self.new = not path.exists()

    def append(self, event: events.Event) -> None:
        """One durable line."""
        if self.clock is None:
            raise JournalError(f"{self.path} was opened for reading")
        self.seq += 1
        fields = encode(event)
        for one in latencies(fields):
            one["latency"] = in_a_row(one["latency"])
        record = {
            "v": VERSION,
            "seq": self.seq,
            "fence": self.fence,
            "t": self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": type(event).__name__,
            **fields,
        }
        try:
            self._write((json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
        except OSError as error:
            raise JournalError(
                f"cannot write {self.path}: {error.strerror}", remedy="free space or mend the disk; then `recover`"
            ) from error

    def _write(self, line: bytes) -> None:
        """Whole or not at all; a journal that vanished is never begun anew, its first events would be missing."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if self.new else 0), 0o600)
        try:
            cut_torn_line(descriptor)
            size = os.fstat(descriptor).st_size
            try:
                write_whole(descriptor, line)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if self.new:
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            self.new = False

    def read(self, *, samples: bool = True) -> Iterator[events.Event]:
        """All events of the record, oldest first; without `samples` quickly, for who asks only where it stands."""
        yield from (event for _, event in dated(self.path, samples=samples))


def dated(path: Path, *, samples: bool = True) -> Iterator[tuple[str, events.Event]]:
    """All events of a journal with the time of each record."""
    upgrade = Upgrade()
    for record in records(path, skip=b"" if samples else b'"event":"Sampled"'):
        event = event_of(record, path)
        yield from ((record["t"], each) for each in (upgrade.events(event) if record["v"] == 1 else (event,)))


def journals(state: Path) -> list[Path]:
    """The journals of a platform's releases, oldest first."""
    return sorted(state.glob("releases/r*/journal.jsonl"), key=lambda path: int(path.parent.name[1:]))


def unfinished(path: Path) -> bool:
    """Whether a release has begun and has no end; a journal without a whole first record tells of nothing."""
    release = replay(FileJournal(path).read(samples=False))
    return bool(release.id) and not release.over


def write_whole(descriptor: int, line: bytes) -> None:
    """A disk that fills up takes a part of a line without an error."""
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def cut_torn_line(descriptor: int) -> None:
    """A crash while writing leaves half a line: it is no record, and must not swallow the next one."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        tail = os.pread(descriptor, 1 << 20, max(0, size - (1 << 20)))
        os.ftruncate(descriptor, size - (len(tail) - tail.rfind(b"\n") - 1))


def records(path: Path, skip: bytes = b"") -> Iterator[dict[str, Any]]:
    """The lines of a journal as dictionaries; raises JournalError with the line's number."""
    fence = 0
    try:
        lines = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}", remedy="mend the disk; then `recover`") from error
    for number, line in enumerate(lines[:-1], 1):
        if skip and skip in line:
            continue
        try:
            record: dict[str, Any] = json.loads(line)
            version, current = record["v"], record["fence"]
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(
                f"{path}:{number}: is no record of a release", remedy="restore the file, or move it away"
            ) from error
        if version not in VERSIONS:
            raise JournalError(f"{path}:{number}: written by another version ({version})", remedy="use that version")
        if current >= fence:
            fence = current
            yield record


def event_of(record: dict[str, Any], path: Path) -> events.Event:
    """One event from its record."""
    kind = KINDS.get(record["event"])
    if kind is None:
        raise JournalError(f"{path}: unknown event {record['event']!r}", remedy="use a newer version of the tool")
    fields = {name: value for name, value in record.items() if name not in ("v", "seq", "fence", "t", "event")}
    for one in latencies(fields):
        one["latency"] = pairs(one["latency"])
    event: events.Event = decode(kind, fields)
    return event


def latencies(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Every series of a Sampled record that has a latency."""
    arms = (arm for service in fields.get("series", {}).values() for arm in service.values())
    return [one for arm in arms for one in arm if one.get("latency") is not None]


def in_a_row(found: list[tuple[int, int]]) -> list[int]:
    """(bucket, count) pairs as the first bucket and all counts from there: a day of ticks takes half the bytes."""
    counts = dict(found)
    return [min(counts), *(counts.get(k, 0) for k in range(min(counts), max(counts) + 1))] if counts else []


def pairs(row: list[int]) -> list[list[int]]:
    """The pairs again."""
    return [[row[0] + n, count] for n, count in enumerate(row[1:]) if count]
