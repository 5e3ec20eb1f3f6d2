"""Messages wait in a queue: no sink holds a release up, and none that fails silences another."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from onlyvips_release.alerts.queue import Alerts
from onlyvips_release.core.events import Event, Noted, Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Verdict
from onlyvips_release.runner import Runner
from tests.testing.crash_world import started
from tests.testing.plans import make_plan
from tests.testing.simulation import World


class Board:
    """A sink that keeps messages."""

    name = "board"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def send(self, event: Event) -> str:
        """Keep it."""
        self.events.append(event)
        return f"card {len(self.events)}"


class Broken:
    """A sink that always fails."""

    name = "broken"

    def send(self, event: Event) -> str:
        """Fail."""
        raise OSError("no network")


class Slow:
    """A sink that takes a minute, or until the test is over."""

    name = "slow"

    def __init__(self) -> None:
        self.over = threading.Event()

    def send(self, event: Event) -> str:
        """Wait."""
        self.over.wait(60)
        return ""


def test_all_sinks_get_every_event_in_order_and_what_arrived_is_listed_once() -> None:
    board = Board()
    alerts = Alerts((Broken(), board))
    sent: list[Event] = [Noted(f"{n}") for n in range(50)]
    for event in sent:
        alerts.notify(event)
    assert alerts.close(5)
    assert board.events == sent
    assert alerts.delivered() == tuple(("board", f"card {n + 1}") for n in range(50))
    assert alerts.delivered() == ()


def test_without_sinks_nothing_waits_and_no_thread_is_started() -> None:
    before = threading.active_count()
    alerts = Alerts()
    alerts.notify(Noted("x"))
    assert threading.active_count() == before
    assert alerts.close(0)


def test_sink_that_sleeps_a_minute_does_not_hold_up_a_rollback() -> None:
    slow, world, release = Slow(), World(make_plan(), rps=100), Release()
    alerts = Alerts((slow,))
    world.smoke = lambda request: Verdict.FAIL
    ports = replace(world.ports(), notifier=alerts)
    begun = time.monotonic()
    runner = Runner(release, ports)
    runner.record(started(world.plan))
    runner.run()
    assert release.phase is Phase.ROLLED_BACK
    assert not alerts.close(0.1)
    assert time.monotonic() - begun < 5
    slow.over.set()


def test_message_that_reached_people_is_in_the_journal() -> None:
    world, release, board = World(make_plan(), rps=100), Release(), Board()
    runner = Runner(release, replace(world.ports(), notifier=Alerts((board,))))
    runner.record(started(world.plan))
    runner.ports.notifier.notify(Noted("x"))
    while len(board.events) < 2:
        time.sleep(0.01)
    time.sleep(0.05)
    runner.upkeep.poll()
    assert ("Notified", "board") in [(type(e).__name__, getattr(e, "sink", "")) for e in world.journal]
