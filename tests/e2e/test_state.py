"""What is kept on disk stays small, and a dead controller's release can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from onlyvips_release.clients import log_pump as logpump
from onlyvips_release.clients.log_pump import LIMIT
from onlyvips_release.clients.process import CHILDREN, logged
from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.model import Arm
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.layout import Layout
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.platform_rig import Rig
from tests.testing.simulation import World

pytestmark = pytest.mark.slow
DAY_REQUESTS = 100 * 24 * 3600


def as_on_a_real_platform(event: events.Sampled) -> events.Sampled:
    """With latency in 50 buckets of stable and 36 of the canary, as the sandbox behind Envoy gave in a minute."""
    more = {"business": 12_345, "cpu": 123.45, "memory": 123_456_789}
    latency = {arm: tuple((60 + n, 1234) for n in range(count)) for arm, count in zip(Arm, (50, 36), strict=True)}
    series = {
        service: {arm: tuple(replace(s, latency=latency[arm], **more) for s in found) for arm, found in arms.items()}  # type: ignore[arg-type]
        for service, arms in event.series.items()
    }
    return replace(event, series=series)


def unbounded(state: Path) -> int:
    """Bytes without the log of attempts, whose size its pump bounds."""
    return size(state) - sum(path.stat().st_size for path in state.glob("*/log/attempts.log*"))


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_state_of_a_day_at_100_requests_a_second_stays_below_200_mb() -> None:
    """What users' requests leave behind, what the log pumps keep at most, the journals of 48 releases."""
    with Rig(("miniapp",)) as rig:
        rig.up()
        before = unbounded(rig.state)
        load = rig.load(1000)
        while load.totals()["sent"] < 10_000:
            os.sched_yield()
        sent = load.stop()["sent"]
        per_request = (unbounded(rig.state) - before) / sent
    world = World(make_plan(), rps=100)
    carry_out(world)
    journal = FileJournal(rig.folder.parent / f"{rig.folder.name}.jsonl", SystemClock(), 1)
    for event in world.journal:
        journal.append(as_on_a_real_platform(event) if isinstance(event, events.Sampled) else event)
    half_hour = journal.path.stat().st_size * 6
    journal.path.unlink()
    logs = (4 * 2 + 1) * 2 * LIMIT
    total = per_request * DAY_REQUESTS + 48 * half_hour + logs
    assert total < 200e6, (total, per_request, half_hour, logs)


def test_log_of_a_day_at_100_attempts_a_second_is_bounded_and_the_end_is_kept(tmp_path: Path) -> None:
    block = b"backend-api__stable 127.0.0.1:18110 200 1234 users-safe\n" * 10_000
    with logged(tmp_path / "x.log") as writer, open(writer, "wb", buffering=0, closefd=False) as pipe:
        pump = CHILDREN[-1]
        for _ in range(DAY_REQUESTS // 10_000):
            pipe.write(block)
        pipe.write(b"the end\n")
    assert pump.wait(30) == 0
    assert size(tmp_path) <= 2 * LIMIT
    assert (tmp_path / "x.log").read_bytes().endswith(b"the end\n")


def test_log_that_somebody_took_away_is_begun_anew_and_its_writer_notices_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with logged(path) as writer, open(writer, "wb", buffering=0, closefd=False) as pipe:
        pump = CHILDREN[-1]
        pipe.write(b"1\n")
        while not path.exists():
            os.sched_yield()
        path.unlink()
        pipe.write(b"x" * (LIMIT + 1))
        pipe.write(b"2\n")
    assert pump.wait(30) == 0
    assert path.read_bytes().endswith(b"2\n")


def test_log_of_a_chatty_process_is_bounded_and_survives_it(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    command = [sys.executable, "-I", "-S", logpump.__file__, str(path), "100000", "=== begins ==="]
    lines = b"".join(b"line %06d\n" % n for n in range(100_000))
    subprocess.run(command, input=lines, check=True, env={})
    assert size(tmp_path) <= 2 * 100_000
    assert path.read_bytes().endswith(b"line 099999\n")


@pytest.mark.slice
def test_release_whose_controller_was_killed_is_ended_by_recover_without_a_failed_request() -> None:
    with Rig() as rig:
        rig.up()
        load = rig.load(300)
        path = rig.write(rig.plan("v2"))
        command = [sys.executable, "-m", "onlyvips_release", "run", str(path)]
        with subprocess.Popen(command, env=rig.env, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            while "10 % of users" not in child.stdout.readline():
                assert child.poll() is None
            child.send_signal(signal.SIGKILL)
        end = time.monotonic() + 10
        while "recover" not in (shown := rig.cli("status").stdout):  # the guardian holds the platform for a moment
            assert time.monotonic() < end, shown
        refused = rig.cli("run", str(path))
        assert refused.returncode == 6
        assert "recover" in refused.stderr
        done = rig.cli("recover", str(path))
        assert done.returncode == 3, done.stdout + done.stderr
        assert rig.cli("recover", str(path)).stdout == "nothing is unfinished\n"
        assert set(rig.revisions().values()) == {"v1"}
        release = rig.release("v3", accept="no_evidence_of_harm", steps=[{"weight": 10, "bake": "2s"}], watch="2s")
        assert release.phase is Phase.PROMOTED
        assert load.stop()["failed"] == 0
        assert isinstance(rig.journal[0], events.Started)
        assert release.id == "r0003"


@pytest.mark.slice
def test_damaged_journal_does_not_stop_recover_which_names_the_damage() -> None:
    with Rig(("miniapp",)) as rig:
        rig.up()
        command = [sys.executable, "-m", "onlyvips_release", "run", str(rig.write(rig.plan("v2")))]
        with subprocess.Popen(command, env=rig.env, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            while "10 % of users" not in child.stdout.readline():
                assert child.poll() is None
            child.send_signal(signal.SIGKILL)
        journal = Layout(rig.state, "e2e").journal("r0002")
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines[:4], b"\x00" * 40 + b"\n", *lines[4:]]))
        assert "DAMAGED: " in rig.cli("status").stdout
        done = rig.cli("recover", "e2e")
        assert done.returncode == 3, done.stdout + done.stderr
        assert "line 5 of the journal is left out: is no record of a release" in done.stdout
        assert rig.cli("recover", "e2e").stdout == "nothing is unfinished\n"
        assert set(rig.revisions().values()) == {"v1"}
