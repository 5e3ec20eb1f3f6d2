"""Processes of this machine: is it still the very same one? A pid alone is used again by others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CHILDREN: list[subprocess.Popen[bytes]] = []
"""Our own children, so that those that ended are reaped (a zombie would look alive)."""


def birth(pid: int) -> float:
    """When a process began, 0 = it is gone (a zombie too, once its last thread has ended and closed its sockets).

    Linux: seconds since the boot, which no step of the wall clock changes (psutil's own figure moves with it, and a
    living process would look like another one). Elsewhere: epoch seconds.
    """
    for child in [child for child in CHILDREN if child.poll() is not None]:
        CHILDREN.remove(child)
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0.0 if words[0] == "Z" and int(words[17]) < 2 else int(words[19]) / os.sysconf("SC_CLK_TCK")
    except ProcessLookupError:
        return 0.0
    except FileNotFoundError:
        return _elsewhere(pid)


def _elsewhere(pid: int) -> float:
    import psutil  # noqa: PLC0415 - on Linux nothing needs it here, and it takes a tenth of `recover`'s time

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.NoSuchProcess, ValueError):
        return 0.0


def same(pid: int, started: float) -> bool:
    """Whether the process that began then under this pid lives."""
    return pid > 0 and abs(birth(pid) - started) < 0.005
