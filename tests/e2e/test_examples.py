"""The examples, as they stand in the repository, and the demo as a user meets it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.plan import JudgePlan, ReleasePlan
from onlyvips_release.environment import Environment
from onlyvips_release.sandbox import demo
from tests.testing.platform_rig import ROOT, Rig, mine

pytestmark = pytest.mark.slow


def asked() -> tuple[bytes, str]:
    """What a user of the example gets: the body, and the revision that the router names."""
    connection = http.client.HTTPConnection("127.0.0.1", 18200, timeout=5)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.read(), answer.headers.get("x-onlyvips-revision", "")
    except (OSError, http.client.HTTPException):
        return b"", ""
    finally:
        connection.close()


def test_own_service_in_ten_lines_is_served_behind_the_router(tmp_path: Path) -> None:
    script = ROOT / "examples" / "own_service.py"
    assert sum(bool(line.strip()) for line in script.read_text().splitlines()[1:]) <= 10
    env = os.environ | {"ONLYVIPS_STATE": str(tmp_path), "ONLYVIPS_REPORTS": str(tmp_path / "reports")}
    command = [sys.executable, "-u", str(script)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            end = time.monotonic() + 60
            while (found := asked()) != (b"hello from v1\n", "v1"):
                assert child.poll() is None
                assert time.monotonic() < end, found
                time.sleep(0.2)
        finally:
            child.send_signal(signal.SIGINT)
            assert child.wait(20)
            child.stdout.read()
    stop = "from onlyvips_release import Platform; import runpy, sys\n"
    code = stop + f"text = open({str(script)!r}).read().split('platform.clock')[0]; exec(text); platform.down()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True)
    assert mine(tmp_path) == []


def test_script_runs_a_release_and_ends_with_its_exit_code() -> None:
    script = ROOT / "examples" / "release.py"
    assert len(script.read_text().splitlines()) <= 25
    with Rig(("miniapp",)) as rig:
        rig.up()
        plan = rig.plan("v2", steps=[{"weight": 10, "bake": "2s"}], patience="0s", watch="2s")
        command = [sys.executable, str(script), str(rig.write(plan))]
        done = subprocess.run(command, env=rig.env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 3, done.stdout + done.stderr
        assert "INCONCLUSIVE" in done.stdout.splitlines()[-1]


def test_demo_keeps_the_default_limits_and_says_why_it_is_quicker(tmp_path: Path) -> None:
    ports = demo.free_ports(["ROUTER", "P1", "P2", "P3", "P4", "P5", "P6"])
    environment = Environment(tmp_path, tmp_path, {})
    plan = demo.platform(tmp_path, environment, SystemClock(), ports).plan
    assert plan.judge == JudgePlan()
    default = ReleasePlan("x", plan.services)
    assert [step.weight for step in default.steps] == [10]
    assert default.steps[0].bake == timedelta(minutes=30)
    assert [step.weight for step in plan.steps] == [10, 50]
    text = (ROOT / "onlyvips_release" / "sandbox" / "demo.yaml").read_text()
    assert "10 % for 30 minutes" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing(tmp_path: Path, number: int) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path), "ONLYVIPS_REPORTS": str(tmp_path / "reports")}
    command = [sys.executable, "-m", "onlyvips_release", "demo"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        told = []
        for line in child.stdout:
            told.append(line)
            if "10 % of users" in line:
                child.send_signal(number)
        assert child.wait(30) == 128 + number, "".join(told)
    assert mine(tmp_path) == []
    assert list(tmp_path.glob("onlyvips-*")) == []
