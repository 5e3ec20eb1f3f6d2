"""The smoke suite against the sandbox by URL alone, as a pipeline calls it: the whole command, median of five.

Beside it the same suite with a new connection for each request, which is what most hand-written checks do.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.table import Row, show
from onlyvips_release.sandbox.demo import free_ports

BAR = 3.0
"""Seconds of the whole command."""
FEWEST = 60
"""Checks."""
SERVICES = ("backend-api", "miniapp", "showcu-panel")
ONE_BY_ONE = """
import httpx, pytest
@pytest.fixture(scope="session")
def api_client_args():
    return {"headers": {"Connection": "close"}}
"""


@contextmanager
def sandbox() -> Iterator[list[str]]:
    """The three services with HTTP; the options that name them."""
    ports = free_ports(list(SERVICES))
    words = [sys.executable, "-m", "onlyvips_release.sandbox"]
    running = [subprocess.Popen([*words, s, str(p)], stdout=subprocess.PIPE) for s, p in ports.items()]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()  # "started on"
        yield [f"--release-target={name}=http://127.0.0.1:{port}" for name, port in ports.items()]
    finally:
        for process in running:
            process.kill()
            process.wait()


def passed(words: list[str], env: dict[str, str]) -> tuple[float, int]:
    """Seconds of one whole command, and how many checks passed."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "smoke_tests", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    took = time.perf_counter() - begun
    return took, int(done.stdout.rpartition(" passed")[0].rsplit(None, 1)[-1])


def main() -> int:
    """Both ways."""
    with sandbox() as targets, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "one_by_one.py").write_text(ONE_BY_ONE)
        env = {**os.environ, "PYTHONPATH": folder}
        kept = [passed(targets, env) for _ in range(5)]
        alone = [passed([*targets, "-p", "one_by_one"], env) for _ in range(5)]
    seconds, single = (statistics.median(took for took, _ in runs) for runs in (kept, alone))
    checks = kept[0][1]
    return show(
        "Smoke suite (`python -m benchmarks.smoke`)",
        [
            Row("checks by three URLs alone", str(checks), f">= {FEWEST}", checks >= FEWEST),
            Row("whole command", f"{seconds:.2f} s", f"<= {BAR:.0f} s", seconds <= BAR),
            Row("the same by serial new connections", f"{single:.2f} s", "-", alone[0][1] == checks),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
