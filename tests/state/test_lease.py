"""The claim on a platform as files: fencing by stage folders, no write after a take-over, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clients.process import Process, birth
from onlyvips_release.clock import SystemClock
from onlyvips_release.errors import LeaseHeld, LeaseLost
from onlyvips_release.state.files import StagedFiles
from onlyvips_release.state.lease import FileLease, alive, highest, holder, read_lease

SECOND = timedelta(seconds=1)


class Fake(SystemClock):
    """Time that passes when it is slept."""

    at = 0.0

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """At once."""
        self.at += seconds


@pytest.fixture
def clock() -> SystemClock:
    """Real time: nothing here waits."""
    return SystemClock()


def gone(live: Path) -> None:
    """Let the holder's process be another one than it was."""
    record = read_lease(live)
    (live / "lease.json").write_text(json.dumps({**record, "started": record["started"] - 100}))


def test_second_holder_is_refused_with_name_and_pid_of_the_first(tmp_path: Path, clock: SystemClock) -> None:
    first = FileLease(tmp_path, clock, SECOND)
    first.acquire("run")
    with pytest.raises(LeaseHeld, match=r"run by .* \(pid \d+\)") as caught:
        FileLease(tmp_path, clock).acquire("run")
    assert caught.value.exit_code == 7
    first.release()
    FileLease(tmp_path, clock).acquire("run")


def test_living_holder_is_only_refused_after_a_renewal_was_seen_and_else_waited_out(tmp_path: Path) -> None:
    """Catches a stopped controller that holds its platform for ever because its pid lives."""
    first, clock = FileLease(tmp_path, Fake()), Fake()
    fence = first.acquire("run")
    assert FileLease(tmp_path, clock).acquire("recover") == fence + 1
    assert 14 < clock.at < 16
    first.release()


def test_who_slept_did_not_look(tmp_path: Path) -> None:
    """Catches a guardian that wakes up with its controller (a closed laptop) and shoots it at once."""
    first, clock = FileLease(tmp_path, Fake()), Fake()
    first.acquire("run")
    other = FileLease(tmp_path, clock)
    other.look()
    clock.at += 3600
    claim = other.look()
    assert claim is not None
    assert not claim.expired
    first.release()


def test_released_lease_is_nobodys_and_leaves_no_stage(tmp_path: Path, clock: SystemClock) -> None:
    lease = FileLease(tmp_path, clock)
    fence = lease.acquire("run")
    held = lease.look()
    assert held
    assert held.who.startswith("run by ")
    assert not held.released
    lease.release()
    free = lease.look()
    assert free
    assert free.released
    assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]
    assert lease.acquire("run") == fence + 1
    lease.release()


def test_holder_that_is_gone_from_this_host_is_taken_over_at_once_and_cannot_write(
    tmp_path: Path, clock: SystemClock
) -> None:
    first = FileLease(tmp_path, clock)
    fence = first.acquire("run")
    zombie = StagedFiles(tmp_path, tmp_path / f"stage-{fence}")
    zombie.prepare("ready", b"old")
    gone(tmp_path)
    second = FileLease(tmp_path, clock)
    assert second.acquire("recover") == fence + 1
    with pytest.raises(LeaseLost):
        zombie.write("x.json", b"old")
    with pytest.raises(LeaseLost):
        zombie.publish("ready", "x.json")
    with pytest.raises(LeaseLost):
        first.write("x.json", b"old")
    assert not (tmp_path / "x.json").exists()
    second.write("x.json", b"new")
    assert (tmp_path / "x.json").read_bytes() == b"new"
    second.release()
    first.release()


def test_claim_that_stands_by_takes_over_by_renames_alone_and_loses_to_who_was_faster(
    tmp_path: Path, clock: SystemClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FileLease(tmp_path, clock)
    fence = first.acquire("run")
    ready, late = FileLease(tmp_path, clock), FileLease(tmp_path, clock)
    for lease in (ready, late):
        lease.stand_by(fence, "guardian")
    ready.prepare("safe", b"0")
    gone(tmp_path)
    monkeypatch.delattr(StagedFiles, "prepare")  # a full disk: nothing can be written any more
    assert ready.acquire("guardian") == fence + 1
    ready.publish("safe", "router/rds.json")
    monkeypatch.undo()
    with pytest.raises(LeaseHeld):
        late._take(fence + 1)
    assert read_lease(tmp_path)["what"] == "guardian"
    ready.release()
    first.release()


def test_of_many_challengers_one_wins_each_number(tmp_path: Path, clock: SystemClock) -> None:
    first = FileLease(tmp_path, clock)
    fence = first.acquire("run")
    gone(tmp_path)
    won, all_ready = list[int](), threading.Barrier(8)

    def challenge() -> None:
        lease = FileLease(tmp_path, clock)
        lease.stand_by(fence, "recover")
        all_ready.wait()
        try:
            lease._take(fence + 1)
        except LeaseHeld:
            return
        won.append(lease.fence)

    threads = [threading.Thread(target=challenge) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [fence + 1]
    first.release()


def test_revoked_number_is_never_taken_again(tmp_path: Path, clock: SystemClock) -> None:
    first = FileLease(tmp_path, clock)
    fence = first.acquire("run")
    late = FileLease(tmp_path, clock)
    late.stand_by(fence, "recover")
    gone(tmp_path)
    for _ in range(2):
        other = FileLease(tmp_path, clock)
        other.acquire("recover")
        other.release()
    with pytest.raises(LeaseHeld):
        late._take(fence + 1)
    assert highest(tmp_path) == 0
    first.release()


def test_record_that_was_deleted_while_held_is_no_free_platform(tmp_path: Path, clock: SystemClock) -> None:
    first = FileLease(tmp_path, clock, SECOND)
    first.acquire("run")
    (tmp_path / "lease.json").unlink()
    with pytest.raises(LeaseHeld):
        FileLease(tmp_path, clock, SECOND * 3).acquire("run")
    assert read_lease(tmp_path)["what"] == "run"
    first.release()


def test_holder_in_another_container_is_never_taken_for_dead(tmp_path: Path) -> None:
    assert alive({**holder(), "pid": 2**22 + 1, "space": 1})
    assert alive({**holder(), "pid": 2**22 + 1, "host": "elsewhere"})
    assert not alive({**holder(), "pid": 2**22 + 1})
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        me = {**holder(), "pid": child.pid, "started": birth(child.pid)}
        assert alive(me)
        assert not alive({**me, "started": me["started"] + 0.01})
        child.kill()
    assert not alive(me)


def test_live_file_is_replaced_whole_and_only_its_owner_may_read_it(tmp_path: Path, clock: SystemClock) -> None:
    lease = FileLease(tmp_path, clock)
    lease.acquire("run")
    lease.write("router/rds.json", b"1")
    lease.write("router/rds.json", b"2")
    path = tmp_path / "router" / "rds.json"
    assert path.read_bytes() == b"2"
    assert path.stat().st_mode & 0o777 == 0o600
    lease.release()


def test_write_without_a_claim_is_refused(tmp_path: Path, clock: SystemClock) -> None:
    with pytest.raises(LeaseLost):
        FileLease(tmp_path, clock).write("x", b"")


def test_process_lives_until_its_last_thread_has_ended() -> None:
    """Its leader may be a zombie while another thread still holds its sockets."""
    code = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start();"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        process, end = Process.of(child.pid), time.monotonic() + 10
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < end
            time.sleep(0.01)
        assert process.alive()
        child.kill()
        while process.alive():
            assert time.monotonic() < end
            time.sleep(0.01)
