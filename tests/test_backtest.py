"""Deciding an old release again from its journal alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from onlyvips_release.backtest import ENDS_EARLY, backtest
from onlyvips_release.cli.app import main
from onlyvips_release.core.events import Judged, Sampled
from onlyvips_release.core.model import Verdict
from onlyvips_release.core.plan import ErrorLimits, JudgePlan, Line, Step
from onlyvips_release.errors import Refused
from onlyvips_release.state.journal import FileJournal
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulated_ports import SimClock
from tests.testing.simulation import World


def bad(share: float) -> World:
    """A canary of miniapp that fails this share, stable 0.1 %."""
    return World(make_plan(), 100, lambda s, r, at: share if (s, r) == ("miniapp", "v2") else 0.001, seed=4)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3], ids=["equal", "a little worse", "bad"])
def test_same_plan_decides_the_same_at_the_same_tick(share: float) -> None:
    world = bad(share)
    carry_out(world)
    final = next(event for event in reversed(world.journal) if isinstance(event, Judged) and event.final)
    before = world.journal[: world.journal.index(final)]
    tick = max(event.tick for event in before if isinstance(event, Sampled))
    found = backtest(world.journal)
    assert found.decided == final
    assert found.tick == tick


def test_wider_limits_would_have_let_it_pass_and_narrower_ones_end_earlier() -> None:
    world = bad(0.04)
    carry_out(world)
    wide = ErrorLimits(Line(1.2, 0.05), Line(1.5, 0.1))
    found = backtest(world.journal, replace(world.plan, judge=JudgePlan(errors=wide)))
    strict = backtest(world.journal, replace(world.plan, judge=JudgePlan(alpha=0.2)))
    same = backtest(world.journal)
    assert (found.decided, found.sentence) == (None, ENDS_EARLY)
    assert same.decided
    assert same.decided.verdict is Verdict.FAIL
    assert strict.tick is not None
    assert same.tick is not None
    assert strict.tick < same.tick


def test_longer_bake_than_recorded_is_not_guessed() -> None:
    world = bad(0.001)
    carry_out(world)
    longer = replace(world.plan, steps=(Step(10, timedelta(minutes=6)),))
    assert backtest(world.journal, longer).sentence == ENDS_EARLY


def test_other_weights_are_refused() -> None:
    world = bad(0.001)
    carry_out(world)
    with pytest.raises(Refused, match=r"10.* %, the other plan goes to .*25"):
        backtest(world.journal, replace(world.plan, steps=(Step(25, timedelta(minutes=5)),)))


def test_command_tells_what_was_recorded_and_what_is_decided_now(tmp_path: Path) -> None:
    world = bad(0.3)
    carry_out(world)
    journal = FileJournal(tmp_path / "journal.jsonl", SimClock(world))
    for event in world.journal:
        journal.append(event)
    done = CliRunner().invoke(main, ["replay", str(tmp_path / "journal.jsonl")])
    assert done.exit_code == 0, done.output
    assert "recorded: ROLLED BACK: miniapp:" in done.output
    assert "replayed: FAIL at tick" in done.output
    gone = CliRunner().invoke(main, ["replay", str(tmp_path / "none.jsonl")])
    assert gone.exit_code == 6
    assert "is no file" in gone.output
