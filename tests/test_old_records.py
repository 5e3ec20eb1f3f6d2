"""Journals and plans that older code wrote: today's code reads them, and they mean the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onlyvips_release.codec import encode
from onlyvips_release.core.lifecycle import fold
from onlyvips_release.planfile import load
from onlyvips_release.state.journal import FileJournal

SAMPLES = Path(__file__).parent / "samples"
FOLDS = json.loads((SAMPLES / "folds.json").read_text())


def meaning(path: Path) -> dict[str, object]:
    """What a journal says of its release."""
    release = fold(FileJournal(path).read())
    return {
        "release": release.id,
        "phase": release.phase.value,
        "exit": release.finished.exit if release.finished else None,
        "sentence": release.finished.sentence if release.finished else "",
        "serving": release.serving,
        "weight": release.weight,
        "safe_weight": release.safe_weight,
        "verdict": release.outcome.verdict.value if release.outcome else None,
    }


@pytest.mark.parametrize("name", sorted(FOLDS))
def test_old_journal_folds_to_the_same_release(name: str) -> None:
    assert meaning(SAMPLES / "journals" / f"{name}.jsonl") == FOLDS[name]


def test_old_plan_has_the_same_weights_services_and_limits() -> None:
    plan = encode(load(SAMPLES / "plan-v1.yaml")[0])
    known = json.loads((SAMPLES / "plan-v1.json").read_text())
    assert [service["name"] for service in plan["services"]] == [service["name"] for service in known["services"]]
    for key in ("platform", "listen", "sticky", "steps", "patience", "watch", "lease", "smoke", "canary", "judge"):
        assert plan[key] == known[key], key
