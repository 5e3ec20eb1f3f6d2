"""Random true double crashes: `python -m tests.crash.double [COUNT] [FIRST SEED]` (`make long`: 2,000).

Any release on any kind of target, struck at two of its calls, any mix of crash, hang and reboot, any two commands. Both
strikes happen: their calls are drawn from those that there are.
"""

from __future__ import annotations

import random
import sys
from functools import cache

from onlyvips_release.core.lifecycle import fold
from tests.testing.crash_world import (
    AWAY,
    STRIKES,
    WORLDS,
    Crash,
    Point,
    begin,
    died,
    fork,
    safe,
    take_over,
    watch_over,
    wrong_end,
)
from tests.testing.simulation import Traits, World

COUNT = 2000


@cache
def calls(name: str, traits: Traits) -> int:
    """How many calls an undisturbed release makes."""
    point = Point()
    begin(WORLDS[name](traits), point)
    return len(point.seen)


def drawn(source: random.Random) -> Traits:
    """One kind of target."""
    flags = {key: source.random() < 0.4 for key in ("in_place", "scales", "one_act")}
    flags["in_place"] = flags["in_place"] or flags["scales"]  # nothing scales whose promotion swaps roles
    away = (3.0, 3.0 + AWAY) if source.random() < 0.2 else (0.0, 0.0)
    return Traits(names_revision=source.random() < 0.6, away=away, **flags)


def recovered(world: World, what: str, point: Point) -> None:
    """The guardian, then a command."""
    watch_over(world, point)
    take_over(world, what, point)


def struck(world: World, act: str, number: int) -> str:
    """The call at which `act` was cut off."""
    try:
        if act == "begin":
            begin(world, Point(number))
        else:
            recovered(world, act, Point(number))
    except Crash as crash:
        return str(crash)
    raise AssertionError(f"{act} ended before its call number {number}")


def double_crash(seed: int) -> str:
    """What one of them leaves wrong, "" = nothing."""
    source = random.Random(seed)
    name, traits = source.choice(list(WORLDS)), drawn(source)
    world = WORLDS[name](traits)
    where = [struck(world, "begin", source.randrange(calls(name, traits)))]
    strikes = [source.choice(["crash", "crash", "hang", "reboot"]) for _ in range(2)]
    commands = [source.choice(["recover", "resume"]) for _ in range(2)]
    STRIKES[strikes[0]](world)
    point = Point()
    recovered(fork(world), commands[0], point)
    if point.seen:
        where.append(struck(world, commands[0], source.randrange(len(point.seen))))
        STRIKES[strikes[1]](world)
    died(world)
    guarded = world.guarded
    watch_over(world, Point())
    unsafe = "unsafe after the guardian; " if guarded and not traits.away[1] and not safe(world) else ""
    is_open = world.journal and not fold(world.journal).over
    problem = unsafe + (wrong_end(world, commands[1]) if is_open else "")
    return f"seed {seed}: {name}, {traits}, {strikes} at {where}, {commands}: {problem}" if problem else ""


def main(count: str = str(COUNT), begin_at: str = "0") -> int:
    """Each wrong one on a line; 0 = there is none."""
    wrong = [text for seed in range(int(begin_at), int(begin_at) + int(count)) if (text := double_crash(seed))]
    sys.stdout.write("".join(f"{text}\n" for text in wrong))
    sys.stdout.write(f"{count} random double crashes from seed {begin_at}: {len(wrong)} wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
