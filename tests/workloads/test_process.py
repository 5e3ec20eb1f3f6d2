"""A service as real local processes: two slots, readiness, promotion without a restart, nothing left over."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from onlyvips_release.clients.log_pump import LOG_BEGINS, output_of
from onlyvips_release.clients.process import birth
from onlyvips_release.clock import SystemClock
from onlyvips_release.core.model import Arm, Instance
from onlyvips_release.core.plan import Health, Revision, Service
from onlyvips_release.errors import NotReady, Refused
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.targets.embedded_plan import Process
from onlyvips_release.workloads.process import ProcessWorkload

pytestmark = pytest.mark.slow

SERVER = """
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *a): pass
print("up", sys.argv[2], os.environ.get("SECRET", "-"), os.environ.get("UNTOLD", "-"), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def revision(name: str, code: str = SERVER) -> Revision:
    """A tiny server of this revision."""
    return Revision(name, ("{python}", "-c", code, "{port}", name))


def two_ports() -> tuple[int, int]:
    """Two free ones."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture
def workload(tmp_path: Path) -> Iterator[ProcessWorkload]:
    """A routed service; all its processes end with the test."""
    lease = FileLease(tmp_path / "live", SystemClock())
    lease.acquire("test")
    service = Service(
        "web",
        canary=revision("v2"),
        stable=revision("v1"),
        health=Health("/", timedelta(seconds=10)),
        runs=Process(two_ports(), timedelta(seconds=2), ("SECRET",)),
    )
    found = ProcessWorkload(service, Layout.at(tmp_path), lease, SystemClock(), {"SECRET": "s3cret", "UNTOLD": "x"})
    yield found
    found.stop_all()
    lease.release()


def install(workload: ProcessWorkload) -> None:
    """v1 is stable."""
    workload.start_canary(revision("v1"))
    workload.promote(revision("v1"))


def test_promotion_changes_roles_and_restarts_nothing(workload: ProcessWorkload) -> None:
    install(workload)
    (canary,) = workload.start_canary(revision("v2"))
    stable = next(i for i in workload.inspect() if i.arm is Arm.STABLE)
    assert canary.endpoint != stable.endpoint
    (promoted,) = workload.promote(revision("v2"))
    assert (promoted.pid, promoted.identity, promoted.arm) == (canary.pid, canary.identity, Arm.STABLE)
    workload.remove_canary(keep_idle="v1")
    assert {i.revision: i.alive for i in workload.inspect()} == {"v1": True, "v2": True}
    workload.remove_canary()
    assert [i.revision for i in workload.inspect()] == ["v2"]
    assert not psutil.pid_exists(stable.pid or 0)


def test_commands_may_be_repeated(workload: ProcessWorkload) -> None:
    install(workload)
    assert workload.start_canary(revision("v2")) == workload.start_canary(revision("v2"))
    assert workload.promote(revision("v2")) == workload.promote(revision("v2"))
    workload.remove_canary()
    workload.remove_canary()
    assert len(workload.inspect()) == 1


def test_displaced_stable_is_the_quick_way_back(workload: ProcessWorkload) -> None:
    install(workload)
    old = next(i for i in workload.inspect())
    workload.start_canary(revision("v2"))
    workload.promote(revision("v2"))
    (back,) = workload.start_canary(revision("v1"))
    assert (back.pid, back.arm) == (old.pid, Arm.CANARY)


def test_dead_stable_is_started_again_and_is_another_instance(workload: ProcessWorkload) -> None:
    install(workload)
    before = workload.inspect()[0]
    os.kill(before.pid or 0, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while workload.inspect()[0].alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workload.inspect()[0].note == "exited"
    assert workload.revive() == ("web v1",)
    after = workload.wait_ready()[0]
    assert after.alive
    assert after.identity != before.identity
    assert workload.revive() == ()


def kill(workload: ProcessWorkload, name: str) -> Instance:
    """The instance of this revision as it was before it died."""
    before = next(i for i in workload.inspect() if i.revision == name)
    os.kill(before.pid or 0, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(i.alive for i in workload.inspect() if i.identity == before.identity) and time.monotonic() < deadline:
        time.sleep(0.01)
    return before


def test_dead_canary_is_started_again_only_when_all_users_are_on_it_and_counts_as_restarted(
    workload: ProcessWorkload,
) -> None:
    install(workload)
    workload.start_canary(revision("v2"), 10)
    kill(workload, "v2")
    assert workload.revive() == ()
    workload.start_canary(revision("v2"), 10)
    workload.start_canary(revision("v2"), 100)
    for name in ("v1", "v2"):
        kill(workload, name)
    assert workload.revive() == ("web v2", "web v1"), "what users are on first"
    assert {i.revision: (i.arm, i.restarts, i.alive) for i in workload.inspect()} == {
        "v1": (Arm.STABLE, 1, True),
        "v2": (Arm.CANARY, 1, True),
    }
    workload.wait_ready()


def test_revision_that_users_are_on_is_started_again_while_the_old_one_is_promoted_again(
    workload: ProcessWorkload,
) -> None:
    install(workload)
    workload.start_canary(revision("v2"), 100)
    workload.promote(revision("v2"))
    workload.promote(revision("v1"))
    kill(workload, "v2")
    assert workload.revive() == ("web v2",)
    workload.promote(revision("v2"))
    workload.remove_canary("v1")
    kill(workload, "v1")
    assert workload.revive() == (), "an idle instance is no user's"
    workload.promote(revision("v1"))
    kill(workload, "v2")
    assert workload.revive() == (), "users left the canary track when it was removed"


@pytest.mark.parametrize("removed", [False, True], ids=["dead", "gone"])
def test_promotion_starts_what_does_not_live_and_leaves_the_track_of_the_users_alone(
    workload: ProcessWorkload, removed: bool
) -> None:
    install(workload)
    (serving,) = workload.start_canary(revision("v2"), 100)
    if removed:
        workload.promote(revision("v2"))
        workload.remove_canary()
    else:
        kill(workload, "v1")
    (old,) = workload.promote(revision("v1"))
    assert (old.arm, old.alive, old.revision) == (Arm.STABLE, True, "v1")
    assert serving.identity in {i.identity for i in workload.inspect() if i.alive}
    assert len(workload.inspect()) == 2


def test_stopped_service_remembers_what_was_promoted_and_is_started_with_it(workload: ProcessWorkload) -> None:
    install(workload)
    workload.start_canary(revision("v2"))
    workload.promote(revision("v2"))
    workload.stop_all()
    assert workload.inspect() == ()
    assert workload.stable() == revision("v2")
    assert workload.revive() == ()
    (again,) = workload.promote(revision("v2"))
    assert (again.revision, again.restarts) == ("v2", 0)
    workload.remove()
    assert (workload.stable(), workload.revive(), workload.inspect()) == (None, (), ())


def test_record_of_an_older_version_is_understood(workload: ProcessWorkload) -> None:
    install(workload)
    workload.start_canary(revision("v2"))
    workload.promote(revision("v2"))
    record = json.loads(workload.record.read_text())
    for slot in record.values():
        slot["part"] = slot["part"].replace("idle", "spare")
        del slot["weight"], slot["restarts"]
    assert "spare" in json.dumps(record)
    workload.record.write_text(json.dumps(record))
    assert {slot.revision.name: slot.part for slot in workload.slots().values()} == {"v1": "idle", "v2": "stable"}
    (back,) = workload.start_canary(revision("v1"))
    assert back.arm is Arm.CANARY


def test_wrapper_of_a_service_ends_with_the_service(workload: ProcessWorkload) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SERVER!r}, *sys.argv[1:]])"
    (wrapped,) = workload.start_canary(revision("v1", code))
    family = {wrapped.pid, *(child.pid for child in psutil.Process(wrapped.pid).children(recursive=True))}
    assert len(family) == 2
    workload.remove_canary()
    assert not [pid for pid in family if pid and birth(pid)]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param("import sys; print('boom'); sys.exit(3)", "exited before it became ready.*boom", id="exits"),
        pytest.param("import time; time.sleep(60)", "was not ready in 1 s", id="never listens"),
    ],
)
def test_canary_that_never_becomes_ready_is_reported_with_the_end_of_its_log(
    workload: ProcessWorkload, code: str, told: str
) -> None:
    workload.service = Service(
        "web", canary=revision("v2"), health=Health("/", timedelta(seconds=1)), runs=workload.service.runs
    )
    with pytest.raises(NotReady, match=told):
        workload.start_canary(revision("v2", code))


def test_port_of_somebody_else_is_named_before_anything_is_started(workload: ProcessWorkload) -> None:
    with (
        socket.create_server(("127.0.0.1", workload.process.ports[0])),
        pytest.raises(NotReady, match=rf"port {workload.process.ports[0]} is taken by pid {os.getpid()}"),
    ):
        workload.start_canary(revision("v1"))
    assert workload.inspect() == ()


def test_process_sees_its_named_secret_and_nothing_else_of_our_environment(workload: ProcessWorkload) -> None:
    install(workload)
    log = Path(workload.inspect()[0].log)
    deadline = time.monotonic() + 5
    while not output_of(str(log)).strip() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert output_of(str(log)).split() == ["up", "v1", "s3cret", "-"]
    assert "s3cret" not in workload.record.read_text()


def test_output_of_a_process_begins_below_that_of_its_forerunner(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert output_of(str(log)) == ""
    log.write_text(f"{LOG_BEGINS}\nhandled update 310\nTraceback\n{LOG_BEGINS}\nhandled update 1\n")
    assert output_of(str(log)) == "handled update 1\n"
    log.write_text("x" * 300_000 + "end")
    assert len(output_of(str(log))) == 256 * 1024


def test_missing_secret_is_named(workload: ProcessWorkload) -> None:
    workload.variables = {}
    with pytest.raises(Refused, match="SECRET is not set"):
        workload.start_canary(revision("v1"))


def test_service_without_traffic_is_replaced_stop_first(tmp_path: Path) -> None:
    lease = FileLease(tmp_path / "live", SystemClock())
    lease.acquire("test")
    code = "import time\nwhile True: time.sleep(1)"
    old, new = (Revision(name, (sys.executable, "-c", code, name)) for name in ("v1", "v2"))
    service = Service("bot", canary=new, stable=old, routed=False, runs=Process(drain=timedelta(seconds=2)))
    bot = ProcessWorkload(service, Layout.at(tmp_path), lease, SystemClock(), {})
    (first,) = bot.promote(old)
    (second,) = bot.promote(new)
    assert bot.promote(new) == (second,)
    assert not psutil.pid_exists(first.pid or 0)
    assert [i.revision for i in bot.inspect()] == ["v2"]
    bot.stop_all()
    lease.release()


BREAKS = SERVER.replace('print("up"', 'os.path.exists(os.environ["SECRET"]) and sys.exit(3); print("up"')


@pytest.mark.parametrize("routed", [True, False], ids=["routed", "without traffic"])
def test_stable_that_cannot_start_after_it_was_stopped_stays_on_record(tmp_path: Path, routed: bool) -> None:
    lease = FileLease(tmp_path / "live", SystemClock())
    lease.acquire("test")
    broken = tmp_path / "broken"
    command = ("{python}", "-c", BREAKS, "{port}", "v1") if routed else ("{python}", "-c", BREAKS, "0", "v1")
    v1 = Revision("v1", command)
    service = Service(
        "web",
        canary=revision("v2"),
        stable=v1,
        routed=routed,
        health=Health("/", timedelta(seconds=10)) if routed else None,
        runs=Process(two_ports() if routed else (), timedelta(seconds=2), ("SECRET",)),
    )
    variables = {"SECRET": str(broken)}
    workload = ProcessWorkload(service, Layout.at(tmp_path), lease, SystemClock(), variables)
    workload.promote(v1)
    workload.stop_all()
    broken.touch()
    with pytest.raises(NotReady, match="exited"):
        workload.promote(v1)
    assert workload.stable() == v1
    workload.stop_all()
    variables.clear()
    with pytest.raises(Refused, match="SECRET is not set"):
        workload.promote(v1)
    assert workload.stable() == v1
    lease.release()
