"""A plan that was changed by chance is read whole or refused with a place for each fault, and never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from onlyvips_release.codec import decode, encode
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.errors import PlanError
from onlyvips_release.planfile import load
from tests.testing.mutated_plans import mutated, outcome

ROUNDS, SIZE = 10, 50


@pytest.mark.parametrize("first", range(0, ROUNDS * SIZE, SIZE))
def test_changed_plan_survives_the_journal_or_has_a_place_for_each_fault(tmp_path: Path, first: int) -> None:
    path = tmp_path / "plan.yaml"
    for seed in range(first, first + SIZE):
        text = yaml.safe_dump(mutated(seed), sort_keys=False)
        path.write_text(text)
        try:
            plan = load(path)[0]
        except PlanError as error:
            known = {str(line) for line in range(1, text.count("\n") + 2)}
            for problem in error.problems:
                assert str(problem.line) in known, (seed, problem)
                assert problem.column > 0, (seed, problem)
                assert "\n" not in problem.message, (seed, problem)
        else:
            assert decode(ReleasePlan, encode(plan)) == plan, seed


def test_plans_and_refusals_are_both_tried_and_repeat() -> None:
    found = [outcome(mutated(seed)) for seed in range(ROUNDS * SIZE)]
    assert {key for one in found for key in one} == {"plan", "faults"}
    assert len({str(one) for one in found}) > 300
    assert found[:50] == [outcome(mutated(seed)) for seed in range(50)]
