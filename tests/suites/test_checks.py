"""A suite under way: what it is told, how it is stopped, what it leaves behind."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

import onlyvips_release
from onlyvips_release.clock import SystemClock
from onlyvips_release.core.model import Arm, Verdict
from onlyvips_release.core.plan import Suite
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.core.suite import SuiteContext
from onlyvips_release.environment import Environment
from onlyvips_release.errors import TargetError
from onlyvips_release.platform import Platform
from onlyvips_release.suites import run as checks
from onlyvips_release.suites.run import PytestChecks
from tests.testing.plans import make_plan
from tests.testing.suite_rig import ended, started, written

TOKEN = "5f0c1e7a9b3d2468ace013579bdf0246"
ACCESS = {"api": {"url": "http://127.0.0.1:9", "host": "api.x", "pins": {"canary": f"canary-{TOKEN}"}}}
CONTEXT = {"release": "r0007", "step": 1, "services": {"api": {"routed": True, "revisions": {"canary": "v2"}}}}

pytestmark = pytest.mark.slow


def gone(pid: int, within: float = 20.0) -> bool:
    """Whether a process ends in time (a zombie of somebody else's has ended)."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def known(path: Path, within: float = 15.0) -> str:
    """The text of a file as soon as it is there."""
    end = time.monotonic() + within
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"{path.name} was never written"
        time.sleep(0.02)
    return path.read_text()


HELPER = """
import pathlib, subprocess, sys, time
import pytest
HERE = pathlib.Path(__file__).parent
@pytest.fixture(scope="session", autouse=True)
def helper():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (HERE / "helper.pid").write_text(str(child.pid))
    yield
    time.sleep(300)
"""


def test_a_critical_failure_is_the_verdict_while_the_suite_still_hangs(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.severity('critical')\ndef test_a(): assert 0\ndef test_b(): pass"
    suite = written(tmp_path / "suite", conftest=HELPER, test_a=text)
    run = started(suite, tmp_path, access=ACCESS, context=CONTEXT)
    result = ended(run)
    assert run.process.poll() is None, "nobody waited for pytest"
    assert (result.verdict, result.reason) == (Verdict.FAIL, "test_a.py::test_a (call)")
    assert (result.failed, result.missing) == (("test_a.py::test_a",), ("test_a.py::test_b",))
    assert run.poll() is result
    assert gone(run.process.pid)
    assert gone(int((suite / "helper.pid").read_text())), "what a suite started ends with it"
    end = time.monotonic() + 5
    while run.scratch.exists():
        assert time.monotonic() < end, "the secrets are still there"
        time.sleep(0.02)


STUBBORN = """
import signal, time
def test_a():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(300)
"""


def test_at_the_deadline_a_stubborn_suite_is_killed_and_nobody_waits_for_it(tmp_path: Path) -> None:
    run = started(written(tmp_path / "suite", test_a=STUBBORN), tmp_path, deadline=2)
    slowest, begun = 0.0, time.monotonic()
    result = None
    while result is None:
        at = time.monotonic()
        result = run.poll()
        slowest = max(slowest, time.monotonic() - at)
        time.sleep(0.02)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == "deadline of 2 s passed in test_a.py::test_a"
    assert time.monotonic() - begun < 8
    assert slowest < 0.5
    assert gone(run.process.pid)


def test_silence_is_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SILENCE", 2.0)
    suite = written(tmp_path / "suite", test_a="import time\ndef test_a(): pass\ndef test_b(): time.sleep(300)")
    result = ended(started(suite, tmp_path))
    assert (result.verdict, result.passed) == (Verdict.INCONCLUSIVE, 1)
    assert result.reason == "no event for 2 s in test_a.py::test_b"


def test_stop_ends_everything_and_may_be_repeated(tmp_path: Path) -> None:
    suite = written(tmp_path / "suite", conftest=HELPER, test_a=STUBBORN)
    run = started(suite, tmp_path)
    helper = int(known(suite / "helper.pid"))
    begun = time.monotonic()
    for _ in range(2):
        run.stop()
    assert time.monotonic() - begun < 0.3, "users wait while a suite is ended"
    assert gone(run.process.pid, 5)
    assert gone(helper, 5)
    for thread in run.ends:
        thread.join(5)
    assert not run.scratch.exists()


SEES = """
import json, os, pathlib
def test_a():
    path = pathlib.Path(os.environ["ONLYVIPS_CONTEXT"])
    seen = {"mode": path.stat().st_mode & 0o777, "context": json.loads(path.read_text()), "env": dict(os.environ)}
    pathlib.Path(os.environ["SEEN"]).write_text(json.dumps(seen))
"""


def test_the_suite_is_told_of_its_release_in_a_private_file(tmp_path: Path) -> None:
    suite = written(tmp_path / "suite", test_a=SEES)
    env = {"SEEN": str(tmp_path / "seen.json"), "ONLYVIPS_TARGET": "http://elsewhere", "MINE": "1"}
    result = ended(started(suite, tmp_path, env=env, access=ACCESS, context=CONTEXT, arm=Arm.STABLE, weight=10))
    assert result.verdict is Verdict.PASS, result
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["mode"] == 0o600
    of_run = {"suite": "smoke", "arm": "stable", "weight": 10, "gate": "normal"}
    api = {**ACCESS["api"], **CONTEXT["services"]["api"]}  # type: ignore[index]
    unknown: dict[str, object] = {"health": "", "identity": None, "admin": "", "instances": []}
    services = {"api": {**api, **unknown}}
    assert seen["context"] == {"release": "r0007", "step": 1, **of_run, "metrics": {}, "services": services}
    assert seen["env"]["MINE"] == "1"
    assert "ONLYVIPS_TARGET" not in seen["env"], "a variable left behind must not send the suite elsewhere"
    assert not list(suite.rglob("__pycache__"))
    assert not Path(seen["env"]["ONLYVIPS_CONTEXT"]).exists()


def test_what_a_suite_prints_of_the_pins_does_not_stay(tmp_path: Path) -> None:
    text = "import os\ndef test_a():\n    print(open(os.environ['ONLYVIPS_CONTEXT']).read())\n    assert 0"
    run = started(
        written(tmp_path / "suite", test_a=text), tmp_path, env={"PYTEST_ADDOPTS": "-s"}, access=ACCESS, context=CONTEXT
    )
    result = ended(run)
    assert result.verdict is Verdict.FAIL
    files = [path for path in Path(result.report).iterdir() if path.is_file()]
    assert sorted(path.name for path in files) == ["events.jsonl", "junit.xml", "output.txt"]
    assert "canary-***" in (Path(result.report) / "output.txt").read_text()
    assert not [path for path in files if TOKEN in path.read_text()]


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    suite = written(tmp_path / "suite", test_a="def test_a(): pass")
    results = [
        ended(started(suite, tmp_path, name=name, weight=weight)) for name, weight in (("smoke", 0), ("canary", 10))
    ]
    assert [Path(result.report).name for result in results] == ["1-smoke-canary-0", "2-canary-canary-10"]
    assert [(result.passed, result.planned, result.connection_retries) for result in results] == [(1, 1, 0)] * 2


def test_a_suite_that_cannot_start_says_why(tmp_path: Path) -> None:
    result = ended(started(written(tmp_path / "suite", conftest="def ("), tmp_path))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "pytest never started" in result.reason
    assert "SyntaxError" in result.reason


def test_a_python_that_is_not_there_is_an_error_of_the_target(tmp_path: Path) -> None:
    tool = PytestChecks(tmp_path / "reports", {}, tmp_path, str(tmp_path / "no-python"), SystemClock(), {})
    request = SuiteRequest("smoke", Suite("suite", timedelta(seconds=5)), Arm.CANARY, 0, SuiteContext())
    with pytest.raises(TargetError, match="cannot start pytest"):
        tool.start(request)


def test_only_the_tools_own_suites_are_found_elsewhere(tmp_path: Path) -> None:
    tool = PytestChecks(tmp_path, {}, tmp_path, sys.executable, SystemClock(), {})
    root = Path(onlyvips_release.__file__).parent.parent
    assert tool.find("smoke_tests") == root / "smoke_tests"
    assert tool.find("canary_checks") == root / "canary_checks"
    assert tool.find("tests") == tmp_path / "tests"
    (tmp_path / "smoke_tests").mkdir()
    assert tool.find("smoke_tests") == tmp_path / "smoke_tests"


def test_a_node_of_a_suite_can_be_named(tmp_path: Path) -> None:
    suite = written(tmp_path / "suite", test_a="def test_a(): pass\ndef test_b(): assert 0")
    result = ended(started(f"{suite.name}/test_a.py::test_a", tmp_path))
    assert (result.verdict, result.reason) == (Verdict.PASS, "1 passed of 1")


def test_connections_that_had_to_be_made_again_fail_the_suite_at_once(tmp_path: Path) -> None:
    text = """
    import httpx, pytest
    @pytest.mark.parametrize("n", range(9))
    def test_a(api, n):
        with pytest.raises(httpx.ConnectError): api.get("/")
    """
    suite = written(tmp_path / "suite", test_a=text.replace("\n    ", "\n"))
    result = ended(started(suite, tmp_path, access=ACCESS, context=CONTEXT))
    assert (result.verdict, result.connection_retries, result.failed) == (Verdict.FAIL, 4, ("connections",))
    assert result.reason == "4 connections had to be made again"


def test_secrets_of_the_environment_reach_a_suite_only_where_they_are_meant_to(tmp_path: Path) -> None:
    env = {"ONLYVIPS_ADMIN_TOKEN": "an-admins-token", "BOT_TOKEN": "a-bots-token", "PATH": "/bin"}
    tool = Platform(make_plan(), environment=Environment(tmp_path, tmp_path, env)).parts.checks("r0001", "0" * 32)
    assert {access.admin for access in tool.access.values()} == {"an-admins-token"}
    assert tool.env == {"PATH": "/bin"}
    assert set(tool.hidden) == {"an-admins-token", "a-bots-token"}
