"""`doctor` on a platform that serves, and with one thing wrong at a time."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onlyvips_release.cli import doctor
from onlyvips_release.core.target import guarded
from onlyvips_release.environment import Environment
from onlyvips_release.targets import embedded_doctor
from onlyvips_release.targets.embedded import Embedded
from tests.testing.platform_rig import ROOT, Rig

pytestmark = pytest.mark.slow
Plan = dict[str, Any]
SAMPLE = ROOT / "tests" / "samples" / "journals" / "first.jsonl"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Two services that serve, one without HTTP."""
    with Rig(("miniapp", "flirt-bot")) as found:
        found.up()
        yield found


def problems(rig: Rig, plan: Plan, **env: str) -> dict[str, str]:
    """Names and texts of the problems."""
    known = {name: value for name, value in {**rig.env, **env}.items() if value}
    found = doctor.examine(rig.write(plan, "doctor.yaml"), Environment(rig.state, rig.reports, known))
    return {finding.name: finding.text for finding in found if finding.state == "problem"}


def test_platform_that_serves_has_no_problem_and_nothing_is_touched(rig: Rig) -> None:
    before = {path: path.stat().st_mtime_ns for path in (rig.state / "e2e" / "live").rglob("*")}
    path = rig.write(rig.plan("v2"), "doctor.yaml")
    done = rig.cli("doctor", str(path), "--json")
    assert done.returncode == 0, done.stdout
    found = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert {entry["state"] for entry in found.values()} <= {"ok", "note"}
    assert found["suite smoke"]["text"] == "1 normal"
    assert found["router"]["text"] == "weight 0 %"
    assert {path: path.stat().st_mtime_ns for path in (rig.state / "e2e" / "live").rglob("*")} == before


def with_program(plan: Plan, _: Rig) -> None:
    """No such program."""
    plan["services"]["miniapp"]["canary"]["command"][0] = "no-such-program"


def with_same_revision(plan: Plan, _: Rig) -> None:
    """The canary is what runs."""
    plan["services"]["miniapp"]["canary"] = plan["services"]["miniapp"]["stable"]


def with_broken_suite(plan: Plan, rig: Rig) -> None:
    """A suite that cannot be imported."""
    (rig.folder / "test_broken.py").write_text("import no_such_module\n")
    plan["checks"]["smoke"]["path"] = str(rig.folder / "test_broken.py")


def with_empty_suite(plan: Plan, rig: Rig) -> None:
    """A suite without checks."""
    (rig.folder / "test_empty.py").write_text("")
    plan["checks"]["canary"]["path"] = str(rig.folder / "test_empty.py")


def with_nonsense(plan: Plan, _: Rig) -> None:
    """A plan that cannot be used."""
    plan["steps"] = [{"weight": 200, "bake": "1s"}]


def test_problem_does_not_hide_those_after_it(rig: Rig) -> None:
    plan = rig.plan("v2")
    for spoil in (with_program, with_broken_suite, with_empty_suite):
        spoil(plan, rig)
    found = problems(rig, plan, BOT_TOKEN="")
    assert {
        name: says in found.pop(name)
        for name, says in {
            "suite smoke": "cannot be collected",
            "suite canary": "cannot be collected",
            "miniapp: canary": "no such program",
            "flirt-bot: canary": "variables that it needs are not set: BOT_TOKEN",
        }.items()
    } == dict.fromkeys(("suite smoke", "suite canary", "miniapp: canary", "flirt-bot: canary"), True)
    assert found == {}


@pytest.mark.parametrize("spoil", [with_same_revision, with_nonsense])
def test_plan_that_cannot_be_used_is_the_problem(rig: Rig, spoil: Callable[[Plan, Rig], None]) -> None:
    plan = rig.plan("v2")
    spoil(plan, rig)
    assert list(problems(rig, plan)) == ["plan"]


def test_held_lease_open_release_dead_stable_and_dead_router_are_problems(rig: Rig) -> None:
    platform = rig.platform(rig.plan("v2"))
    platform.target.lease.acquire("a test")
    try:
        assert "a test" in doctor.lease("lease", platform).text
    finally:
        platform.target.lease.release()
    assert doctor.lease("lease", platform).state == "ok"
    journal = rig.state / "e2e" / "releases" / "r0009" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text(SAMPLE.read_text().splitlines(keepends=True)[0])
    assert "r0009" in doctor.unfinished("journal", platform).text
    journal.unlink()
    assert doctor.unfinished("journal", platform).state == "ok"
    stable = next(i for i in platform.target.workload.inspect() if i.service == "miniapp" and i.pid)
    for pid in (stable.pid, rig.envoy()):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    while platform.target.router().running():  # its last thread ends a moment later
        time.sleep(0.01)
    assert isinstance(platform.target, Embedded)
    service = next(s for s in platform.plan.services if s.name == "miniapp")
    assert guarded("stable", embedded_doctor.stable, service, platform.target).state == "problem"
    assert embedded_doctor.router("router", platform.target).text == "does not run"
    assert guarded("metrics", embedded_doctor.metrics, platform.target).state == "problem"
