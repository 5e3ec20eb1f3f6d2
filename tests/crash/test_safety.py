"""Users are on the safe side whatever happens to the controller: real Envoy, real signals, users' requests."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from onlyvips_release.errors import Interfered
from tests.crash.cells import WAYS, strike
from tests.testing.crash_rig import LEASE, CrashRig, Users, kill
from tests.testing.platform_rig import mine

pytestmark = pytest.mark.slow
APPROVED: dict[str, Any] = {"steps": [{"weight": 10, "bake": "400ms", "approve": True}]}
LONG: dict[str, Any] = {"steps": [{"weight": 10, "bake": "60s"}]}


@pytest.fixture(scope="module")
def rig() -> Iterator[CrashRig]:
    """One platform for all: each test leaves it with a stable and no release."""
    with CrashRig() as made:
        made.up()
        yield made


@pytest.fixture
def users(rig: CrashRig) -> Iterator[Users]:
    """They ask all the time."""
    found = Users(rig.ports["router"])
    found.start()
    yield found
    found.stop()


def fresh(rig: CrashRig) -> str:
    """A revision that was never released."""
    rig.number += 1
    return f"w{rig.number}"


def eventually(true: Any, within: float) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# --- the controller -------------------------------------------------------------------------------------------------


def test_stopped_between_its_fence_check_and_its_write_it_never_puts_another_weight_in_force(
    rig: CrashRig, users: Users
) -> None:
    """SIGSTOP with the prepared file of 50 % at hand, the guardian acts, SIGCONT: the rename finds no source."""
    plan = rig.quick(fresh(rig), steps=[{"weight": 10, "bake": "400ms"}, {"weight": 50, "bake": "400ms"}])
    with rig.controller(plan, "rename 50", "stop") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reached\n"
        assert eventually(lambda: rig.record()["what"] == "guardian" and rig.record()["released"], 3 * LEASE + 2)
        woken = time.monotonic()
        child.send_signal(signal.SIGCONT)
        assert child.wait(20) == 3
    time.sleep(1)
    assert users.last_on_canary(woken) == 0
    assert users.failed() == 0
    assert rig.in_force() == 0
    assert rig.cli("recover").returncode == 3


def test_blocked_in_a_socket_read_with_a_living_heartbeat_it_loses_its_users_to_the_guardian(
    rig: CrashRig, users: Users
) -> None:
    with rig.controller(rig.quick(fresh(rig)), "10/before source.sample", "hang") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reached\n"
        hung = time.monotonic()
        counter = rig.record()["counter"]
        assert eventually(lambda: rig.record()["what"] == "guardian", 2 + LEASE + 1.5)  # its deadline is 2 s here
        assert child.poll() is None
        assert rig.record()["counter"] != counter or counter == 1
        assert eventually(lambda: rig.record()["released"], 2)
        assert users.last_on_canary(hung) <= 2 + LEASE + 2
    assert users.failed() == 0
    assert rig.cli("recover").returncode == 3


@pytest.mark.parametrize("how", ["tree", "group", "hangup"])
def test_guardian_outlives_what_tears_down_the_controllers_tree(rig: CrashRig, users: Users, how: str) -> None:
    path = rig.quick(fresh(rig), **LONG)
    command = [sys.executable, "-m", "tests.crash.controller", str(path), "10/before clock.sleep", "tell"]
    with subprocess.Popen(command, env=rig.env, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reached\n"
        tree = [child.pid, *(p.pid for p in psutil.Process(child.pid).children(recursive=True))]
        assert rig.guardian() not in tree
        if how == "tree":
            for pid in tree:
                kill(pid)
        else:
            os.killpg(child.pid, signal.SIGHUP if how == "hangup" else signal.SIGKILL)
        dead = time.monotonic()
        child.wait(20)
    assert eventually(lambda: rig.in_force() == 0, LEASE + 1)
    time.sleep(0.3)
    assert users.last_on_canary(dead) <= LEASE + 1
    assert users.failed() == 0
    assert rig.cli("recover").returncode in (0, 3)


def test_full_disk_puts_users_on_stable_by_one_rename_and_recover_ends_it_when_there_is_space() -> None:
    """The state folder is a tmpfs without one free page while a release is at 10 %."""
    with CrashRig() as rig:
        if os.geteuid() != 0:
            pytest.skip("needs the right to mount a tmpfs: run as root")
        rig.state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(rig.state)], check=True)
        try:
            rig.up()
            users = Users(rig.ports["router"])
            users.start()
            with rig.controller(rig.quick("v2", **LONG), "10/before clock.sleep", "stop") as child:
                assert child.stdout is not None
                assert child.stdout.readline() == "reached\n"
                fill(rig.state / "ballast")
                child.send_signal(signal.SIGCONT)
                child.wait(30)
                full = time.monotonic()
            assert rig.in_force() == 0
            time.sleep(0.5)
            assert users.last_on_canary(full) < 0.5
            (rig.state / "ballast").unlink()
            assert rig.cli("recover").returncode == 3
            users.stop()
            assert users.failed() == 0
            assert rig.settled() == {"stable v1": 200}
            rig.platform().down()
        finally:
            for left in mine(rig.folder):
                left.kill()
            subprocess.run(["umount", "-l", str(rig.state)], check=True)
            rig.state.rmdir()


def fill(path: Path) -> None:
    """Until no byte fits any more."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["exec", "background job", "terminal"])
