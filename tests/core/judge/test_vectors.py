"""Data that users posted where the best-known judge was wrong."""

from __future__ import annotations

import pytest

from benchmarks.judge.rows import BY_ID
from benchmarks.judge.worlds import seeded

VECTORS = BY_ID["K1"]
PROVEN = 20.0


@pytest.mark.parametrize("bar", VECTORS.bars, ids=list(VECTORS.cases)[: len(VECTORS.bars)])
def test_each_vector_is_judged_as_listed(bar: object) -> None:
    cases = {case: {name: [v] for name, v in run(seeded("K1", case, 0)).items()} for case, run in VECTORS.cases.items()}
    seen = bar(cases)  # type: ignore[operator]
    assert seen.ok, seen


@pytest.mark.parametrize("case", ["one point each", "canary emits nothing"])
def test_none_is_promoted(case: str) -> None:
    """The others are replayed as kinds that prove nothing."""
    assert (VECTORS.cases[case](seeded("K1", case, 0))["promote"] or 0) < PROVEN


def test_a_made_up_denominator_would_promote() -> None:
    case = "#426 with 1000 made-up requests a point"
    assert VECTORS.cases[case](seeded("K1", case, 0))["promote"] == pytest.approx(699, rel=0.01)
