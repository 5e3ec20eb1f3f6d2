"""Runs the control, then the tests that a fault must turn red: first those that ran the broken statement."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from tests.faults import trace
from tests.faults.bench import ROOT, Bench, Run, fast_files
from tests.faults.imports import importers
from tests.faults.seed import PACKAGE, Broken

WORKERS = 2
NEAREST = 2
"""Test files whose tests come first: collecting many takes longer than running a few."""

Tests = dict[str, Any]
"""Test -> its seconds, and which statements of the library it ran."""


class Red(Exception):
    """Something fails without any fault."""


@dataclass(frozen=True)
class Caught:
    """`by`: the test that turned red first, "" = none did."""

    by: str
    seconds: float


class Hunters:
    """The workers, each with its own copy of the repository."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="ov-faults-")
        self.pool = ProcessPoolExecutor(WORKERS, initializer=_begin, initargs=(self.folder.name,))

    def control(self, files: Iterable[str], *, traced: bool) -> Tests:
        """Every fast test of these files, without a fault. Raises Red when one fails."""
        names = sorted(files)
        parts = [names[at::WORKERS] for at in range(WORKERS)]
        found: Tests = {}
        for run in self.pool.map(_control, [part for part in parts if part], [traced] * WORKERS):
            if run.failed:
                raise Red(f"without any fault {run.failed} fails:\n{run.output[-3000:]}")
            found |= run.tests
            for test in run.all_failed:
                sys.stdout.write(f"control: {test} failed once, then passed\n")
        return found

    def hunt(
        self, faults: Mapping[str, Broken], tests: Tests, hints: Mapping[str, str], nearest: int = 5
    ) -> Iterator[tuple[str, Caught]]:
        """Each fault's outcome, as they come. `nearest`: so many groups of tests are tried."""
        begun: dict[Future[Caught], str] = {
            self.pool.submit(_hunt, broken, groups(broken, tests, hints.get(name, ""))[:nearest]): name
            for name, broken in faults.items()
        }
        for done in as_completed(begun):
            yield begun[done], done.result()

    def close(self) -> None:
        """No worker and no copy is left."""
        self.pool.shutdown(cancel_futures=True)
        self.folder.cleanup()


def groups(broken: Broken, tests: Tests, hint: str = "") -> list[list[str]]:
    """The tests to run against a fault, in groups, each only where those before it caught nothing.

    What caught it last time; tests of the nearest files that ran the very statement; all others that ran it; tests that
    ran anything of the module; all others whose files import it. In each group the quickest come first.
    """
    above = {str(path.relative_to(ROOT)): steps for path, steps in importers(broken.path, ROOT).items()}
    name = str(broken.path.relative_to(ROOT / PACKAGE))
    statement = trace.statement_at(broken.path, broken.line)
    mine = [test for test in tests if file_of(test) in above]
    exact = {test for test in mine if statement in tests[test]["ran"].get(name, ())}
    near = sorted({file_of(test) for test in exact}, key=lambda file: above[file])[:NEAREST]

    def group(test: str) -> int:
        ran = 1 if file_of(test) in near else 2
        return 0 if test == hint else ran if test in exact else 3 if name in tests[test]["ran"] else 4

    found: dict[int, list[str]] = {}
    for test in sorted(mine, key=lambda test: (above[file_of(test)] * (group(test) == 4), tests[test]["seconds"])):
        found.setdefault(group(test), []).append(test)
    return [found[number] for number in sorted(found)]


def file_of(test: str) -> str:
    """The file of a test."""
    return test.partition("::")[0]


def files_for(faults: Iterable[Broken]) -> set[str]:
    """The fast test files that import what any of these faults breaks."""
    above = {path for broken in faults for path in importers(broken.path, ROOT)}
    return {str(path.relative_to(ROOT)) for path in fast_files() if path in above}


# --- in a worker ------------------------------------------------------------------------------------------------------

bench: Bench


def _begin(folder: str) -> None:
    global bench  # noqa: PLW0603 (a worker has one copy for all that it does)
    bench = Bench(folder)


def _control(files: Sequence[str], traced: bool) -> Run:
    """A test that fails is tried once more, alone: a machine that is busy with something else is no fault."""
    run = bench.run(files, trace=traced)
    again = [test for test in run.all_failed if "::" in test]
    if run.failed and again == list(run.all_failed) and not bench.run(files_of(again), again).failed:
        return Run("", run.tests, run.output, tuple(again))
    return run


def _hunt(broken: Broken, order: Sequence[Sequence[str]]) -> Caught:
    begun = time.monotonic()
    with bench.broken(broken.path, broken.text):
        for tests in order:
            if failed := bench.run(files_of(tests), tests).failed:
                return Caught(failed, time.monotonic() - begun)
    return Caught("", time.monotonic() - begun)


def files_of(tests: Iterable[str]) -> list[str]:
    """The files of these tests."""
    return list(dict.fromkeys(map(file_of, tests)))
