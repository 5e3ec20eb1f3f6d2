"""The record of one release: one JSON object a line, appended and fsynced before the next command.

`{"v": 2, "seq": 12, "fence": 3, "t": "2026-...Z", "event": "Shifted", ...the event's fields...}`. An unfinished last
line is no record. A record with a lower fence than one before it was written by a controller that had already lost
its claim: it is ignored. Records of version 1 are read for ever, as today's events.

A line that is no record stops a strict reader with JournalError. A tolerant reader leaves it out and lists it as
damage: a way back must not wait until somebody has mended a file.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from onlyvips_release.codec import decode, encode
from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.upgrade import Upgrade
from onlyvips_release.errors import JournalError, ReleaseError
from onlyvips_release.state.files import make_folder, sync, write_whole

if TYPE_CHECKING:
    from onlyvips_release.core.ports import Clock, Lease
    from onlyvips_release.state.layout import Layout

VERSION = 2
READABLE = (1, 2)
SAMPLED = b'"event":"Sampled"'
SEQ = re.compile(rb'^\{"v":\d+,"seq":(\d+)', re.MULTILINE)
KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(events.Event)}


@dataclass(frozen=True, slots=True)
class Damage:
    """A line of a journal that could not be used: its number from 1, and why."""

    line: int
    problem: str

    def __str__(self) -> str:
        """For people and the journal itself."""
        return f"line {self.line} of the journal is left out: {self.problem}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record: its line from 1, its time as written, its event."""

    line: int
    time: str
    event: events.Event


@dataclass(frozen=True, slots=True)
class Reading:
    """A release as far as its journal could be read; `damage` lists what was left out."""

    release: Release
    damage: tuple[Damage, ...]

    @property
    def unfinished(self) -> bool:
        """Whether the release has begun and has no end. A journal without one whole line tells of no release."""
        return bool(self.release.id or self.damage) and not self.release.over


class FileJournal:
    """`releases/<id>/journal.jsonl`. `clock` None = for reading only."""

    def __init__(self, path: Path, clock: Clock | None = None, fence: int = 0) -> None:
        self.path, self.clock, self.fence = path, clock, fence
        self.seq: int | None = None
        self.new = not path.exists()

    def append(self, event: events.Event) -> None:
        """One durable line."""
        if self.clock is None:
            raise JournalError(f"{self.path} was opened for reading")
        if self.seq is None:
            self.seq = max(map(int, SEQ.findall(b"\n".join(lines(self.path)))), default=0)
        self.seq += 1
        fields = encode(event)
        for one in latencies(fields):
            one["latency"] = in_a_row(one["latency"])
        time = self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"v": VERSION, "seq": self.seq, "fence": self.fence, "t": time, "event": type(event).__name__}
        try:
            self._write((json.dumps(head | fields, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
        except OSError as error:
            remedy = "free space or mend the disk; then `recover`"
            raise JournalError(f"cannot write {self.path}: {error.strerror}", remedy=remedy) from error

    def _write(self, line: bytes) -> None:
        """Whole or not at all; a journal that vanished is never begun anew, its first events would be missing."""
        make_folder(self.path.parent)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if self.new else 0), 0o600)
        try:
            if self.new:
                os.fchmod(descriptor, 0o600)
            cut_torn_line(descriptor)
            size = os.fstat(descriptor).st_size
            try:
                write_line(descriptor, line)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if self.new:
            sync(self.path.parent)
            self.new = False

    def read(self, *, samples: bool = True) -> Iterator[events.Event]:
        """All events of the record, oldest first; without `samples` quickly, for who asks only where it stands."""
        return (entry.event for entry in entries(self.path, skip=b"" if samples else SAMPLED))


class FileArchive:
    """Port Archive: `releases/<id>/{journal.jsonl, token}`."""

    def __init__(self, layout: Layout, clock: Clock, lease: Lease) -> None:
        self.layout, self.clock, self.lease = layout, clock, lease

    def names(self) -> list[str]:
        """By the folders that hold a journal."""
        return self.layout.releases()

    def journal(self, release: str) -> FileJournal:
        """Under the number of the claim that is held now."""
        return FileJournal(self.layout.journal(release), self.clock, self.lease.fence)

    def token(self, release: str) -> str:
        """128 random bits, readable by this user alone."""
        path = self.layout.token(release)
        if not path.exists():
            make_folder(path.parent)
            write_whole(path, os.urandom(16).hex().encode())
        return path.read_text()


def read_release(path: Path, *, samples: bool = True) -> Reading:
    """Fold what can be read of a journal; never raises for a damaged line, nor for an event that cannot follow."""
    release, damage = Release(), list[Damage]()
    for entry in entries(path, skip=b"" if samples else SAMPLED, damage=damage):
        try:
            release.apply(entry.event)
        except (ReleaseError, LookupError, TypeError, ValueError, AttributeError) as error:
            damage.append(Damage(entry.line, f"cannot follow what was read before it: {error}"))
    return Reading(release, tuple(sorted(damage, key=lambda one: one.line)))


def read_started(path: Path) -> events.Started | None:
    """What began the release of a journal, None = no record of it can be read."""
    found = (entry.event for entry in entries(path, skip=SAMPLED, damage=[]))
    return next((event for event in found if isinstance(event, events.Started)), None)


def write_line(descriptor: int, line: bytes) -> None:
    """A disk that fills up takes a part of a line without an error."""
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def cut_torn_line(descriptor: int) -> None:
    """A crash while writing leaves half a line: it is no record, and must not swallow the next one."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        tail = os.pread(descriptor, 1 << 20, max(0, size - (1 << 20)))
        os.ftruncate(descriptor, size - (len(tail) - tail.rfind(b"\n") - 1))


def lines(path: Path) -> list[bytes]:
    """The whole lines of a journal, [] when it is not there; raises JournalError when the disk refuses."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}", remedy="mend the disk; then `recover`") from error


