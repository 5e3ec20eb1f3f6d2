"""CPU and size of a report of 10,000 check results, some and all of them failed; and what a 30-minute bake costs."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from benchmarks.table import Row, show
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.plan import Step
from onlyvips_release.reporting.folder import publish, read
from onlyvips_release.reporting.html import report
from onlyvips_release.reporting.timeline import changes
from onlyvips_release.runner import Runner
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.layout import Reports
from tests.testing.crash_world import started
from tests.testing.kept_releases import RELEASES, suite
from tests.testing.plans import make_plan
from tests.testing.simulation import World

RESULTS = 10_000


def main() -> int:
    """The page (fold, comparison, HTML) against its bar; everything that is written after a long bake, to see."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name, every, text in (
            ("1,000 failed", 10, "x" * 1400),
            ("all failed, as long as the stream takes", 1, "<" * 1400),
        ):
            folder = Path(place) / "r0002"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(RELEASES / "rolled-back-by-errors" / "r0002", folder)
            fill(folder, every, text)
            begun = time.process_time()
            story = read(folder / "journal.jsonl", folder)
            page = report(story, changes(story.runs, story.runs), ["summary.json"])
            took, size, shown = time.process_time() - begun, len(page.encode()) / 1e6, page.count("<li>")
            rows += [
                Row(f"report of {RESULTS:,} results, {name}", f"{took:.2f} s CPU", "<= 2 s", took <= 2),
                Row("its size", f"{size:.1f} MB", "<= 15 MB", size <= 15),
                Row("its lines", f"{shown:,}", f">= {RESULTS:,}", shown >= RESULTS),
            ]
        bake = baked(Path(place) / "long" / "releases" / "r0001")
    rows.append(Row("all files after a 30-minute bake of 3 services", f"{bake:.2f} s CPU", "<= 5 s", bake <= 5))
    return show("Report (`python -m benchmarks.report`)", rows)


def fill(folder: Path, every: int, text: str) -> None:
    """So many results in one suite; every n-th failed with this text and an exchange."""
    detail = {"expected": "HTTP 200", "got": "HTTP 500", "spoken": [{"request": "GET /a " * 20, "response": "b" * 600}]}
    failed = {"outcome": "failed", "text": f"E  AssertionError: {text}", "detail": detail}
    title = "backend-api: the answer has the shape that the app expects"
    names = (f"test_many.py::test_check[{n}]" for n in range(RESULTS))
    rows = [{"node": name, "title": title, "outcome": "passed"} for name in names]
    suite(folder, "9-smoke-canary-0", [{**row, **failed} if n % every == 0 else row for n, row in enumerate(rows)])


def baked(folder: Path) -> float:
    """CPU seconds of all files of a long release."""
    world = World(make_plan(steps=(Step(10, timedelta(minutes=30)),)), rps=20, error_rate=lambda *_: 0.01)
    release, ports, first = Release(), world.ports(), started(world.plan)
    release.apply(first)
    journal = FileJournal(folder / "journal.jsonl", ports.clock)
    journal.append(first)
    Runner(release, ports, journal.append).run()
    begun = time.process_time()
    publish(folder / "journal.jsonl", Reports(folder.parents[1] / "reports", world.plan.platform))
    return time.process_time() - begun


if __name__ == "__main__":
    sys.exit(main())
