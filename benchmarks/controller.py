"""CPU and memory of a controller in a bake over four services, averaged over a minute; suites and users apart."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from benchmarks.table import Row, show
from tests.testing.platform_rig import Rig

SECONDS = 60
RATE = 600


def main() -> int:
    """A real release is started; its controller is watched during the bake, then interrupted."""
    with Rig() as rig:
        rig.up()
        rig.load(RATE)
        path = rig.write(rig.plan("v2", steps=[{"weight": 10, "bake": "10m"}]))
        command = [sys.executable, "-m", "onlyvips_release", "run", str(path)]
        with subprocess.Popen(command, env=rig.env, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            while "canary suite" not in child.stdout.readline():
                assert child.poll() is None
            process = psutil.Process(child.pid)
            before, begun = process.cpu_times(), time.monotonic()
            time.sleep(SECONDS)
            after, elapsed = process.cpu_times(), time.monotonic() - begun
            memory = process.memory_info().rss / 1e6
            process.terminate()
            child.stdout.read()
    share = (after.user + after.system - before.user - before.system) / elapsed
    rows = [
        Row(f"CPU at {RATE} requests/s, share of one core over a minute", f"{share:.2%}", "<= 1 %", share <= 0.01),
        Row("memory (RSS)", f"{memory:.0f} MB", "<= 80 MB", memory <= 80),
    ]
    return show("Controller in a bake, 4 services (`python -m benchmarks.controller`)", rows)


if __name__ == "__main__":
    sys.exit(main())
