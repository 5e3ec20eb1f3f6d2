"""What a person sees while a release runs: a live view on a terminal, else lines and a heartbeat; and afterwards."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onlyvips_release.cli.progress import show_lines
from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.environment import Environment
from onlyvips_release.platform import Platform
from onlyvips_release.reporting.terminal import Printer, waiting
from onlyvips_release.runner import Runner
from tests.testing.crash_world import started
from tests.testing.plans import make_plan
from tests.testing.simulation import World

SHOW = """
import time
from types import SimpleNamespace
from onlyvips_release.cli.progress import show_progress
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.environment import Environment
from onlyvips_release.runner import Runner
from tests.testing.simulation import World
from tests.testing.plans import make_plan
from tests.testing.crash_world import started
world = World(make_plan(), rps=100)
release, ports, first = Release(), world.ports(), started(world.plan)
release.apply(first)
with show_progress(SimpleNamespace(environment=Environment(None, None, {"TERM": "xterm"})), as_json=False) as show:
    show(first, release)
    def follow(event):
        show(event, release)
        if type(event).__name__ == "Shifted":
            time.sleep(0.6)
    Runner(release, ports, follow).run()
"""


def simulated(tell: Callable[[events.Event, Release], None]) -> Release:
    """A good release in memory."""
    world = World(make_plan(), rps=100)
    release, ports, first = Release(), world.ports(), started(world.plan)
    release.apply(first)
    tell(first, release)
    return Runner(release, ports, lambda event: tell(event, release)).run()


@pytest.mark.slow
def test_terminal_has_a_live_view_and_keeps_the_lines() -> None:
    main, side = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen([sys.executable, "-c", SHOW], stdout=side, stderr=side, env=env) as child:
        os.close(side)
        seen = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:
                break
            seen += part
        assert child.wait(30) == 0, seen.decode()
    os.close(main)
    text = seen.decode()
    assert "\x1b[2K" in text, "nothing was drawn over"
    assert "canary weight 10 %" in text
    assert "step 1 of 1" in text
    last = [line for line in text.splitlines() if "PROMOTED (" in line]
    assert last
    assert "[exit 0]" in last[-1]


@pytest.mark.slow
def test_elsewhere_there_are_lines_and_no_control_characters() -> None:
    env = os.environ | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, env=env, check=True)
    assert "\x1b" not in done.stdout
    assert re.search(r"^\d\d:\d\d:\d\d CHECKING +smoke suite on stable at 0 %: PASS", done.stdout, re.M)
    assert re.search(r"BAKING .* failed/requests canary vs stable: ", done.stdout) or "PASS: " in done.stdout


def test_silence_is_broken_by_what_is_waited_for_and_its_limit() -> None:
    out = io.StringIO()
    with show_lines(out, grouped=False, every=0.05) as printer:
        release = Release()
        first = started(make_plan())
        release.apply(first)
        printer(first, release)
        release.phase, release.proven = Phase.CHECKING, True
        end = time.monotonic() + 5
        while "still waiting" not in out.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
    assert "CHECKING     still waiting for the smoke suite on canary, at most 300 s" in out.getvalue()


def test_nothing_is_said_while_events_come() -> None:
    out: list[str] = []
    printer = Printer(out.append, lambda: datetime(2026, 1, 1, tzinfo=UTC), every=30)
    release = Release()
    first = started(make_plan())
    release.apply(first)
    printer.beat()
    printer(first, release)
    printer.beat()
    assert len(out) == 1


def test_text_of_a_check_cannot_give_commands_to_a_ci_system_or_a_terminal() -> None:
    out: list[str] = []
    printer = Printer(out.append, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    printer(events.Noted("a\n::add-mask::b\r::error::c\x1b[2J"), Release())
    assert out == ["00:00:00 PREPARING    a ::add-mask::b\\u000d::error::c\\u001b[2J"]


def test_every_wait_has_a_name() -> None:
    names: set[str] = set()
    simulated(lambda event, release: names.add(waiting(release)))
    assert "the router to confirm 10 %" in names
    assert "the smoke suite on stable, at most 300 s" in names
    assert all(names)


def test_report_that_cannot_be_drawn_is_told_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def badly(*_: object) -> None:
        raise RuntimeError("drawn badly")

    monkeypatch.setattr("onlyvips_release.wiring.publish", badly)
    parts = Platform(make_plan(), environment=Environment(tmp_path, tmp_path / "reports", {})).parts
    assert parts.publish("r0001") == "the report could not be written: drawn badly"
