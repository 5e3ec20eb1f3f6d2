"""Processes of this machine: how one is started, recognised and ended, and which one listens on a port.

A pid alone is used again by others, so a process is its pid and the moment when it began.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from onlyvips_release.clients import log_pump

PROC = Path("/proc")
LINUX = (PROC / "self" / "stat").exists()
POLL = 0.02
"""Seconds between two looks at a process that must end."""

KILLED_WITHIN = 10.0
"""Seconds until a process that was sent SIGKILL must be gone; one that waits for a dead disk may need longer."""

CHILDREN: list[subprocess.Popen[bytes]] = []
"""Our own children, so that those that ended are reaped (a zombie would look alive)."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its pid, and when it began as `birth` gives it. The default is no process."""

    pid: int = 0
    started: float = 0.0

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this pid now; not alive when there is none."""
        return cls(pid, birth(pid))

    def alive(self) -> bool:
        """Whether this very process lives."""
        return self.pid > 0 and self.started > 0 and abs(birth(self.pid) - self.started) < 0.005


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/<pid>/stat. `cpu`: clock ticks, children that ended included; `started`: clock ticks since the
    boot; `resident`: pages; `ended`: a zombie whose last thread has ended."""

    ended: bool
    parent: int
    session: int
    cpu: int
    started: int
    resident: int


def read_stat(pid: int, proc: Path = PROC) -> Stat | None:
    """None = there is no such process."""
    try:
        with open(proc / str(pid) / "stat", "rb") as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = line[line.rfind(b")") + 2 :].split()  # a name may hold spaces and brackets
    ended = words[0] in (b"Z", b"X") and int(words[17]) < 2
    return Stat(ended, int(words[1]), int(words[3]), sum(map(int, words[11:15])), int(words[19]), int(words[21]))


def birth(pid: int) -> float:
    """When a process began, 0 = it is gone (a zombie too, once its last thread has ended and closed its sockets).

    Linux: seconds since the boot, which no step of the wall clock changes (psutil's own figure moves with it, and a
    living process would look like another one). Elsewhere: epoch seconds.
    """
    for child in [child for child in CHILDREN if child.poll() is not None]:
        with contextlib.suppress(ValueError):  # another thread was faster
            CHILDREN.remove(child)
    if LINUX:
        stat = read_stat(pid)
        return 0.0 if stat is None or stat.ended else stat.started / os.sysconf("SC_CLK_TCK")
    import psutil  # noqa: PLC0415 - on Linux nothing needs it here, and it takes a tenth of `recover`'s time

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.NoSuchProcess, ValueError):
        return 0.0


# --- start ------------------------------------------------------------------------------------------------------------


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: str | Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a process as the leader of a session of its own: no terminal, group or end of ours reaches it.

    `env` None = our whole environment; None as an output = ours. Raises OSError.
    """
    child = subprocess.Popen(
        command, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    CHILDREN.append(child)
    return child


@contextlib.contextmanager
def logged(path: str | Path, line: str = "") -> Iterator[int]:
    """A descriptor whose writers' output goes to a log of bounded size, below `line`.

    A pump of its own session writes the log: it outlives this command, and ends with the last writer.
    """
    reader, writer = os.pipe()
    try:
        command = [sys.executable, "-I", "-S", log_pump.__file__, str(path), str(log_pump.LIMIT), line]
        spawn(command, env={}, stdin=reader)
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


# --- end --------------------------------------------------------------------------------------------------------------


def end(
    process: Process,
    signals: Iterable[tuple[int, float]] = (),
    *,
    whole: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """End a process with all that it started; True when nothing of it lives.

    `signals`: (number, seconds to wait for the end), in order; 0 as the number only waits. SIGKILL always comes last.
    `whole`: everything that it started may use these seconds, else what outlives the process itself is killed at once.
    """
    tree = family(process)
    for number, seconds in signals:
        send(tree, number)
        until = time.monotonic() + seconds
        while any(one.alive() for one in (tree if whole else [process])) and time.monotonic() < until:
            sleep(POLL)
    until = time.monotonic() + KILLED_WITHIN
    while left := family(process) | {one for one in tree if one.alive()}:
        send(left, signal.SIGKILL)
        if time.monotonic() > until:
            return False
        sleep(POLL)
    return True


def send(tree: Iterable[Process], number: int) -> None:
    """A signal to each of these processes that lives."""
    for one in tree:
        if one.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one.pid, number)


def family(process: Process) -> set[Process]:
    """The living processes of the session that this process leads, and their descendants.

    It may have ended, but only a moment ago: later the number may be that of somebody else's session. Elsewhere than
    on Linux: the process and its descendants.
    """
    if process.pid <= 1 or not process.started or (birth(process.pid) and not process.alive()):
        return set()
    if not LINUX:
        return _descendants(process)
    table = {int(name): stat for name in os.listdir(PROC) if name.isdecimal() and (stat := read_stat(int(name)))}
    found = {pid for pid, stat in table.items() if process.pid in (pid, stat.session)}
    while more := {pid for pid, stat in table.items() if stat.parent in found} - found:
        found |= more
    return {one for one in map(Process.of, found) if one.started}


def _descendants(process: Process) -> set[Process]:
    import psutil  # noqa: PLC0415

    with contextlib.suppress(psutil.NoSuchProcess):
        pids = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        return {one for one in map(Process.of, [process.pid, *pids]) if one.started}
    return set()


# --- ports ------------------------------------------------------------------------------------------------------------


def taken(host: str, port: int) -> str:
    """In words that a port is taken, and by whom as far as we may see it; "" = it is free."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} is taken{listener(port)}"
    return ""


def listener(port: int) -> str:
    """Who listens on a local port, in words, as far as we may see it."""
    import psutil  # noqa: PLC0415 - see `birth`

    with contextlib.suppress(psutil.AccessDenied):
        for found in psutil.net_connections("tcp"):
            if found.pid and found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN:
                return f" by pid {found.pid}"
    return ""


def listens(process: Process, port: int) -> bool:
    """Whether this process, or one that it started, listens on a local port, so that nobody else answers there."""
    import psutil  # noqa: PLC0415 - see `birth`

    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        opened = [c for one in family(process) for c in psutil.Process(one.pid).net_connections("tcp")]
        return any(c.laddr.port == port for c in opened if c.status == psutil.CONN_LISTEN)
    return False
