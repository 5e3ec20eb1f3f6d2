"""A power cut before and after every port call and every journal record: users are safe, and the next command ends it.

All of it in memory: the real runner, lifecycle, policy and guardian over the simulated world, as each kind of target.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from onlyvips_release.core.lifecycle import fold
from tests.crash.cells import commit
from tests.crash.double import double_crash
from tests.testing.crash_world import (
    AWAY,
    STRIKES,
    TRAITS,
    WORLDS,
    Point,
    begin,
    cuts,
    died,
    end,
    hung,
    rebooted,
    safe,
    state,
    take_over,
    watch_over,
    wrong_end,
)
from tests.testing.pairs import pairwise
from tests.testing.simulation import Traits, World

SWAPPED, IN_PLACE = TRAITS["roles are swapped"], TRAITS["stable is replaced in place"]
modes = pytest.mark.parametrize("traits", [SWAPPED, IN_PLACE], ids=["swapped", "in place"])
worlds = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "spoiled" else ()) for name in WORLDS]
)
commands = pytest.mark.parametrize("what", ["recover", "resume"])


def after_strike(name: str, traits: Traits, strike: str, what: str) -> list[tuple[str, str]]:
    """What goes wrong when a release is struck at each of its calls: the call, and what is wrong."""
    wrong = []
    for kind, world in cuts(WORLDS[name](traits), begin):
        STRIKES[strike](world)
        if traits.away[1]:
            world.traits = replace(traits, away=(world.time, world.time + AWAY))
        watch_over(world, Point())
        unsafe = "" if strike == "reboot" or traits.away[1] or safe(world) else "unsafe after the guardian"
        open_release = world.journal and not fold(world.journal).over
        problem = wrong_end(world, what) if open_release else ""
        if unsafe or problem:
            wrong.append((kind, f"{unsafe} {problem}".strip()))
    return wrong


@commands
@modes
@worlds
def test_crash_at_every_call_leaves_users_safe_and_is_ended_by_the_next_command(
    name: str, traits: Traits, what: str
) -> None:
    assert after_strike(name, traits, "crash", what) == []


@commands
@modes
@worlds
def test_reboot_at_every_call_is_ended_from_the_journal_alone(name: str, traits: Traits, what: str) -> None:
    assert after_strike(name, traits, "reboot", what) == []


@worlds
def test_undisturbed_release_hurts_nobody_on_any_kind_of_target(name: str) -> None:
    for kind, traits in TRAITS.items():
        world, hurt = WORLDS[name](traits), list[str]()
        release = begin(world, Point(watch=lambda call, world=world, hurt=hurt: hurt.append(world.unanswered())))  # type: ignore[misc]
        problems = {text for text in hurt if text} if world.installed else set()
        assert (problems, world.cut) == (set(), []), kind
        wanted = {"good": "v2", "first": "v2"}.get(name, "v1")
        before = "v1" if world.installed else "none"
        assert end(world, release) in ({wanted, before} if traits.away[1] else {wanted}), kind


@modes
@worlds
def test_stopped_controller_is_taken_over_when_its_deadline_and_its_lease_are_over(name: str, traits: Traits) -> None:
    """SIGSTOP or a hang: the pid lives, nothing is renewed."""
    for kind, world in cuts(WORLDS[name](traits), begin):
        begun, limit = world.time, max(world.deadline - world.time, 0) + 15 + 1
        watch_over(world, Point())
        assert safe(world), kind
        assert world.time - begun <= limit, kind


PAIRS = pairwise(
    {
        "name": list(WORLDS),
        "in_place": [False, True],
        "names_revision": [False, True],
        "scales": [False, True],
        "away": [False, True],
        "one_act": [False, True],
        "strike": list(STRIKES),
        "what": ["recover", "resume"],
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("row", PAIRS, ids=lambda row: " ".join(str(value) for value in row.values()))
def test_every_pair_of_parameters_ends_right(row: dict[str, object]) -> None:
    away = (3.0, 3.0 + AWAY) if row["away"] else (0.0, 0.0)
    flags = {key: bool(row[key]) for key in ("in_place", "names_revision", "scales", "one_act")}
    flags["in_place"] = flags["in_place"] or flags["scales"]  # nothing scales whose promotion swaps roles
    assert after_strike(str(row["name"]), Traits(away=away, **flags), str(row["strike"]), str(row["what"])) == []


@pytest.mark.slow
@pytest.mark.parametrize("begun_by", ["guardian", "recover"])
@modes
@worlds
def test_crash_during_the_recovery_of_every_crash(name: str, traits: Traits, begun_by: str) -> None:
    """Whoever is faster, the guardian and `recover` are cut off at every call too; equal states count once.

    When the guardian itself is killed nobody is left to act; then the next `recover` must do it all.
    """
    wrong, seen = [], set[str]()
    for before, broken in cuts(WORLDS[name](traits), begin):
        died(broken)
        for during, world in cuts(broken, recovery if begun_by == "guardian" else hasty):
            key = state(world)
            if key in seen:
                continue
            seen.add(key)
            died(world)
            guarded = world.guarded
            watch_over(world, Point())
            unsafe = "unsafe " if guarded and not safe(world) else ""
            problem = wrong_end(world, "recover") if not fold(world.journal).over else ""
            if unsafe or problem:
                wrong.append((before, during, unsafe + problem))
    assert not wrong, wrong[:20]
    assert len(seen) > 30


def recovery(world: World, point: Point) -> None:
    """What happens after a crash: the guardian, then `recover`."""
    watch_over(world, point)
    hasty(world, point)


def hasty(world: World, point: Point) -> None:
    """`recover` was faster than the guardian."""
    take_over(world, "recover", point)


def test_strikes_are_all_used() -> None:
    assert set(STRIKES.values()) == {died, hung, rebooted}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_random_double_crashes_of_this_commit(part: int) -> None:
    """Others for each commit; the whole table of 2,000 is docs/crash-matrix.md's."""
    seeds = random.Random(f"{commit()} {part}").sample(range(1_000_000), 100)
    assert [text for seed in seeds if (text := double_crash(seed))] == []
