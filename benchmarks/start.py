"""CPU of the commands that everybody waits for: minimum of nine whole processes, beside bare Python in the same run."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Row, show

BAR = {"--help": 150.0, "--version": 150.0, "status": 150.0, "recover": 150.0}
"""Milliseconds of CPU. `recover` loads the target and looks whether users are answered."""

ENDED = Path(__file__).parents[1] / "tests" / "reporting" / "releases" / "promoted"
"""A release that ended: `status` reads its journal, `recover` has nothing to do."""


def cpu(*words: str) -> float:
    """Milliseconds of user and system time of one process."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, env=env, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def main() -> int:
    """Each command nine times, on a machine with one platform that nobody works on."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ONLYVIPS_STATE"] = folder
        shutil.copytree(ENDED, Path(folder) / "e2e" / "releases")
        (Path(folder) / "e2e" / "live").mkdir()
        rows = [Row("bare Python", f"{min(cpu('-c', 'pass') for _ in range(9)):.0f} ms", "-", True)]
        for words in ("--help", "--version", "status", "recover"):
            figure = min(cpu("-m", "onlyvips_release", words) for _ in range(9))
            rows.append(Row(words, f"{figure:.0f} ms CPU", f"<= {BAR[words]:.0f} ms", figure <= BAR[words]))
    return show("Start of commands (`python -m benchmarks.start`)", rows)


if __name__ == "__main__":
    sys.exit(main())
