"""Keeps the last output of one process in a bounded pair of files: `python logpump.py FILE LIMIT_BYTES [LINE] < pipe`.

A process writes into a pipe, this writes the file: so logs survive the controller and cannot fill the disk. LINE comes
first: below it is this process's output, above it its forerunner's. It ends by itself when the last
writer is gone. Run as a script with the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

LIMIT = 4_000_000
"""Bytes kept per process: this much in the newest file, and as much before it."""

LOG_BEGINS = "=== onlyvips-release: a new process writes from here ==="
"""The line of a log below which the output of the process that runs now stands."""

TAIL = 256 * 1024
"""Bytes of a log's end that are read."""


def pump(path: str, limit: int, line: str = "") -> None:
    """Copy `line` and standard input to `path`; at `limit` bytes the file becomes `path`.1 and a new one is begun."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if line:
        os.write(file, f"{line}\n".encode())
    size = os.fstat(file).st_size
    while data := os.read(0, 65536):
        if size + len(data) > limit:
            with contextlib.suppress(FileNotFoundError):  # taken away by somebody: go on
                os.replace(path, path + ".1")
            os.close(file)
            file, size = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 0
        try:
            os.write(file, data)
        except OSError:
            continue  # a full disk must not stop the service: its output is dropped, its pipe stays open
        size += len(data)


def output_of(log: str) -> str:
    """What the process that writes this log has written, at most its last 256 kB; "" = nothing."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return file.read().decode(errors="replace").rpartition(LOG_BEGINS)[2].lstrip("\n")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    pump(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4])
