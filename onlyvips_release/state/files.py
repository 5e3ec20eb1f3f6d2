"""Writing files so that a crash, a full disk or a power cut leaves the old file or the new one, never a part.

Everything below the state folder is for its owner alone: folders 0700, files 0600, whatever the umask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from onlyvips_release.errors import LeaseLost, Refused

OTHERS_WRITE = 0o022
"""Permission bits with which the group or everybody may write."""


def make_folder(folder: Path) -> None:
    """Make it and what is missing above it, 0700."""
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)


def refuse_shared(folders: Iterable[Path]) -> None:
    """Raise Refused for the first of these folders that others than its owner may write; missing ones are fine."""
    for folder in folders:
        try:
            mode = folder.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & OTHERS_WRITE:
            raise Refused(
                f"{folder} may be written by others (mode {mode & 0o777:o}): they could move users or end the release",
                remedy=f"see that its content is yours, then: chmod go-w {folder}",
            )


def write_new(path: Path, data: bytes, *, private: bool = True) -> None:
    """Write and fsync a file under a name that nobody reads yet; on failure no part of it stays.

    `private`: mode 0600 whatever the umask; else the umask holds.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if private:
                os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes, *, private: bool = True) -> None:
    """Replace a file, whole and durable: a new file, fsync, rename, fsync of the folder."""
    new = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.new")
    write_new(new, data, private=private)
    try:
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def open_log(path: Path) -> int:
    """A descriptor that appends to a log file (0600); the caller closes it."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def sync(folder: Path) -> None:
    """fsync of a folder: a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StagedFiles:
    """Writes live files out of one stage folder; raises LeaseLost when the stage was taken away."""

    def __init__(self, live: Path, stage: Path) -> None:
        self.live, self.stage = live, stage

    def write(self, name: str, data: bytes) -> None:
        """Whole and durable: temporary file in the stage, fsync, rename, fsync of the folder."""
        temporary = f"{time.monotonic_ns()}-{os.urandom(4).hex()}.tmp"
        self.prepare(temporary, data)
        self.publish(temporary, name)

    def prepare(self, name: str, data: bytes) -> None:
        """Write and fsync a file in the stage, to be published later by a rename alone."""
        try:
            write_new(self.stage / name, data)
            sync(self.stage)
        except FileNotFoundError as error:
            raise self._lost(name) from error

    def publish(self, prepared: str, name: str) -> None:
        """Make a prepared file the live file `name`: one rename, which needs no space."""
        target = self.live / name
        make_folder(target.parent)
        try:
            (self.stage / prepared).rename(target)
        except FileNotFoundError as error:
            raise self._lost(name) from error
        sync(target.parent)

    def _lost(self, name: str) -> LeaseLost:
        return LeaseLost(
            f"the claim {self.stage.name} on {self.live} was taken over: {name} was not written",
            remedy="see `onlyvips-release status`: another controller holds the platform now",
        )
