"""46 suites that lie, and those found since: what pytest's exit code says, and what the verdict must be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.checks import PytestChecks, PytestRun
from onlyvips_release.clock import SystemClock
from onlyvips_release.model import Arm, Verdict
from onlyvips_release.plan import Suite
from onlyvips_release.ports import SuiteRequest

PASS, FAIL, INC = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
OK = "def test_ok(): pass\n"
T = "import pytest\n"
W = ("-W", "error::pytest.PytestReturnNotNoneWarning", "-W", "error::pytest.PytestUnhandledThreadExceptionWarning")


@dataclass(frozen=True)
class Case:
    """`files`: name -> text; `rc`, `junit` (tests, failures, errors, skipped; None = no file); rc None = killed."""

    number: str
    files: dict[str, str]
    rc: int | None
    junit: tuple[int, int, int, int] | None
    verdict: Verdict
    reason: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    deadline: float = 20.0
    suite: dict[str, object] = field(default_factory=dict)


def one(text: str) -> dict[str, str]:
    """A suite of one file."""
    return {"test_a.py": text}


EXIT = "def test_a(): pass\ndef test_b(): {}\ndef test_c(): assert 0\n"
SKIPS = T + "@pytest.mark.skip\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\n"
TEARDOWN = T + "@pytest.fixture\ndef f():\n    {}raise RuntimeError('td')\ndef test_a(f): pass\n"
HANG = OK + "import time\ndef test_b(): time.sleep(100)\n"
DIES = OK + "import os\ndef test_b(): os._exit(0)\n"
THREAD = "import threading\ndef test_a():\n    t=threading.Thread(target=lambda: 1/0); t.start(); t.join()\n"
LATE = "import threading,time\ndef test_ok():\n    threading.Thread(target=lambda: time.sleep(100)).start()\n"
SLOW = "import time\n" + "".join(f"def test_{i}(): time.sleep(1)\n" for i in range(6))
FIVE = "".join(f"def test_{i}(): assert {i} != 1\n" for i in range(5))
SUBTESTS = "def test_a(subtests):\n    for i in range(3):\n        with subtests.test(i=i): assert i != 1\n"
RERUN = T + "n=[0]\n@pytest.mark.flaky(reruns=2)\ndef test_a():\n    n[0]+=1; assert n[0] > 1\n"
B_FAILS = one("def test_b(): assert 0\n")
ZERO = "def pytest_sessionfinish(session, exitstatus):\n    session.exitstatus = 0\n"
SHRINK = "def pytest_collection_modifyitems(items):\n    items[:] = items[:1]\n"
CRITICAL = T + "@pytest.mark.severity('critical')\ndef test_b():\n    import os; os._exit(1)\n"

CASES = [
    Case("01 pass", one(OK), 0, (1, 0, 0, 0), PASS, "1 passed of 1"),
    Case("02 fail", one(OK + "def test_b(): assert 0\n"), 1, (2, 1, 0, 0), FAIL, "test_b (call)"),
    Case("03 empty folder", {}, 5, (0, 0, 0, 0), INC, "0 passed, 0 collected"),
    Case("04 missing path", {}, 4, (0, 0, 0, 0), INC, "0 passed, 0 collected", ("nope_dir",)),
    Case("05 all skipped", one(SKIPS), 0, (2, 0, 0, 2), INC, "0 passed, 2 collected"),
    Case(
        "06 module skip",
        one(T + "pytest.skip('no target', allow_module_level=True)\ndef test_a(): pass\n"),
        5,
        (1, 0, 0, 1),
        INC,
        "0 collected",
    ),
    Case(
        "07 import error",
        {"test_a.py": OK, "test_b.py": "import nope_nope\n" + OK},
        2,
        (1, 0, 1, 0),
        INC,
        "collection error in test_b.py",
    ),
    Case(
        "08 the same, continued",
        {"test_a.py": OK, "test_b.py": "import nope_nope\n" + OK},
        1,
        (2, 0, 1, 0),
        INC,
        "collection error in test_b.py",
        ("--continue-on-collection-errors",),
    ),
    Case("09 broken conftest", {"conftest.py": "def (\n", "test_a.py": OK}, 4, None, INC, "no event stream"),
    Case(
        "10 pytest.exit(0)",
        one(T + EXIT.format("pytest.exit('bye', returncode=0)")),
        0,
        (1, 0, 0, 0),
        INC,
        "of 3 planned never reported",
    ),
    Case("11 os._exit(0)", one("import os\n" + EXIT.format("os._exit(0)")), 0, None, INC, "died before finish"),
    Case("12 sys.exit in test", one("import sys\ndef test_b(): sys.exit(0)\n"), 1, (1, 1, 0, 0), FAIL, "test_b (call)"),
    Case("13 sys.exit at import", one("import sys\nsys.exit(0)\n"), 3, (1, 0, 1, 0), INC, "0 collected"),
    Case(
        "14 only xfail",
        one(T + "@pytest.mark.xfail\ndef test_a(): assert 0\n"),
        0,
        (1, 0, 0, 1),
        INC,
        "0 passed, 1 collected",
    ),
    Case(
        "15 xpass, not strict",
        one(T + "@pytest.mark.xfail\ndef test_a(): pass\n"),
        0,
        (1, 0, 0, 0),
        PASS,
        "1 passed of 1",
    ),
    Case(
        "16 xpass, strict",
        one(T + "@pytest.mark.xfail(strict=True)\ndef test_a(): pass\n"),
        1,
        (1, 1, 0, 0),
        FAIL,
        "test_a (call)",
    ),
    Case("17 -k matches none", one(OK), 5, (0, 0, 0, 0), INC, "0 passed, 0 collected", ("-k", "nothing")),
    Case(
        "18 -k drops the failing test",
        one(OK + "def test_critical_payment(): assert 0\n"),
        0,
        (1, 0, 0, 0),
        PASS,
        "1 deselected",
        ("-k", "test_ok"),
        suite={"deselect": True},
    ),
    Case(
        "18b and the plan forbids it",
        one(OK + "def test_critical_payment(): assert 0\n"),
        0,
        (1, 0, 0, 0),
        INC,
        "1 deselected",
        ("-k", "test_ok"),
    ),
    Case(
        "19 collect only",
        B_FAILS,
        0,
        (0, 0, 0, 0),
        INC,
        "1 of 1 planned never reported",
        env={"PYTEST_ADDOPTS": "--collect-only"},
    ),
    Case(
        "20 setup plan",
        B_FAILS,
        0,
        (0, 0, 0, 0),
        INC,
        "1 of 1 planned never reported",
        env={"PYTEST_ADDOPTS": "--setup-plan"},
    ),
    Case("21 conftest zeroes the exit", {**B_FAILS, "conftest.py": ZERO}, 0, (1, 1, 0, 0), FAIL, "test_b (call)"),
    Case("22 teardown error", one(TEARDOWN.format("yield\n    ")), 1, (1, 0, 1, 0), FAIL, "test_a (teardown)"),
    Case("23 setup error", one(TEARDOWN.format("")), 1, (1, 0, 1, 0), FAIL, "test_a (setup)"),
    Case(
        "24 plugin bug",
        {"test_a.py": OK, "conftest.py": "def pytest_runtest_logfinish(nodeid): raise RuntimeError('plugin bug')\n"},
        3,
        (2, 0, 1, 0),
        INC,
        "pytest exit 3",
    ),
    Case("25 bad option", one(OK), 4, None, INC, "no event stream", ("--no-such-option",)),
    Case("26 returns False", one("def test_a(): return False\n"), 1, (1, 1, 0, 0), FAIL, "test_a (call)", W),
    Case(
        "27 async, no plugin",
        one("async def test_a(): assert 0\n"),
        1,
        (1, 1, 0, 0),
        FAIL,
        "test_a (call)",
        ("-p", "no:anyio"),
    ),
    Case("28 subtest fails", one(SUBTESTS), 1, (4, 2, 0, 0), FAIL, "test_a (call)"),
    Case("29 passes on rerun, but a release reruns nothing", one(RERUN), 1, (1, 1, 0, 0), FAIL, "test_a (call)"),
    Case(
        "30 SIGKILL itself",
        one("import os\ndef test_a(): pass\ndef test_b(): os.kill(os.getpid(), 9)\n"),
        -9,
        None,
        INC,
        "died before finish",
    ),
    Case(
        "31 SIGINT itself",
        one("import os\ndef test_a(): pass\ndef test_b(): os.kill(os.getpid(), 2)\ndef test_c(): assert 0\n"),
        2,
        (1, 0, 0, 0),
        INC,
        "of 3 planned never reported",
    ),
    Case("32 worker dies", one(DIES), 1, (2, 0, 1, 0), FAIL, "test_b (crash)", ("-n", "2")),
    Case(
        "33 worker dies, no restart",
        one(DIES + "def test_c(): pass\n"),
        1,
        (3, 0, 1, 0),
        FAIL,
        "test_b (crash)",
        ("-n", "2", "--max-worker-restart=0"),
    ),
    Case("34 xdist, nothing there", {}, 5, (0, 0, 0, 0), INC, "0 passed, 0 collected", ("-n", "2")),
    Case("35 stops at first failure", one(FIVE), 1, (2, 1, 0, 0), FAIL, "test_1 (call)", ("-x",)),
    Case("36 hang, signal timeout", one(HANG), 1, (2, 1, 0, 0), FAIL, "test_b (call)", ("--timeout=2",)),
    Case(
        "37 hang, thread timeout",
        one(HANG + "def test_c(): pass\n"),
        1,
        None,
        INC,
        "died before finish",
        ("--timeout=2", "--timeout-method=thread"),
    ),
    Case("38 hangs at exit", one(LATE), None, (1, 0, 0, 0), INC, "deadline", deadline=4),
    Case(
        "39 session timeout", one(SLOW), 1, (2, 0, 0, 0), INC, "of 6 planned never reported", ("--session-timeout=2",)
    ),
    Case("40 --lf finds none", one(OK), 5, (0, 0, 0, 0), INC, "0 passed, 0 collected", ("--lf", "--lfnf=none")),
    Case(
        "41 wrong file name", {"checks.py": "def test_a(): assert 0\n"}, 5, (0, 0, 0, 0), INC, "0 passed, 0 collected"
    ),
    Case(
        "42 class with __init__",
        one("class TestX:\n    def __init__(self): pass\n    def test_a(self): assert 0\n"),
        5,
        (0, 0, 0, 0),
        INC,
        "0 passed, 0 collected",
    ),
    Case("43 node id typo", one(OK), 4, (0, 0, 0, 0), INC, "0 passed, 0 collected", ("test_a.py::test_nope",)),
    Case(
        "44 empty parametrize",
        one(T + "@pytest.mark.parametrize('u', [])\ndef test_a(u): assert 0\n"),
        0,
        (1, 0, 0, 1),
        INC,
        "0 passed, 1 collected",
    ),
    Case("45 exception in a thread", one(THREAD), 1, (1, 1, 0, 0), FAIL, "test_a (call)", W),
    Case("46 stepwise, all good", one(OK), 0, (1, 0, 0, 0), PASS, "1 passed of 1", ("--stepwise",)),
    Case(
        "47 26 without warnings plugin",
        one("def test_a(): return False\n"),
        0,
        (1, 0, 0, 0),
        INC,
        "lacks what it needs: warnings plugin",
        env={"PYTEST_ADDOPTS": "-p no:warnings"},
    ),
    Case(
        "48 45 without threads plugin",
        one(THREAD),
        0,
        (1, 0, 0, 0),
        INC,
        "lacks what it needs: threads plugin",
        env={"PYTEST_ADDOPTS": "-p no:threadexception"},
    ),
    Case(
        "49 items dropped without a hook",
        {**one(OK + "def test_b(): assert 0\n"), "conftest.py": SHRINK},
        0,
        (1, 0, 0, 0),
        INC,
        "required but not passed: test_b",
        suite={"required": ("test_b",)},
    ),
    Case("50 critical test kills its worker", one(OK + CRITICAL), 1, (2, 0, 1, 0), FAIL, "test_b (crash)", ("-n", "2")),
    Case(
        "51 a failure, then a hang",
        one("def test_a(): assert 0\n" + HANG),
        None,
        None,
        FAIL,
        "test_a (call)",
        deadline=4,
    ),
]


@dataclass(frozen=True)
class Outcome:
    """What a case did."""

    rc: int | None
    junit: tuple[int, ...] | None
    verdict: Verdict
    reason: str


def bare(case: Case, folder: Path) -> tuple[int, tuple[int, ...] | None]:
    """pytest as anybody calls it: where the runner ends a suite at its first crash, the rest is seen only here."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--release-events", "bare.jsonl"]
    command += ["--junitxml", "bare.xml", *case.args]
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, timeout=60, check=False)
    return done.returncode, counts(folder / "bare.xml")