def test_signal_takes_users_back_however_the_command_was_started(rig: CrashRig, users: Users, how: str) -> None:
    path = rig.quick(fresh(rig), **LONG)
    line = f"{sys.executable} -m tests.crash.controller {path} '10/before clock.sleep' tell"
    shell = {"exec": f"exec {line}", "background job": f"{line} & echo $!; wait $!", "terminal": f"exec {line}"}[how]
    master, slave = pty.openpty()
    command = [*(["setsid", "--ctty"] if how == "terminal" else []), "bash", "-c", shell]
    with subprocess.Popen(command, env=rig.env, stdin=slave, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline()) if how == "background job" else child.pid
        assert child.stdout.readline() == "reached\n"
        if how == "terminal":
            os.write(master, b"\x03")
        else:
            os.kill(pid, signal.SIGINT)
        assert child.wait(15) == 130
    os.close(master)
    os.close(slave)
    assert users.failed() == 0
    assert rig.settled() == {f"stable {rig.stable}": 200}


@pytest.mark.parametrize("how", ["with exec", "without exec"])
def test_teardown_as_ci_does_it_leaves_users_on_stable(rig: CrashRig, users: Users, how: str) -> None:
    """SIGINT, 7.5 s, SIGTERM, 2.5 s, SIGKILL to the whole tree; without exec only the shell gets the first two."""
    path = rig.quick(fresh(rig), **LONG)
    line = f"{sys.executable} -m tests.crash.controller {path} '10/before clock.sleep' tell"
    shell = f"exec {line}" if how == "with exec" else f"{line}; true"
    with subprocess.Popen(["bash", "-c", shell], env=rig.env, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"reached\n"
        shell_process = psutil.Process(child.pid)
        tree = [*shell_process.children(recursive=True), shell_process]
        for number, pause in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)):
            child.send_signal(number)
            try:
                child.wait(pause)
            except subprocess.TimeoutExpired:
                continue
            break
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert child.wait(5) == 130 or how == "without exec"
    gone = time.monotonic()
    assert eventually(lambda: rig.in_force() == 0, LEASE + 1)
    time.sleep(0.3)
    assert users.last_on_canary(gone) <= LEASE + 1
    assert users.failed() == 0
    assert rig.cli("recover").returncode == (0 if how == "with exec" else 3)


# --- people ---------------------------------------------------------------------------------------------------------


