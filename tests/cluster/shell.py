"""Run a program to its end; report a failure with its output."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.place import ClusterError


def run(*argv: str | Path, stdin: str | None = None, seconds: float = 60) -> str:
    """Return the standard output of a command; raise ClusterError when it fails."""
    done = attempt(*argv, stdin=stdin, seconds=seconds)
    if done.returncode:
        detail = (done.stderr or done.stdout).strip()[-1500:]
        raise ClusterError(f"exit {done.returncode} of `{' '.join(map(str, argv))}`: {detail}")
    return done.stdout


def attempt(
    *argv: str | Path, stdin: str | None = None, seconds: float = 60, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail, and return what it left."""
    words = [str(word) for word in argv]
    return subprocess.run(words, check=False, capture_output=True, text=True, input=stdin, timeout=seconds, env=env)
