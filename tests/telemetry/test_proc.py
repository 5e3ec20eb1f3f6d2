"""Processor time and memory of instances: real processes, their children, and pids that belong to somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from onlyvips_release.core.model import Arm, Endpoint, Instance
from onlyvips_release.telemetry import proc
from onlyvips_release.telemetry.proc import Usage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")]

BURN = "import sys, time\nwhile time.process_time() < 0.35: pass\n"
WAIT = "print('ready', flush=True); sys.stdin.read()\n"
HOLD = "held = b'x' * 40_000_000\n"
WHERE = "127.0.0.1:9"


def instance(pid: int, identity: str = "pid 1 started 2 command 3") -> Instance:
    """One that lives."""
    return Instance("api", Arm.STABLE, "v1", identity, alive=True, endpoint=Endpoint("127.0.0.1", 9, "v1"), pid=pid)


@pytest.fixture
def run() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts Python code and waits until it prints; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline()
        return child

    yield begin
    for child in started:
        child.communicate()


def usage_of(child: subprocess.Popen[bytes]) -> Usage:
    """Of one instance."""
    return Usage(lambda: [instance(child.pid)])


Begin = Callable[[str], subprocess.Popen[bytes]]


def parent_of(code: str, then: str = WAIT) -> str:
    """Code that runs `code` in a child until that is ready."""
    return (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {code!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        f"child.stdout.readline()\n{then}"
    )


def test_burnt_time_and_held_memory_are_seen(run: Begin) -> None:
    idle = usage_of(run("import sys; " + WAIT)).read()[WHERE]
    busy = usage_of(run(BURN + HOLD + WAIT)).read()[WHERE]
    assert 0.25 <= busy[0] - idle[0] <= 1.0
    assert 35e6 <= busy[1] - idle[1] <= 60e6


def test_children_count_with_their_parent(run: Begin) -> None:
    cpu, memory = usage_of(run(parent_of(BURN + HOLD + WAIT))).read()[WHERE]
    assert cpu >= 0.3
    assert memory >= 50e6


def test_time_of_a_child_stays_when_it_ends_whether_or_not_its_parent_waits(run: Begin) -> None:
    end = "child.communicate(); "
    forget = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); child.stdin.close(); "
    for act in (end, forget):
        step = "print('one', flush=True); sys.stdin.readline(); " + act + "print('two', flush=True); sys.stdin.read()"
        parent = run(parent_of(BURN + WAIT, step))
        usage = usage_of(parent)
        before = usage.read()[WHERE][0]
        assert before >= 0.3
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(b"go\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"two\n"
        time.sleep(0.2)
        usage.look_due = 0.0
        assert usage.read()[WHERE][0] >= before


def test_new_child_is_seen_at_the_next_look(run: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "LOOK_EVERY", 0.0)
    wait = "print('one', flush=True); sys.stdin.readline(); "
    later = parent_of(BURN + WAIT).replace("import subprocess, sys\n", f"import subprocess, sys\n{wait}\n")
    parent = run(later)
    usage = usage_of(parent)
    before = usage.read()[WHERE][0]
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(b"go\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == b"ready\n"
    assert usage.read()[WHERE][0] >= before + 0.25


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"alive": False}, id="not alive"),
        pytest.param({"pid": None}, id="no process of ours"),
        pytest.param({"endpoint": None}, id="no endpoint"),
        pytest.param({"pid": 2**22 + 1}, id="gone"),
    ],
)
def test_what_is_no_living_process_is_not_seen(other: dict[str, object]) -> None:
    one = replace(instance(os.getpid()), **other)  # type: ignore[arg-type]
    assert Usage(lambda: [one]).read() == {}


def test_pid_that_somebody_else_has_by_now_is_not_seen(run: Begin) -> None:
    """The same instance under another start time is another process."""
    usage = Usage(lambda: [instance(os.getpid())])
    assert usage.read()
    usage.accounts[WHERE].pid = run("import sys; " + WAIT).pid
    for _ in range(2):
        assert usage.read() == {}
        usage.look_due = 0.0


def test_zombie_is_not_seen(run: Begin) -> None:
    child = run("import sys; " + WAIT)
    usage = usage_of(child)
    assert usage.read()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert usage.read() == {}


def test_new_process_at_an_address_begins_its_own_account(run: Begin) -> None:
    found = [instance(run(BURN + "import sys; " + WAIT).pid, "old")]
    usage = Usage(lambda: found)
    assert usage.read()[WHERE][0] >= 0.3
    found[:] = [instance(run("import sys; " + WAIT).pid, "new")]
    usage.look_due = 0.0
    assert usage.read()[WHERE][0] < 0.3
    assert len(usage.accounts) == 1


def test_child_pid_that_belongs_to_another_parent_by_now_is_not_counted(run: Begin) -> None:
    mine = run("import sys; " + WAIT)
    usage = usage_of(mine)
    alone = usage.read()[WHERE]
    usage.children = {mine.pid: [run(HOLD + "import sys; " + WAIT).pid]}
    assert usage.read()[WHERE][1] < alone[1] + 10e6


def test_without_proc_nothing_is_seen_and_that_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    usage = Usage(lambda: [instance(os.getpid())], tmp_path)
    assert [usage.read() for _ in range(3)] == [{}, {}, {}]
    assert [record.message for record in caplog.records] == ["no /proc here: processor time and memory are not seen"]


def test_name_with_spaces_and_brackets_is_no_trap(tmp_path: Path) -> None:
    words = ["S", "7", *["0"] * 9, "1", "2", "3", "4", *["0"] * 4, "99", "0", "5"]
    for name in ("self", "12"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stat").write_text(f"12 (a) b) R 1 (c) {' '.join(words)}\n")
    assert Usage(lambda: [instance(12)], tmp_path).read() == {WHERE: (10 / proc.TICKS, 5 * proc.PAGE)}