def counts(path: Path) -> tuple[int, ...] | None:
    """tests, failures, errors, skipped of a JUnit file."""
    if not path.exists():
        return None
    suite = ET.parse(path).getroot().find("testsuite")
    assert suite is not None
    return tuple(int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped"))


def judged(case: Case, folder: Path) -> Outcome:
    """A suite as the release runner runs it, with the case's words added to pytest's."""
    clock = SystemClock()
    extra = " ".join(word for word in (case.env.get("PYTEST_ADDOPTS", ""), *quoted(case.args)) if word)
    env = ENV | {"PYTEST_ADDOPTS": extra}
    path = folder / case.args[0] if case.args and case.args[0].startswith(("nope", "test_a.py::")) else folder
    checks = PytestChecks(folder / "reports", {}, folder, sys.executable, clock, env)
    suite = Suite(str(path), timedelta(seconds=case.deadline), **case.suite)  # type: ignore[arg-type]
    run: PytestRun = checks.start(SuiteRequest("smoke", suite, Arm.CANARY, 0, {}))
    while (result := run.poll()) is None:
        clock.sleep(0.05)
    run.process.wait(10)  # a verdict may come before the suite's own end
    code = None if time.monotonic() - run.begun > case.deadline else run.process.returncode
    return Outcome(code, counts(run.folder / "junit.xml"), result.verdict, result.reason)


def quoted(args: tuple[str, ...]) -> list[str]:
    """Words for PYTEST_ADDOPTS; paths are given as the suite's path instead."""
    return [word for word in args if not word.startswith(("nope", "test_a.py::"))]


ENV = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "ONLYVIPS", "COV"))}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All of them, four at a time: most only start a Python."""

    base = tmp_path_factory.mktemp("suites")

    def run(case: Case) -> Outcome:
        folder = base / f"case-{case.number[:3].strip()}"
        folder.mkdir()
        (folder / "pytest.ini").write_text("[pytest]\n")
        for name, text in case.files.items():
            (folder / name).write_text(text)
        found = judged(case, folder)
        if "(crash)" in case.reason:
            rc, junit = bare(case, folder)
            found = replace(found, rc=rc, junit=junit)
        return found

    with ThreadPoolExecutor(4) as pool:
        return dict(zip((case.number for case in CASES), pool.map(run, CASES), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_verdict_is_right_whatever_the_exit_code_says(case: Case, outcomes: dict[str, Outcome]) -> None:
    got = outcomes[case.number]
    assert (got.verdict, case.reason in got.reason) == (case.verdict, True), got
    assert got.rc == case.rc, got
    if case.rc is not None:
        assert got.junit == case.junit, got