def test_paused_release_costs_nobody_and_goes_on_when_a_person_says_so(rig: CrashRig, users: Users) -> None:
    """`run --until paused` = 5 at weight 0; recover leaves it alone (5); status tells; a reason is kept; resume = 0."""
    name = fresh(rig)
    path = rig.quick(name, **APPROVED)
    done = rig.cli("run", str(path), "--until", "paused")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "resume" in done.stdout.splitlines()[-1]
    assert rig.in_force() == 0
    assert f"miniapp {name}" in rig.processes()
    assert rig.guardian() == 0
    assert rig.cli("recover", str(path)).returncode == 5
    assert rig.cli("run", str(path)).returncode == 6
    assert rig.cli("pause", str(path)).returncode == 0
    done = rig.cli("resume", str(path), "--reason", "looked at the graphs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "looked at the graphs" in done.stdout
    rig.stable = name
    assert rig.settled() == {f"stable {name}": 200}
    assert users.failed() == 0
    assert rig.cli("resume", str(path)).returncode == 6


def test_abort_is_heard_by_the_running_release_waits_for_its_end_and_may_be_repeated(rig: CrashRig) -> None:
    path = rig.quick(fresh(rig), **LONG)
    with rig.controller(path, "10/before clock.sleep", "tell") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reached\n"
        other = rig.cli("recover", str(path))
        assert other.returncode == 7, other.stdout + other.stderr
        done = rig.cli("abort", str(path), "--reason", "no more")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "no more" in child.stdout.read()
        assert child.wait(10) == 3
    assert rig.cli("abort", str(path)).returncode == 0
    assert rig.settled() == {f"stable {rig.stable}": 200}


def test_rollback_brings_back_what_served_before_and_to_a_release_what_that_one_promoted(
    rig: CrashRig, users: Users
) -> None:
    names = [rig.stable, fresh(rig), fresh(rig)]
    releases = []
    for name in names[1:]:
        with rig.controller(rig.quick(name), "never", "tell") as child:
            assert child.wait(30) == 0
        rig.stable = name
        releases.append(sorted(rig.state.glob("e2e/releases/r*"))[-1].name)
    path = str(rig.quick("x"))
    for words, wanted in (((), names[1]), ((), names[1]), (("--to", releases[1]), names[2])):
        done = rig.cli("rollback", path, *words, "--reason", "complaints")
        assert done.returncode == 0, done.stdout + done.stderr
        rig.stable = wanted
        assert rig.settled() == {f"stable {wanted}": 200}
        assert [name for name in rig.processes() if name != "pump"] == ["envoy", f"miniapp {wanted}"]
    assert rig.cli("rollback", path, "--to", "r9999").returncode == 6
    assert users.failed() == 0


@pytest.mark.slice
@pytest.mark.parametrize(
    ("point", "weight"), [("10/after journal.append Committed", 100), ("10/before source.sample", 0)]
)
def test_up_after_a_reboot_serves_an_open_release_on_its_safe_side_and_decides_nothing(
    rig: CrashRig, users: Users, point: str, weight: int
) -> None:
    assert users.is_alive()
    with rig.controller(path := rig.quick(fresh(rig)), point, "stop") as child:
        assert child.stdout
        assert child.stdout.readline() == "reached\n"
        strike(rig, child, WAYS["all"])
    done = rig.cli("up", str(path))
    assert done.returncode == 0, done.stderr
    assert "is not finished" in done.stdout + done.stderr
    assert rig.in_force() == weight
    assert "" not in rig.settled()
    assert rig.cli("recover").returncode in (0, 1, 3)
    assert {name.split()[0] for name in rig.settled()} == {"stable"}
    assert rig.in_force() == 0
    rig.stable = rig.revisions()["miniapp"]


def test_freeze_blocks_new_releases_with_its_reason_and_nothing_else(rig: CrashRig) -> None:
    path = str(rig.quick(fresh(rig)))
    assert rig.cli("freeze", path, "--reason", "Black Friday").returncode == 0
    done = rig.cli("run", path)
    assert done.returncode == 6
    assert "Black Friday" in done.stderr
    assert "FROZEN: Black Friday" in rig.cli("status").stdout
    assert rig.cli("recover", path).returncode == 0
    assert rig.cli("unfreeze", path).returncode == 0
    assert not (rig.state / "e2e" / "freeze").exists()


def test_live_status_is_measured_and_what_is_done_by_hand_works_without_the_tool(rig: CrashRig, users: Users) -> None:
    """Controller and guardian are killed at 10 %; a person runs the commands that exit 4 prints."""
    with rig.controller(rig.quick(fresh(rig)), "10/before clock.sleep", "stop") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reached\n"
        kill(rig.guardian())
        kill(child.pid)
    (row,) = json.loads(rig.cli("status", "--live", "--json").stdout)
    assert row["live"]["weight_in_force"] == 10
    assert row["live"]["answered"]["miniapp stable"] > 10
    assert row["live"]["answered"]["miniapp canary"] > 0
    platform = rig.platform()
    commands = platform.target.router().by_hand(0).splitlines()
    subprocess.run(["sh", "-c", commands[0]], check=True)
    assert eventually(lambda: rig.in_force() == 0, 2)
    assert rig.settled() == {f"stable {rig.stable}": 200}
    (row,) = json.loads(rig.cli("status", "--live", "--json").stdout)
    assert (row["weight"], row["live"]["weight_in_force"]) == (10, 0)
    kill(rig.envoy())
    assert "does not answer" in rig.cli("status", "--live").stdout
    started = subprocess.Popen(["sh", "-c", commands[1].replace("nohup ", "exec ").replace(" &", "")])
    assert eventually(lambda: users.one()[0] == "stable", 5)
    kill(started.pid)
    started.wait()
    assert rig.cli("recover").returncode == 3
    assert rig.settled() == {f"stable {rig.stable}": 200}


def test_edit_of_the_routes_under_our_own_version_is_noticed(rig: CrashRig) -> None:
    path = rig.state / "e2e" / "live" / "router" / "rds.json"
    before = path.read_bytes()
    (path.parent / "x").write_bytes(before.replace(b'"15s"', b'"14s"'))
    (path.parent / "x").rename(path)
    time.sleep(0.2)
    with pytest.raises(Interfered, match="edited"):
        rig.platform().target.router().read_weight()
    (path.parent / "x").write_bytes(before)
    (path.parent / "x").rename(path)
    time.sleep(0.2)
    assert rig.platform().target.router().read_weight() == 0


# --- what it costs --------------------------------------------------------------------------------------------------


def test_recover_with_nothing_to_do_is_exit_0_in_150_ms_of_cpu(rig: CrashRig) -> None:
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert rig.cli("recover").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) <= 0.15, took


