"""One way to start a process and one to end it: the whole tree goes, and nobody else's process is ever touched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onlyvips_release.clients.process import Process, end, family, listens, logged, spawn, taken

SLEEP = "import time; time.sleep(300)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); {SLEEP}"
POLITE = f"print('x', flush=True); {SLEEP}"


def first_line(code: str) -> tuple[Process, bytes]:
    """Python code in a session of its own, and what it printed first."""
    child = spawn([sys.executable, "-c", code], env=None, stdout=subprocess.PIPE, stderr=None)
    assert child.stdout is not None
    with child.stdout as output:
        line = output.readline()
    assert line
    return Process.of(child.pid), line


def started(code: str) -> Process:
    """The same, when only the process matters."""
    return first_line(code)[0]


def parent_of(code: str, *, session: bool = False) -> str:
    """Code that starts `code` and prints what it prints first."""
    more = f"stdout=subprocess.PIPE, start_new_session={session}"
    start = f"child = subprocess.Popen([sys.executable, '-c', {code!r}], {more})"
    return f"import subprocess, sys\n{start}\nprint(child.stdout.readline().decode().strip(), flush=True)\n{SLEEP}"


def test_default_is_no_process() -> None:
    assert not Process().alive()
    assert end(Process())


@pytest.mark.parametrize("session", [False, True], ids=["in its session", "in a session of its own"])
@pytest.mark.parametrize("code", [POLITE, STUBBORN], ids=["polite", "stubborn"])
@pytest.mark.parametrize("whole", [True, False], ids=["waited for", "not waited for"])
def test_child_ends_with_its_parent(code: str, session: bool, whole: bool) -> None:
    parent = started(parent_of(code, session=session))
    (child,) = family(parent) - {parent}
    assert end(parent, [(signal.SIGTERM, 0.3)], whole=whole)
    assert not parent.alive()
    assert not child.alive()


def test_child_of_a_parent_that_ends_at_once_may_use_the_time_unless_it_is_not_waited_for(tmp_path: Path) -> None:
    for whole in (True, False):
        done = tmp_path / f"done {whole}"
        drain = f"lambda *a: (time.sleep(0.5), open({str(done)!r}, 'w'), sys.exit())"
        code = f"import signal, sys, time; signal.signal(signal.SIGTERM, {drain}); {POLITE}"
        assert end(started(parent_of(code)), [(signal.SIGTERM, 10)], whole=whole)
        assert done.exists() is whole


def test_what_an_ended_process_left_in_its_session_is_killed() -> None:
    parent = started(parent_of(STUBBORN))
    (child,) = family(parent) - {parent}
    os.kill(parent.pid, signal.SIGKILL)
    while parent.alive():
        time.sleep(0.01)
    assert end(parent)
    assert not child.alive()


def test_process_that_has_the_pid_by_now_is_left_alone() -> None:
    other = started(POLITE)
    assert end(Process(other.pid, other.started + 1), [(signal.SIGTERM, 0.1)])
    assert other.alive()
    end(other)


def test_signals_come_in_order_and_each_only_while_it_lives() -> None:
    begun = time.monotonic()
    assert end(started(STUBBORN), [(0, 0.2), (signal.SIGTERM, 0.2)])
    assert 0.4 <= time.monotonic() - begun < 5
    polite = started(POLITE)
    begun = time.monotonic()
    assert end(polite, [(signal.SIGTERM, 30), (signal.SIGINT, 30)])
    assert time.monotonic() - begun < 5


def test_zombie_of_somebody_else_is_gone() -> None:
    parent = started(parent_of(POLITE))
    (child,) = family(parent) - {parent}
    assert end(child)
    assert Path(f"/proc/{child.pid}").exists(), "its parent has not waited for it"
    end(parent)


def test_started_process_has_no_input_no_terminal_and_the_environment_that_it_is_given(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read(), dict(os.environ))"
    with (tmp_path / "out").open("wb") as out:
        child = spawn([sys.executable, "-I", "-c", code], env={"LC_ALL": "C"}, stdout=out)
    assert child.wait(10) == 0
    assert (tmp_path / "out").read_text() == "True  {'LC_ALL': 'C'}\n"


def test_log_gets_what_a_process_writes_below_the_line(tmp_path: Path) -> None:
    with logged(tmp_path / "x.log", "=== begins ===") as output:
        spawn([sys.executable, "-c", "print('hello')"], env=None, stdout=output)
    wait(lambda: (tmp_path / "x.log").exists() and "hello" in (tmp_path / "x.log").read_text())
    assert (tmp_path / "x.log").read_text() == "=== begins ===\nhello\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_port_is_taken_by_who_listens_on_it_and_free_again_after(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert taken(host, port) == f"port {port} is taken by pid {os.getpid()}"
    assert taken(host, port) == ""


def test_port_of_a_child_is_its_parents_and_nobody_elses() -> None:
    listen = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    (parent, line), other = first_line(parent_of(f"{listen}\n{SLEEP}")), started(POLITE)
    port = int(line)
    assert listens(parent, port)
    assert not listens(parent, port + 1)
    assert not listens(other, port)
    for process in (parent, other):
        end(process)


def wait(ready: Callable[[], bool]) -> None:
    """At most ten seconds."""
    until = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)
