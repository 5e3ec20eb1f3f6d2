"""Long-running programs of the cluster: start, find again, signal and stop them.

A pid file holds pid and start time, so a process id that was used again is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.cluster.place import ClusterError, Place

DAEMONS = (
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "metrics-server",
    "traefik",
    "contour",
    "envoy",
)
POLL_INTERVAL = 0.05


def started(pid: int) -> str | None:
    """Return the start time of a process, None when its last thread has ended.

    A process whose first thread is a zombie still holds its ports as long as another thread runs.
    """
    try:
        if all(_state(task) in "ZX" for task in Path(f"/proc/{pid}/task").iterdir()):
            return None
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "X"


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def send(pid: int, start: str | None, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; return False when it has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start is None or started(pid) != start:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def wait(what: str, test: Callable[[], object], seconds: float, alive: Callable[[], None] = lambda: None) -> None:
    """Wait until `test` returns something true; `alive` raises as soon as waiting is in vain."""
    end = time.monotonic() + seconds
    last = ""
    while time.monotonic() < end:
        try:
            if test():
                return
        except (OSError, ValueError, KeyError, ClusterError) as error:
            last = f"; last error: {error}"
        alive()
        time.sleep(POLL_INTERVAL)
    raise ClusterError(f"not within {seconds:g} s: {what}{last}")


class Daemons:
    """The components of one cluster."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def _file(self, name: str) -> Path:
        return self.place.state / "pid" / name

    def running(self, name: str) -> int | None:
        """Return the process id of a component that runs."""
        try:
            text = self._file(name).read_text().split()
        except FileNotFoundError:
            return None
        if len(text) != 2:
            return None
        pid = int(text[0])
        _reap(pid)
        return pid if started(pid) == text[1] else None

    def start(self, name: str, *argv: str | Path, env: Mapping[str, str] | None = None) -> None:
        """Start a component in the cluster's network namespace, unless it runs already."""
        if self.running(name):
            return
        nsenter = shutil.which("nsenter") or "nsenter"
        words = [nsenter, f"--net={self.place.netns}", *map(str, argv)]
        output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.place.log(name)), output, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(nsenter, words, {**os.environ, **(env or {})}, file_actions=actions, setsid=True)
        self._file(name).write_text(f"{pid} {started(pid)}")

    def require(self, *names: str) -> None:
        """Raise with the end of its log when one of these components has ended."""
        for name in names:
            if self.running(name) is None:
                raise ClusterError(f"{name} ended; end of {self.place.log(name)}:\n{self.tail(name)}")

    def tail(self, name: str, size: int = 1500) -> str:
        """Return the end of a component's log."""
        try:
            return self.place.log(name).read_text(errors="replace")[-size:]
        except FileNotFoundError:
            return "(no log)"

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a component; raise when it does not run."""
        pid = self.running(name)
        if pid is None or not send(pid, started(pid), number):
            raise ClusterError(f"{name} does not run; `python -m tests.cluster up` starts what is missing")

    def stop(self, name: str, seconds: float = 5) -> None:
        """End a component: SIGTERM, then SIGKILL."""
        pid = self.running(name)
        if pid is not None:
            start = started(pid)
            send(pid, start, signal.SIGCONT)
            send(pid, start, signal.SIGTERM)
            if not self._ended(name, seconds):
                send(pid, start, signal.SIGKILL)
                if not self._ended(name, 5):
                    raise ClusterError(f"{name} (process {pid}) does not end after SIGKILL")
        self._file(name).unlink(missing_ok=True)

    def kill(self, name: str) -> None:
        """End a component by SIGKILL, as a crash would."""
        self.signal(name, signal.SIGKILL)
        if not self._ended(name, 5):
            raise ClusterError(f"{name} does not end after SIGKILL")

    def _ended(self, name: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self.running(name) is not None:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def memory(self, name: str) -> int:
        """Return the proportional set size of a component in MiB, 0 when it does not run."""
        pid = self.running(name)
        return proportional_size(pid) if pid else 0


def proportional_size(pid: int) -> int:
    """Return a process's PSS in MiB: shared pages count once for all processes that share them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def in_namespace(netns: Path) -> Iterator[int]:
    """Yield the processes that run in a network namespace."""
    try:
        wanted = netns.stat().st_ino
    except FileNotFoundError:
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (entry / "ns" / "net").stat().st_ino == wanted:
                yield int(entry.name)


def end_all(pids: set[int]) -> None:
    """Kill these processes and wait until they have ended."""
    known = {pid: started(pid) for pid in pids if pid != os.getpid()}
    for pid, start in known.items():
        send(pid, start, signal.SIGKILL)
    end = time.monotonic() + 5
    for pid, start in known.items():
        while start is not None and started(pid) == start and time.monotonic() < end:
            _reap(pid)
            time.sleep(0.01)