@pytest.mark.slice
def test_after_ten_releases_as_many_processes_sockets_descriptors_and_files_as_before() -> None:
    """One release warms up; in ten more every second one is aborted."""
    with CrashRig(("miniapp",)) as rig:
        rig.up()
        users, counts = Users(rig.ports["router"]), []
        users.start()
        for number in range(11):
            point = "abort/before clock.sleep" if number % 2 else "never"
            with rig.controller(rig.quick(f"v{number + 2}"), point, "tell") as child:
                assert child.wait(60) == (3 if number % 2 else 0)
            rig.stable = rig.stable if number % 2 else f"v{number + 2}"
            if number in (0, 10):
                assert eventually(lambda: rig.guardian() == 0, 3)
                counts.append(left(rig))
        users.stop()
        assert counts[0] == counts[1]
        assert users.failed() == 0
        shutil.rmtree(rig.reports, ignore_errors=True)


def left(rig: CrashRig) -> dict[str, Any]:
    """What exists because of this platform."""
    envoy = psutil.Process(rig.envoy())
    live = rig.state / "e2e" / "live"
    return {
        "processes": [name.split()[0] for name in rig.processes()],
        "listening": len([c for c in envoy.net_connections() if c.status == psutil.CONN_LISTEN]),
        "descriptors": len([f for f in os.listdir(f"/proc/{envoy.pid}/fd") if not is_socket(envoy.pid, f)]),
        "files": sorted(str(path.relative_to(live)) for path in live.rglob("*")),
        "temporary": sorted(
            path.name for path in Path("/tmp").glob(f"ov{os.getuid()}-*") if rig.folder.name in str(path)
        ),
    }


def is_socket(pid: int, descriptor: str) -> bool:
    """Users' connections come and go."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}").startswith("socket:")
    except FileNotFoundError:
        return True
