"""Real Envoy, real SIGKILL: a part of the crash matrix, another one for each commit; judged from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.cells import Cell, chosen, commit, run
from tests.testing.crash_rig import CrashRig

pytestmark = [pytest.mark.slow, pytest.mark.slice]
SLICE = 25


@pytest.fixture(scope="module")
def rig() -> Iterator[CrashRig]:
    """One platform for all: each cell must leave it as an undisturbed release would."""
    with CrashRig() as made:
        made.up()
        yield made


@pytest.mark.parametrize("cell", chosen(SLICE, commit()), ids=lambda cell: f"{cell.way} at {cell.point}")
def test_cell_of_the_crash_matrix(rig: CrashRig, cell: Cell) -> None:
    outcome = run(rig, cell)
    if outcome.wrong:
        rig.cli("recover")
    assert not outcome.wrong, outcome