def entries(path: Path, *, skip: bytes = b"", damage: list[Damage] | None = None) -> Iterator[Entry]:
    """The records of a journal but those with `skip` in their line.

    A line that is no record is added to `damage`; without that list it raises JournalError with its number.
    """
    fence, upgrade = 0, Upgrade()
    for number, line in enumerate(lines(path), 1):
        if skip and skip in line:
            continue
        try:
            record = record_of(line)
            if record["fence"] < fence:
                continue
            event = event_of(record)
            follow = list(upgrade.events(event)) if record["v"] == 1 else [event]
            fence = record["fence"]
        except JournalError as error:
            if damage is None:
                raise JournalError(f"{path}:{number}: {error}", remedy=error.remedy) from error
            damage.append(Damage(number, str(error)))
        else:
            yield from (Entry(number, record["t"], each) for each in follow)


def record_of(line: bytes) -> dict[str, Any]:
    """A line as a record; raises JournalError where it is none."""
    try:
        record: dict[str, Any] = json.loads(line)
        version, _ = record["v"], (record["fence"] + 0, record["t"] + "", record["event"] + "")
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError("is no record of a release", remedy="restore the file, or move it away") from error
    if version not in READABLE:
        raise JournalError(f"written by another version ({version})", remedy="use that version")
    return record


def event_of(record: dict[str, Any]) -> events.Event:
    """The event of a record; raises JournalError where its fields do not make one."""
    name = record["event"]
    kind = KINDS.get(name)
    if kind is None:
        raise JournalError(f"unknown event {name!r}", remedy="use a newer version of the tool")
    fields = {name: value for name, value in record.items() if name not in ("v", "seq", "fence", "t", "event")}
    try:
        for one in latencies(fields):
            one["latency"] = pairs(one["latency"])
        event: events.Event = decode(kind, fields)
    except (ReleaseError, LookupError, TypeError, ValueError, AttributeError) as error:
        remedy = "restore the file, or move it away"
        raise JournalError(f"its fields are none of {name}: {error or type(error).__name__}", remedy=remedy) from error
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
