"""61 suites that lie: what pytest's exit code says, and what the verdict must be."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.core.model import Verdict
from tests.testing.suite_rig import ENV, FAST, ahead, ended, started

PASS, FAIL, INC = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
OK = "def test_ok(): pass\n"
T = "import pytest\n"


@dataclass(frozen=True)
class Case:
    """`files`: name -> text; `rc` and `junit` (tests, failures, errors, skipped; None = no file) as pytest gives them.

    `bare`: they are those of a pytest that anybody calls, because the release runner's flags or its haste change them.
    """

    number: str
    files: dict[str, str]
    rc: int
    junit: tuple[int, int, int, int] | None
    verdict: Verdict
    reason: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    deadline: float = 30.0
    bare: bool = False
    suite: dict[str, Any] = field(default_factory=dict)


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
    Case("26 returns False", one("def test_a(): return False\n"), 0, (1, 0, 0, 0), FAIL, "test_a (call)", bare=True),
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
    Case("29 passes on rerun", one(RERUN), 0, (1, 0, 0, 0), FAIL, "test_a (call)", bare=True),
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
    Case("32 worker dies", one(DIES), 1, (2, 0, 1, 0), FAIL, "test_b (crash)", ("-n", "2"), bare=True),
    Case(
        "33 worker dies, no restart",
        one(DIES + "def test_c(): pass\n"),
        1,
        (3, 0, 1, 0),
        FAIL,
        "test_b (crash)",
        ("-n", "2", "--max-worker-restart=0"),
        bare=True,
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
    Case("38 hangs at exit, then looks perfect", one(LATE), 0, (1, 0, 0, 0), INC, "deadline of 4 s", deadline=4),
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
    Case("45 exception in a thread", one(THREAD), 0, (1, 0, 0, 0), FAIL, "test_a (call)", bare=True),
    Case("46 stepwise, all good", one(OK), 0, (1, 0, 0, 0), PASS, "1 passed of 1", ("--stepwise",)),
    Case(
        "47 26 without warnings plugin",
        one("def test_a(): return False\n"),
        0,
        (1, 0, 0, 0),
        INC,
        "without its warnings",
        env={"PYTEST_ADDOPTS": "-p no:warnings"},
    ),
    Case(
        "48 45 without threads plugin",
        one(THREAD),
        0,
        (1, 0, 0, 0),
        INC,
        "without its threads",
        env={"PYTEST_ADDOPTS": "-p no:threadexception"},
    ),
    Case(
        "49 items dropped without the hook",
        {**one(OK + "def test_b(): assert 0\n"), "conftest.py": SHRINK},
        0,
        (1, 0, 0, 0),
        INC,
        "removed without pytest's deselection: test_a.py::test_b",
    ),
    Case(
        "50 the same under xdist",
        {**one(OK + "def test_b(): assert 0\n"), "conftest.py": SHRINK},
        0,
        (1, 0, 0, 0),
        INC,
        "removed without pytest's deselection: test_a.py::test_b",
        ("-n", "1"),
    ),
    Case(
        "51 a required test is gone from its file",
        one(OK),
        0,
        (1, 0, 0, 0),
        INC,
        "required but not passed: test_a.py::test_b",
        suite={"required": ("test_a.py::test_b",)},
    ),
    Case(
        "52 critical test kills its worker",
        one(OK + CRITICAL),
        1,
        (2, 0, 1, 0),
        FAIL,
        "test_b (crash)",
        ("-n", "2"),
        bare=True,
    ),
    Case(
        "53 a failure, then a hang",
        one("def test_a(): assert 0\n" + HANG),
        2,
        (2, 1, 0, 0),
        FAIL,
        "test_a (call)",
        deadline=4,
    ),
    Case(
        "54 26 with its own filter",
        one(T + "@pytest.mark.filterwarnings('ignore')\ndef test_a(): return False\n" + OK),
        0,
        (2, 0, 0, 0),
        PASS,
        "2 passed of 2",
    ),
    Case(
        "55 -k under xdist",
        one(OK + "def test_critical_payment(): assert 0\n"),
        0,
        (1, 0, 0, 0),
        INC,
        "1 deselected",
        ("-n", "1", "-k", "test_ok"),
    ),
    Case(
        "56 a skipped critical test",
        one(OK + T + "@pytest.mark.severity('critical')\n@pytest.mark.skip\ndef test_b(): pass\n"),
        0,
        (2, 0, 0, 1),
        INC,
        "skipped although critical: test_a.py::test_b",
    ),
    Case(
        "57 a minor failure below the gate",
        one(OK + T + "@pytest.mark.severity('minor')\ndef test_b(): assert 0\n"),
        1,
        (2, 1, 0, 0),
        PASS,
        "failed below the gate: minor test_a.py::test_b",
    ),
    Case(
        "58 a typo in a severity",
        one(T + "@pytest.mark.severity('critcal')\ndef test_b(): pass\n"),
        4,
        (0, 0, 0, 0),
        INC,
        "severity 'critcal' is none of",
    ),
    Case(
        "59 the same under xdist",
        one(T + "@pytest.mark.severity('critcal')\ndef test_b(): pass\n"),
        1,
        (1, 0, 1, 0),
        FAIL,
        "test_b (setup)",
        ("-n", "1"),
    ),
    Case(
        "60 another target by option",
        one(OK),
        0,
        (1, 0, 0, 0),
        INC,
        "did not test this release: target by option",
        ("--release-target", "http://127.0.0.1:9"),
    ),
    Case(
        "61 garbage in the stream",
        one(
            "import sys\ndef test_a():\n    at = sys.argv.index('--release-events') + 1\n"
            "    open(sys.argv[at], 'a').write('garbage\\n')\n"
        ),
        0,
        (1, 0, 0, 0),
        INC,
        "1 lines of the event stream are damaged",
    ),
]


@dataclass(frozen=True)
class Outcome:
    """What a case did."""

    rc: int
    junit: tuple[int, ...] | None
    verdict: Verdict
    reason: str


def bare(case: Case, folder: Path) -> tuple[int, tuple[int, ...] | None]:
    """pytest as anybody calls it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FAST.split(), "--junitxml", "bare.xml"]
    done = subprocess.run(
        [*command, *case.args], cwd=folder, env=ENV | case.env, capture_output=True, timeout=30, check=False
    )
    return done.returncode, counts(folder / "bare.xml")


