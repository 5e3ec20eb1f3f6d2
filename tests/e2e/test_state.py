"""What is kept on disk stays small, and a dead controller's release can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onlyvips_release import events
from onlyvips_release.clock import SystemClock
from onlyvips_release.events import Phase
from onlyvips_release.journal import FileJournal
from onlyvips_release.simulation import World
from onlyvips_release.workloads.process import LOG_BYTES
from tests.e2e.rig import Rig
from tests.plans import make_plan
from tests.test_runner import carry_out

pytestmark = pytest.mark.slow
DAY_REQUESTS = 100 * 24 * 3600


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_state_of_a_day_at_100_requests_a_second_stays_below_200_mb() -> None:
    """What users' requests leave behind (nothing), what a chatty service may write, the journals of 48 releases."""
    with Rig(("miniapp",)) as rig:
        rig.up()
        before = size(rig.state)
        load = rig.load(1000)
        while load.totals()["sent"] < 10_000:
            os.sched_yield()
        sent = load.stop()["sent"]
        per_request = (size(rig.state) - before) / sent
    world = World(make_plan(), rps=100)
    carry_out(world)
    journal = FileJournal(rig.folder.parent / f"{rig.folder.name}.jsonl", SystemClock(), 1)
    for event in world.journal:
        journal.append(event)
    half_hour = journal.path.stat().st_size * 6
    journal.path.unlink()
    logs = 4 * 2 * 2 * LOG_BYTES
    total = per_request * DAY_REQUESTS + 48 * half_hour + logs
    assert total < 200e6, (per_request, half_hour, logs)


def test_log_of_a_chatty_process_is_bounded_and_survives_it(tmp_path: Path) -> None:
    pump = Path(sys.modules["onlyvips_release.workloads.process"].__file__ or "").with_name("logpump.py")
    path = tmp_path / "x.log"
    command = [sys.executable, "-I", "-S", str(pump), str(path), "100000", "=== begins ==="]
    lines = b"".join(b"line %06d\n" % n for n in range(100_000))
    subprocess.run(command, input=lines, check=True, env={})
    assert size(tmp_path) <= 2 * 100_000
    assert path.read_bytes().endswith(b"line 099999\n")


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
        assert "recover" in rig.cli("status").stdout
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
        assert release.id == "r0002"
