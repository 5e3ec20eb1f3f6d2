"""docs/faults.md: every fault of the sandbox is found, and the table says by what."""

from __future__ import annotations

import subprocess
import sys

import pytest

from onlyvips_release.sandbox.faults import TABLE
from tests.e2e.faults import CHECKED, DOC, REAL, SIMULATED, by_judge, committed
from tests.suites.mutations import ROOT
from tests.testing.suite_box import own_environment

ROWS = committed(DOC.read_text())


@pytest.mark.parametrize("fault", TABLE)
def test_fault_has_a_finder_in_the_table(fault: str) -> None:
    mine = [row for row in ROWS if row.name == fault]
    assert mine, "no row: add it to tests/e2e/faults.py, then python -m tests.e2e.faults"
    assert all(row.by.startswith(("smoke check `", "judge `", "hard gate", "readiness")) for row in mine), mine
    assert all(row.when and row.sentence for row in mine)


def test_table_has_the_rows_that_are_measured() -> None:
    measured = [*SIMULATED, *(one[1] for one in (*CHECKED, *REAL))]
    assert sorted(row.faults for row in ROWS) == sorted(measured), "make it anew: python -m tests.e2e.faults"


@pytest.mark.parametrize("faults", SIMULATED)
def test_judge_finds_it_as_the_table_says(faults: str) -> None:
    assert by_judge(faults) in ROWS, "make it anew: python -m tests.e2e.faults"


def test_judge_finds_nothing_where_nothing_is_wrong() -> None:
    assert by_judge("errors=0").by == ""


@pytest.mark.slow
def test_checks_find_theirs_as_the_table_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.faults", "--checks"], cwd=ROOT, env=own_environment(), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = committed(done.stdout)
    assert [row for row in found if row not in ROWS] == [], "make it anew: python -m tests.e2e.faults"
    assert len(found) == len(CHECKED)
