"""200 weight changes under load: nobody fails, and each is confirmed at the data plane in milliseconds."""

from __future__ import annotations

import random
import sys
import time

from benchmarks.table import Row, percentile, show
from onlyvips_release.sandbox.load import Load
from tests.testing.router_rig import bench

CHANGES = 200


def main() -> int:
    """Open loop, GET and POST, 600 requests/s; a seeded walk over all weights."""
    source, took = random.Random(7), list[float]()
    with bench() as made, Load(f"http://127.0.0.1:{made.ports['router']}", rate=600) as load:
        time.sleep(1)
        for _ in range(CHANGES):
            begun = time.perf_counter()
            made.router.set_weight(source.randint(0, 100))
            took.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.03)
        result = load.stop()
    p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
    rows = [
        Row(f"failed of {result['sent']} requests (GET and POST)", str(result["failed"]), "0", result["failed"] == 0),
        Row(
            "write -> confirmed, p95",
            f"{p95:.1f} ms (p50 {p50:.1f}, max {max(took):.1f})",
            "<= 100 ms, aim 50",
            p95 <= 100,
        ),
    ]
    return show(f"{CHANGES} weight changes under load (`python -m benchmarks.weights`)", rows)


if __name__ == "__main__":
    sys.exit(main())