def counts(path: Path) -> tuple[int, ...] | None:
    """tests, failures, errors, skipped of a JUnit file."""
    if not path.exists():
        return None
    suite = ET.parse(path).getroot().find("testsuite")
    assert suite is not None
    return tuple(int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped"))


def judged(case: Case, folder: Path) -> Outcome:
    """The suite as the release runner runs it, with the case's words added to pytest's."""
    words = [word for word in case.args if not is_path(word)]
    env = {"PYTEST_ADDOPTS": " ".join([FAST, case.env.get("PYTEST_ADDOPTS", ""), *words])}
    path = folder / case.args[0] if case.args and is_path(case.args[0]) else folder
    run = started(path, folder, env=env, deadline=case.deadline, **case.suite)
    result = ended(run)
    rc = run.process.wait()
    return Outcome(rc, counts(Path(result.report) / "junit.xml"), result.verdict, result.reason)


def is_path(word: str) -> bool:
    """Such words are given as the suite's path instead."""
    return word.startswith(("nope", "test_a.py::"))


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Case], Outcome]]:
    """Run a case."""

    def run(case: Case) -> Outcome:
        folder = tmp_path_factory.mktemp("suite")
        (folder / "pytest.ini").write_text("[pytest]\n")
        for name, text in case.files.items():
            (folder / name).write_text(text)
        got = judged(case, folder)
        rc, junit = bare(case, folder) if case.bare else (got.rc, got.junit)
        return Outcome(rc, junit, got.verdict, got.reason)

    with ahead(request, run) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_verdict_is_right_whatever_the_exit_code_says(case: Case, outcome: Callable[[Case], Outcome]) -> None:
    got = outcome(case)
    assert (got.verdict, case.reason in got.reason) == (case.verdict, True), got
    assert (got.rc, got.junit) == (case.rc, case.junit), got


STRICTER = {"10", "11", "30", "31", "37", "58"}
"""INCONCLUSIVE alone, FAIL on workers: there a process that dies is a crash of its test, and a typo an error of it."""
ALONE = {"61"}
"""Its test looks for the event stream in its own command line, which a worker has not."""
IN_CI = {"01", "02", "05", "07", "10", "14", "18b", "19", "20", "21", "22", "28", "35", "44", "49", "53"}
"""One of each kind; `make long` runs all."""


def spread(case: Case) -> Case:
    """The same on two of xdist's workers, which take a second to start."""
    number = case.number.split()[0]
    verdict = FAIL if number in STRICTER else case.verdict
    late = 8.0 if case.deadline < 8 else case.deadline
    return replace(case, args=(*case.args, "-n", "2"), bare=False, verdict=verdict, deadline=late)


def on_workers() -> list[Case]:
    """The cases that are run again."""
    kept = [(case.number.split()[0], case) for case in CASES if "-n" not in case.args]
    wanted = {number for number, _ in kept} - ALONE if os.environ.get("ONLYVIPS_LONG") else IN_CI
    return [spread(case) for number, case in kept if number in wanted]


@pytest.mark.slow
@pytest.mark.slice
@pytest.mark.parametrize("case", on_workers(), ids=lambda case: case.number)
def test_verdict_is_the_same_on_two_workers_or_stricter(case: Case, outcome: Callable[[Case], Outcome]) -> None:
    got = outcome(case)
    assert got.verdict is case.verdict, got
