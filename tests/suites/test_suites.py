"""`pytest smoke_tests` and `pytest canary_checks` alone, as a pipeline calls them against any URL."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from onlyvips_release.sandbox.demo import free_ports
from onlyvips_release.suites.context import NEEDS
from tests.suites.mutations import DOC, ROOT
from tests.testing.suite_box import HEALTH, own_environment

pytestmark = pytest.mark.slow

BY_URL = {"backend-api": 76, "miniapp": 9, "showcu-panel": 9}
"""Checks that must run when a service's URL is all that is known."""
ENV = own_environment() | {"SECRET_KEY": "a-secret-of-the-tests"}


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """Three sandbox processes, without a control port."""
    ports = free_ports(list(HEALTH))
    words = [sys.executable, "-m", "onlyvips_release.sandbox"]
    running = [subprocess.Popen([*words, name, str(port)], env=ENV, stdout=subprocess.DEVNULL) for name, port in
               ports.items()]  # fmt: skip
    found = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    for name, url in found.items():
        ready(url + HEALTH[name])
    for process, port in zip(running, ports.values(), strict=True):
        opened = psutil.Process(process.pid).net_connections("tcp")
        assert [c.laddr.port for c in opened if c.status == psutil.CONN_LISTEN] == [port], "no control port is open"
    yield found
    for process in running:
        process.kill()
        process.wait()


def ready(url: str) -> None:
    """Wait until it answers."""
    end = time.monotonic() + 15
    while True:
        try:
            httpx.get(url)
        except httpx.TransportError:
            assert time.monotonic() < end, url
            time.sleep(0.02)
        else:
            return


def called(*words: str, env: dict[str, str] = ENV) -> subprocess.CompletedProcess[str]:
    """pytest as a pipeline calls it, in this repository."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False)


def targets(urls: dict[str, str], option: str = "target", only: tuple[str, ...] = tuple(HEALTH)) -> list[str]:
    """As options."""
    return [f"--release-{option}={name}={urls[name]}" for name in only]


@pytest.mark.parametrize("only", [("backend-api",), tuple(HEALTH)], ids=["one URL", "three URLs"])
def test_by_url_alone_the_pinned_number_runs_and_the_rest_is_named_as_not_tested(
    urls: dict[str, str], only: tuple[str, ...], tmp_path: Path
) -> None:
    done = called("smoke_tests", *targets(urls, only=only), f"--release-events={tmp_path / 'e'}")
    assert done.returncode == 0, done.stdout
    assert f"{sum(BY_URL[name] for name in only)} passed in" in done.stdout
    assert "skipped" not in done.stdout
    told = {
        line.partition("needs ")[2].partition(": test_")[0] for line in done.stdout.splitlines() if "not tested" in line
    }
    expected = {NEEDS[need] for need in ("pins", "process", "log", "identity", "admin")}
    assert told >= expected | {"flirt-bot among the targets"}
    events = [json.loads(line) for line in (tmp_path / "e").read_text().splitlines()]
    assert {e["outcome"] for e in events if e["k"] == "report"} == {"passed"}
    assert any(e["k"] == "not_tested" for e in events)
    left = next(e["what"] for e in events if e["k"] == "left_behind")
    assert "backend-api: the account smokecheck01" in left


def test_suite_runs_on_all_cores(urls: dict[str, str]) -> None:
    done = called("smoke_tests", "-n", "auto", *targets(urls))
    assert f"{sum(BY_URL.values())} passed in" in done.stdout, done.stdout
    assert "left behind: backend-api: the account smokecheck01" in done.stdout
    assert f"not tested: needs {NEEDS['pins']}" in done.stdout


def test_canary_checks_need_stable_and_say_so(urls: dict[str, str]) -> None:
    done = called("canary_checks", *targets(urls))
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert f"not tested: needs {NEEDS['stable']}" in done.stdout
    done = called("canary_checks", *targets(urls), *targets(urls, "stable"))
    assert done.returncode == 0, done.stdout


def test_failure_says_expected_got_limit_request_answer_and_logs(urls: dict[str, str], tmp_path: Path) -> None:
    wrong = {**urls, "miniapp": urls["showcu-panel"]}
    done = called("smoke_tests/test_front.py", *targets(wrong, only=("miniapp",)), f"--release-events={tmp_path / 'e'}")
    assert done.returncode in (1, 2)
    text = done.stdout
    for part in ("expected: 'OnlyVips MiniApp'", "got: 'OnlyVips - İçerik", "limit: none", "request: GET http://",
                 "response: HTTP 200 in", "logs: not known"):  # fmt: skip
        assert part in text, text
    failed = [json.loads(line) for line in (tmp_path / "e").read_text().splitlines() if '"failed"' in line]
    assert {"expected", "got", "limit", "spoken", "logs"} <= set(failed[0]["detail"])
    assert failed[0]["title"] == "miniapp: its page has its title"


@pytest.mark.parametrize("suite", ["smoke_tests", "canary_checks"])
def test_every_check_has_a_severity_and_a_title_that_names_its_case(urls: dict[str, str], suite: str) -> None:
    words = (suite, "--collect-only", "-p", "tests.testing.marks", *targets(urls), *targets(urls, "stable"))
    done = called(*words)
    found = json.loads(re.findall(r"^MARKS (.*)$", done.stdout, re.MULTILINE)[0])
    assert len(found) >= 30
    assert not [node for node, (severity, title) in found.items() if not severity or not title or "{" in title]
    titles = [title for _, title in found.values()]
    repeated = {title for title in titles if titles.count(title) > 1}
    assert not [title for title in repeated if "backend-api" in title]


def test_this_repository_guards_its_own_pytest(urls: dict[str, str]) -> None:
    done = called("smoke_tests/test_front.py", "--setup-plan", *targets(urls))
    assert done.returncode == 1
    assert "release guard: exit code 1 instead of 0" in done.stdout


def test_ids_of_checks_are_pinned_by_the_table() -> None:
    ids = re.findall(r"^\| `([^`]+)` \| \d+ \|$", DOC.read_text(), re.MULTILINE)
    assert len(set(ids)) == len(ids) >= sum(BY_URL.values())


@pytest.fixture(scope="module", autouse=True)
def twenty() -> Iterator[subprocess.Popen[str]]:
    """Twenty runs of both suites, begun before the other tests and waited for in the last one."""
    command = [sys.executable, "-m", "tests.suites.mutations", "--healthy", "20"]
    with subprocess.Popen(command, cwd=ROOT, env=own_environment(), stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.slice
def test_sound_platform_passes_twenty_times_in_a_row_at_last_with_all_tasks_used_up(
    twenty: subprocess.Popen[str],
) -> None:
    told, _ = twenty.communicate(timeout=400)
    assert twenty.returncode == 0, told
    assert "20 runs of both suites, 0 checks failed" in told
