"""A power cut before and after every port call and every journal record: users are safe, and the next command ends it.

All of it in memory: the real runner, lifecycle, algebra and guardian over the simulated world.
"""

from __future__ import annotations

import random

import pytest

from onlyvips_release.core.lifecycle import fold
from tests.testing.crash_world import (
    WORLDS,
    Crash,
    Point,
    answered,
    begin,
    cut,
    cuts,
    died,
    end,
    expected,
    rebooted,
    safe,
    state,
    take_over,
    watch_over,
)
from tests.testing.simulation import World

worlds = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "spoiled" else ()) for name in WORLDS]
)
commands = pytest.mark.parametrize("what", ["recover", "resume"])


def wrong_end(world: World, what: str) -> str:
    """What the next command makes of a world, "" = the right thing; users are answered all the time."""
    mended, out = world.router_up, list[str]()

    def watch(kind: str) -> None:
        if mended and not answered(world):
            out.append(kind)

    wanted = expected(world, what)
    allowed = {wanted, "v1"} if world.error_rate("x", "v2", 1e9) else {wanted}  # a bad canary may always end on v1
    got = end(world, take_over(world, what, Point(watch=watch)))
    return "" if got in allowed and not out else f"{what} ended on {got}, {allowed} wanted, unanswered at {out[:3]}"


@commands
@worlds
def test_crash_at_every_call_leaves_users_safe_and_is_ended_by_the_next_command(name: str, what: str) -> None:
    wrong = []
    for kind, world in cuts(WORLDS[name](), begin):
        died(world)
        watch_over(world, Point())
        told = ("" if safe(world) else "unsafe ") + wrong_end(world, what)
        if told:
            wrong.append((kind, told))
    assert not wrong, wrong


@commands
@worlds
def test_reboot_at_every_call_is_ended_from_the_journal_alone(name: str, what: str) -> None:
    wrong = []
    for kind, world in cuts(WORLDS[name](), begin):
        rebooted(world)
        told = wrong_end(world, what) if world.journal and not fold(world.journal).over else ""
        if told:
            wrong.append((kind, told))
    assert not wrong, wrong


@worlds
def test_stopped_controller_is_taken_over_when_its_deadline_and_its_lease_are_over(name: str) -> None:
    """SIGSTOP or a hang: the pid lives, nothing is renewed."""
    for kind, world in cuts(WORLDS[name](), begin):
        begun, limit = world.time, max(world.deadline - world.time, 0) + 15 + 1
        watch_over(world, Point())
        assert safe(world), kind
        assert world.time - begun <= limit, kind


@pytest.mark.slow
@pytest.mark.parametrize("first", ["guardian", "recover"])
@worlds
def test_crash_during_the_recovery_of_every_crash(name: str, first: str) -> None:
    """Whoever is faster, the guardian and `recover` are cut off at every call too; equal states count once.

    When the guardian itself is killed nobody is left to act; then the next `recover` must do it all.
    """
    wrong, seen = [], set[str]()
    for before, broken in cuts(WORLDS[name](), begin):
        died(broken)
        for during, world in cuts(broken, recovery if first == "guardian" else hasty):
            key = state(world)
            if key in seen:
                continue
            seen.add(key)
            died(world)
            guarded = world.guarded
            watch_over(world, Point())
            told = ("unsafe " if guarded and not safe(world) else "") + wrong_end(world, "recover")
            if told:
                wrong.append((before, during, told))
    assert not wrong, wrong[:20]
    assert len(seen) > 30


def recovery(world: World, point: Point) -> None:
    """What happens after a crash: the guardian, then `recover`."""
    watch_over(world, point)
    hasty(world, point)


def hasty(world: World, point: Point) -> None:
    """`recover` was faster than the guardian."""
    take_over(world, "recover", point)


@pytest.mark.slow
def test_a_thousand_seeded_random_double_crashes() -> None:
    """Any release, any two calls, any mix of crash, hang and reboot, any two commands: none ends wrong."""
    wrong = []
    for seed in range(1000):
        source = random.Random(seed)
        world, told = cut(source.randrange(700), WORLDS[source.choice(list(WORLDS))])
        strike(world, source)
        whats = [source.choice(["recover", "resume"]) for _ in range(2)]
        try:
            watch_over(world, Point(source.randrange(40) if source.random() < 0.3 else -1))
            take_over(world, whats[0], Point(source.randrange(300)))
        except Crash as crash:
            told += f", {crash}"
            strike(world, source)
        died(world)
        guarded = world.guarded
        watch_over(world, Point())
        told_end = "unsafe " if guarded and not safe(world) else ""
        if world.journal and not fold(world.journal).over:
            told_end += wrong_end(world, whats[1])
        if told_end and not told_end.startswith("resume ended on v1"):
            wrong.append((seed, told, whats, told_end))
    assert not wrong, wrong


def strike(world: World, source: random.Random) -> None:
    """What kind of end it was."""
    kind = source.choice(["crash", "crash", "hang", "reboot"])
    if kind == "hang":
        world.holder_alive = True
        world.pass_time(max(0.0, world.deadline - world.time) + 1)
    elif kind == "reboot":
        rebooted(world)
