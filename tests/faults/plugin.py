"""The pytest plugin of a run with a fault: runs the wanted tests in the wanted order, and writes down what happened.

Broken code must not end strangers: signals reach only processes below the worker that started this run.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults import trace

ORDER, RESULT, TRACE, WORKER = (f"ONLYVIPS_FAULT_{name}" for name in ("ORDER", "RESULT", "TRACE", "WORKER"))

MEMORY = 4 * 2**30
"""Bytes of address space: broken code may ask for all there is."""

GUARDED: list[bool] = []
"""Not empty: this process is a run of ours already."""


class Report:
    """Passed and failed tests, their seconds, what they ran."""

    def __init__(self) -> None:
        self.order: list[str] | None = json.loads(Path(os.environ[ORDER]).read_text()) if ORDER in os.environ else None
        self.failed: list[str] = []
        self.passed = 0
        self.wanted = 0
        self.tests: dict[str, Any] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Only what is wanted, in its order."""
        if self.order is not None:
            place = {name: at for at, name in enumerate(self.order)}
            out = [item for item in items if item.nodeid not in place]
            config.hook.pytest_deselected(items=out)
            items[:] = sorted((i for i in items if i.nodeid in place), key=lambda item: place[item.nodeid])
        self.wanted = len(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Set-up, test and end together."""
        begun = time.perf_counter()
        trace.clear()
        try:
            return (yield)
        finally:
            seconds = round(time.perf_counter() - begun, 4)
            self.tests[item.nodeid] = {"seconds": seconds, "ran": trace.taken()}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of each part of a test."""
        self.passed += report.when == "call" and report.passed
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A test file that cannot be imported."""
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """For who started this run."""
        told = {"failed": self.failed, "passed": self.passed, "wanted": self.wanted, "tests": self.tests}
        Path(os.environ[RESULT]).write_text(json.dumps(told))


if os.environ.get(TRACE):
    trace.install()


def pytest_configure(config: pytest.Config) -> None:
    """Only in a run of ours, not in the runs that tests start."""
    if os.environ.get(RESULT) and not GUARDED:
        GUARDED.append(True)
        config.pluginmanager.register(Report(), "onlyvips-fault")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
        guard_strangers(int(os.environ[WORKER]))


def guard_strangers(worker: int) -> None:
    """`os.kill` and `os.killpg` find nobody but the processes below `worker`."""
    kill, killpg = os.kill, os.killpg

    def below(pid: int) -> bool:
        try:
            return worker in [parent.pid for parent in psutil.Process(pid).parents()]
        except psutil.Error:
            return False

    def kill_ours(pid: int, number: int) -> None:
        if number and not (pid > 0 and below(pid)):
            raise ProcessLookupError(f"pid {pid} is not below this run")
        kill(pid, number)

    def killpg_ours(group: int, number: int) -> None:
        members = [pid for pid in psutil.pids() if group_of(pid) == group]
        if number and not (members and all(map(below, members))):
            raise ProcessLookupError(f"process group {group} is not below this run")
        killpg(group, number)

    os.kill, os.killpg = kill_ours, killpg_ours


def group_of(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0
