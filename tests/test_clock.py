"""The clock: a signal interrupts every thread that sleeps, and each of them once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.errors import Interrupted


@pytest.fixture
def clock() -> Iterator[SystemClock]:
    """Listens; the handlers of before come back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.getsignal(number) for number in numbers}
    made = SystemClock()
    made.listen()
    yield made
    for number, handler in old.items():
        signal.signal(number, handler)


def interrupted(clock: SystemClock, seconds: float) -> int:
    """The signal that ended a sleep, 0 = none did."""
    try:
        clock.sleep(seconds)
    except Interrupted as error:
        return error.signal_number
    return 0


@pytest.mark.parametrize(("number", "seen"), [(signal.SIGINT, 2), (signal.SIGTERM, 15), (signal.SIGHUP, 15)])
def test_signal_ends_the_next_sleep_and_no_other(clock: SystemClock, number: int, seen: int) -> None:
    os.kill(os.getpid(), number)
    assert [interrupted(clock, 0.01) for _ in range(3)] == [seen, 0, 0]


def test_every_signal_interrupts_once_in_order(clock: SystemClock) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert [interrupted(clock, 0.01) for _ in range(3)] == [15, 2, 0]


def test_signal_interrupts_each_sleeping_thread_once(clock: SystemClock) -> None:
    seen: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: seen.append([interrupted(clock, 20), interrupted(clock, 0.05)]))
        for _ in range(3)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupted(clock, 20) == 15
    for thread in threads:
        thread.join()
    assert seen == [[15, 0]] * 3
    assert time.monotonic() - began < 10
    assert interrupted(clock, 0.01) == 0


def test_thread_that_begins_to_sleep_later_is_not_interrupted_by_what_was_handled(clock: SystemClock) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupted(clock, 1) == 15
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(interrupted(clock, 0.05)))
    thread.start()
    thread.join()
    assert seen == [0]


def test_thread_that_slept_before_a_signal_is_interrupted_also_after_the_main_thread(
    clock: SystemClock,
) -> None:
    slept, handled, seen = threading.Event(), threading.Event(), list[int]()

    def work() -> None:
        seen.append(interrupted(clock, 0.01))
        slept.set()
        handled.wait(10)
        seen.append(interrupted(clock, 5))

    thread = threading.Thread(target=work)
    thread.start()
    slept.wait(10)
    os.kill(os.getpid(), signal.SIGINT)
    assert interrupted(clock, 1) == 2
    handled.set()
    thread.join()
    assert seen == [0, 2]
