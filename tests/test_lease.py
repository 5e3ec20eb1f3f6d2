"""The claim on a platform: one holder, fencing by stage folders, no write after a take-over."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.errors import LeaseHeld, LeaseLost
from onlyvips_release.lease import FileLease, StagedFiles, held, read_lease


@pytest.fixture
def clock() -> SystemClock:
    """Real time: nothing here waits."""
    return SystemClock()


def test_second_holder_is_refused_with_name_and_pid_of_the_first(tmp_path: Path, clock: SystemClock) -> None:
    first = FileLease(tmp_path, clock)
    first.acquire("run")
    with pytest.raises(LeaseHeld, match=r"run by .* \(pid \d+\)") as caught:
        FileLease(tmp_path, clock).acquire("run")
    assert caught.value.exit_code == 7
    first.release()
    FileLease(tmp_path, clock).acquire("run")


def test_released_lease_is_nobodys_and_leaves_no_stage(tmp_path: Path, clock: SystemClock) -> None:
    lease = FileLease(tmp_path, clock)
    fence = lease.acquire("run")
    assert held(tmp_path)["what"] == "run"
    lease.release()
    assert held(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]
    assert lease.acquire("run") == fence + 1
    lease.release()


def test_holder_that_is_gone_from_this_host_is_taken_over_at_once_and_cannot_write(
    tmp_path: Path, clock: SystemClock
) -> None:
    first = FileLease(tmp_path, clock)
    fence = first.acquire("run")
    zombie = StagedFiles(tmp_path, fence)
    record = read_lease(tmp_path)
    (tmp_path / "lease.json").write_text(json.dumps({**record, "started": record["started"] - 100}))
    second = FileLease(tmp_path, clock)
    assert second.acquire("recover") == fence + 1
    with pytest.raises(LeaseLost):
        zombie.write("x.json", b"old")
    second.write("x.json", b"new")
    assert (tmp_path / "x.json").read_bytes() == b"new"
    with pytest.raises(LeaseLost):
        first.write("x.json", b"old")
    second.release()
    first.release()


def test_live_file_is_replaced_whole_and_only_its_owner_may_read_it(tmp_path: Path, clock: SystemClock) -> None:
    lease = FileLease(tmp_path, clock)
    lease.acquire("run")
    lease.write("router/rds.json", b"1")
    lease.write("router/rds.json", b"2")
    path = tmp_path / "router" / "rds.json"
    assert path.read_bytes() == b"2"
    assert path.stat().st_mode & 0o777 == 0o600
    lease.renew(timedelta(seconds=1))
    lease.release()


def test_write_without_a_claim_is_refused(tmp_path: Path, clock: SystemClock) -> None:
    with pytest.raises(LeaseLost):
        FileLease(tmp_path, clock).write("x", b"")
