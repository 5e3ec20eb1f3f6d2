"""The commands of a release: what they ask for, and the exit code that each end has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from onlyvips_release.cli import options
from onlyvips_release.cli import release as commands
from onlyvips_release.cli.app import main
from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.environment import Environment
from onlyvips_release.errors import LeaseHeld
from onlyvips_release.state.layout import Layout, Reports
from tests.testing.crash_world import started
from tests.testing.plans import make_plan

RUN = """
import sys
from pathlib import Path
from onlyvips_release.cli import release
from onlyvips_release.cli.app import main
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.environment import Environment
from onlyvips_release.runner import Runner
from onlyvips_release.state.layout import Reports
from tests.testing.crash_world import started
from tests.testing.plans import make_plan
from tests.testing.simulation import World

class Platform:
    environment = Environment(Path("/nowhere"), Path("/nowhere"), {})
    reports = Reports(Path("/nowhere"), "shop")
    def run(self, show, **_):
        world = World(make_plan(), rps=100)
        release, ports, first = Release(), world.ports(), started(world.plan)
        release.apply(first)
        show(first, release)
        return Runner(release, ports, lambda event: show(event, release)).run()

release.load_platform = lambda _: Platform()
main(["run", "release.yaml", *sys.argv[1:]])
"""


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def ended(phase: Phase, code: int) -> Release:
    """A release that ended so."""
    release = Release()
    release.apply(started(make_plan()))
    release.phase, release.finished = phase, events.Finished(phase, code, f"ended with {code}")
    return release


class FakePlatform:
    """Remembers what is requested; `answers`: a running controller takes requests; `result`: how a release ends."""

    plan = make_plan()

    def __init__(self, state: Path, result: Release | None, *, answers: bool = False) -> None:
        self.state, self.result, self.answers = state, result, answers
        self.environment = Environment(state, state / "reports", {})
        self.layout, self.reports = Layout(state, "shop"), Reports(state / "reports", "shop")
        self.requests: list[events.Requested] = []
        self.calls: list[tuple[object, ...]] = []

    def ask(self, request: events.Requested) -> bool:
        self.requests.append(request)
        return self.answers

    def wait(self) -> Release | None:
        return self.result

    def take_over(self, request: events.Requested, _show: object, **options: object) -> Release | None:
        self.calls.append((request.what, options))
        return self.result

    def rollback(
        self, to: str | None, reason: str, _show: object, *, tell: Callable[[str], None], **_: object
    ) -> Release | None:
        self.calls.append((to, reason))
        tell("where users go")
        return self.result

    def by_hand(self, release: Release) -> str:
        return f"mv weight-{release.safe_weight}.json"


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, FakePlatform]]:
    """Call a command with such a platform."""

    def call(*words: str, result: Release | None, **options: Any) -> tuple[Result, FakePlatform]:
        platform = FakePlatform(tmp_path, result, **options)
        monkeypatch.setattr(commands, "released_platform", lambda _: platform)
        monkeypatch.setattr(commands, "open_platform", lambda _: platform)
        return CliRunner().invoke(main, [*words[:1], "shop", *words[1:]]), platform

    return call


Invoke = Callable[..., tuple[Result, FakePlatform]]


@pytest.mark.parametrize("what", ["pause", "resume", "promote", "abort"])
def test_request_goes_to_the_running_controller_with_its_reason_and_who_makes_it(what: str, invoke: Invoke) -> None:
    done, platform = invoke(what, "--reason", "lunch", result=ended(Phase.ROLLED_BACK, 3), answers=True)
    assert done.exit_code == 0, done.output
    assert f"the running release has taken the request `{what}`" in done.output
    assert [(request.what, request.reason, bool(request.by)) for request in platform.requests] == [
        (what, "lunch", True)
    ]
    assert platform.calls == []


@pytest.mark.parametrize("what", ["resume", "promote"])
def test_request_without_a_controller_is_carried_out_here_and_exits_as_the_release_ends(
    what: str, invoke: Invoke
) -> None:
    done, platform = invoke(what, "--until", "paused", "--no-guardian", result=ended(Phase.PAUSED, 5))
    assert done.exit_code == 5
    assert platform.calls == [(what, {"until_paused": True, "guardian": False})]
    refused, _ = invoke(what, result=None)
    assert refused.exit_code == 6
    assert "no release is unfinished" in refused.output


@pytest.mark.parametrize("running", [True, False], ids=["controller", "no controller"])
@pytest.mark.parametrize(
    ("result", "code"),
    [
        (None, 0),
        (ended(Phase.ROLLED_BACK, 3), 0),
        (ended(Phase.PROMOTED, 0), 0),
        (ended(Phase.ROLLING_BACK, 4), 4),
    ],
    ids=["nothing open", "rolled back", "promoted before", "not confirmed"],
)
def test_abort_is_done_when_users_are_on_stable(
    result: Release | None, code: int, running: bool, invoke: Invoke
) -> None:
    done, _ = invoke("abort", result=result, answers=running)
    assert done.exit_code == code


@pytest.mark.parametrize(("phase", "code"), [("PAUSED", 0), ("BAKING", 6)])
def test_pause_without_a_controller_is_done_only_where_the_release_is_paused(
    phase: str, code: int, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"phase": phase, "exit": 5, "release": "r0001"}
    monkeypatch.setattr(commands, "describe_platform", lambda *_: row)
    done, platform = invoke("pause", result=None)
    assert done.exit_code == code
    assert platform.calls == []
    assert ("r0001 is paused already" in done.output) == (code == 0)


def test_release_that_ends_unconfirmed_prints_what_works_without_the_tool(invoke: Invoke) -> None:
    done, _ = invoke("resume", result=ended(Phase.ROLLING_BACK, 4))
    assert done.exit_code == 4
    assert "mv weight-0.json" in done.output
    fine, _ = invoke("resume", result=ended(Phase.PROMOTED, 0))
    assert "without this tool" not in fine.output


def test_json_is_one_object_on_stdout_and_all_else_on_stderr(invoke: Invoke, tmp_path: Path) -> None:
    page = tmp_path / "reports" / "shop" / ended(Phase.PROMOTED, 0).id / "report.html"
    page.parent.mkdir(parents=True)
    page.touch()
    done, _ = invoke("resume", "--json", result=ended(Phase.ROLLING_BACK, 4))
    assert json.loads(done.stdout)["exit"] == 4
    assert "mv weight-0.json" in done.stderr
    assert f"report: {page}" in done.stderr


def test_rollback_asks_before_it_begins_and_says_where_users_would_go(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[tuple[str, bool]] = []
    monkeypatch.setattr(options, "confirm", lambda question, yes: questions.append((question, yes)))
    done, platform = invoke("rollback", "--to", "r0007", "--reason", "lost", "-y", result=ended(Phase.ROLLED_BACK, 0))
    assert (done.exit_code, platform.calls) == (0, [("r0007", "lost")])
    assert questions == [("Take all users of test to r0007?", True)]
    again, _ = invoke("rollback", result=None)
    assert (again.exit_code, again.stdout) == (0, "where users go\n")


def test_held_platform_is_exit_7(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: object, **__: object) -> Release:
        raise LeaseHeld("held by another command", remedy="wait")

    monkeypatch.setattr(FakePlatform, "take_over", held)
    done, _ = invoke("resume", result=None)
    assert done.exit_code == 7
    assert "what to do: wait" in done.output


def test_release_goes_on_and_keeps_its_exit_code_when_nobody_reads_its_output() -> None:
    """`run | head -1`: the pipe breaks at the first event."""
    words, pipe = [sys.executable, "-c", RUN], subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, env=BUFFERED) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.wait(60) == 0
        assert child.stderr.read() == b""


def test_full_disk_behind_the_event_stream_ends_no_release() -> None:
    words = [sys.executable, "-c", RUN, "--events", "/dev/full"]
    done = subprocess.run(words, capture_output=True, text=True, env=BUFFERED, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "/dev/full is not complete: No space left on device\n"
    assert "PASS: " in done.stdout.splitlines()[-1]


def test_event_stream_that_cannot_be_opened_is_refused_before_anything_begins(tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUN, "--events", str(tmp_path / "none" / "events.jsonl")]
    done = subprocess.run(words, capture_output=True, text=True, env=BUFFERED, timeout=60, check=False)
    assert done.returncode == 6
    assert "events.jsonl cannot be written: No such file or directory" in done.stderr
    assert done.stdout == ""
