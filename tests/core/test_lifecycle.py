"""The table: what may follow what, the diagram drawn from it, and illegal events refused before anything changed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import get_args

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import ANYWHERE, FINAL, TABLE, IllegalEvent, Release
from tests.testing.crash_world import carry_out, started
from tests.testing.plans import make_plan
from tests.testing.simulation import World

DOC = Path(__file__).parents[2] / "docs" / "lifecycle.md"


def test_diagram_in_the_docs_is_the_table() -> None:
    assert f"```mermaid\n{diagram()}```" in DOC.read_text(), (
        "write `python -m tests.core.test_lifecycle` into docs/lifecycle.md"
    )


def test_every_event_has_a_place_in_the_table() -> None:
    known = {kind for row in TABLE.values() for kind in row} | set(ANYWHERE)
    assert known == set(get_args(events.Event))


@pytest.mark.parametrize("phase", FINAL)
def test_nothing_but_its_end_follows_a_final_phase(phase: Phase) -> None:
    assert set(TABLE[phase]) == {events.Finished}


def test_every_open_phase_can_roll_back() -> None:
    assert all(events.RollbackStarted in TABLE[phase] for phase in Phase if phase not in FINAL)


def test_illegal_event_changes_nothing() -> None:
    release = Release()
    release.apply(started(make_plan()))
    with pytest.raises(IllegalEvent):
        release.apply(events.Promoted("now"))
    assert release.phase is Phase.PREPARING


def test_safe_weight_is_zero_until_committed_then_100_until_stable_is_proven_then_zero() -> None:
    world = World(make_plan(), rps=100)
    carry_out(world)
    release, seen = Release(), []
    for event in world.journal:
        release.apply(event)
        seen.append(release.safe_weight)
    assert [weight for weight, _ in itertools.groupby(seen)] == [0, 100, 0]


def diagram() -> str:
    """The table as a Mermaid state diagram: docs/lifecycle.md shows exactly this."""
    lines = ["stateDiagram-v2", "    [*] --> PREPARING"]
    for phase, row in TABLE.items():
        edges: dict[Phase, list[str]] = {}
        for kind, target in row.items():
            if target is not phase:
                edges.setdefault(target, []).append(kind.__name__)
        lines += [f"    {phase} --> {target}: {', '.join(kinds)}" for target, kinds in edges.items()]
    return "\n".join([*lines, *(f"    {phase} --> [*]: Finished" for phase in FINAL)]) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(diagram())
