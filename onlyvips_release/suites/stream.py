"""What the controller of a pytest run tells and decides: event stream, abort, guard; and what each process left out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.core.plan import SEVERITIES
from onlyvips_release.suites.context import Targets
from onlyvips_release.suites.secrets import Mask

STOPPING = ("blocker", "critical")
TEXT = 1500
"""Characters of a failure that go into an event."""
RETRIES = 3
"""So many repeated connections in one suite are a failure of their own."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's workers; the controller alone speaks and judges."""
    return hasattr(config, "workerinput")


@dataclass(eq=False)  # pytest puts plugins into sets
class Census:
    """What one process collected and left out. A worker's is handed to the controller, which collects nothing."""

    mask: Mask
    collected: set[str] = field(default_factory=set)
    deselected: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    not_tested: dict[str, list[str]] = field(default_factory=dict)
    left_behind: set[str] = field(default_factory=set)
    planned: list[str] = field(default_factory=list)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Seen, whatever a conftest makes of the list later."""
        self.collected.add(item.nodeid)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Left out openly."""
        self.deselected += [item.nodeid for item in items]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is going to run."""
        self.planned = [item.nodeid for item in session.items]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker hands it over, and what it learned to hide."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["onlyvips"] = self.told() | {"secrets": sorted(self.mask.known)}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """What a worker handed over; nothing when it died."""
        told = handed_over(node)
        self.mask.learn(*told.get("secrets", ()))
        self.not_tested |= told.get("not_tested", {})
        self.left_behind |= set(told.get("left_behind", ()))

    def told(self) -> dict[str, Any]:
        """As fields of events; `lost`: collected, and taken out by nobody who said so."""
        lost = self.collected - {*self.planned, *self.deselected, *self.left_out}
        return {
            "deselected": self.deselected,
            "lost": sorted(lost),
            "not_tested": self.not_tested,
            "left_behind": sorted(self.left_behind),
        }


def handed_over(node: Any) -> dict[str, Any]:
    """What one of xdist's workers told at its end; {} when it died."""
    found: dict[str, Any] = getattr(node, "workeroutput", {}).get("onlyvips", {})
    return found


def said(failure: object) -> str:
    """What matters of a failure: a told one begins with it, a traceback ends with it."""
    return failure[:TEXT] if isinstance(failure, str) else str(failure)[-TEXT:]


class Stream:
    """JSON lines without secrets, one write and flush each."""

    def __init__(self, path: str | None, run: str, mask: Mask) -> None:
        self.file = Path(path).open("a", encoding="utf-8") if path else None  # noqa: SIM115 - closed by the last hook
        self.run, self.mask = run, mask

    def write(self, kind: str, **fields: Any) -> None:
        """One event."""
        if self.file and not self.file.closed:
            self.file.write(json.dumps(self.mask.tree({"k": kind, "run": self.run, **fields})) + "\n")
            self.file.flush()

    def close(self) -> None:
        """The end."""
        if self.file:
            self.file.close()


@dataclass(eq=False)
class Gate:
    """Hooks of the controller: writes the stream, stops at the first critical failure, guards the exit code."""

    config: pytest.Config
    stream: Stream
    census: Census
    targets: Targets
    planned: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    retries: dict[str, int] = field(default_factory=dict)
    session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """First event: who runs, against what, and whether the plugins that turn silent failures red are there."""
        self.session = session
        has = session.config.pluginmanager.hasplugin
        plugins = {"warnings": has("warnings"), "threads": has("threadexception")}
        self.stream.write("start", pid=os.getpid(), targets=self.targets.origin, **plugins)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported."""
        if report.failed:
            self.stream.write("collect_error", node=report.nodeid, text=str(report.longrepr)[:TEXT])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is planned (without xdist), and what is not."""
        levels = Counter(str(dict(item.user_properties).get("severity", "normal")) for item in session.items)
        self._collected([item.nodeid for item in session.items], levels)
        self._left_out(self.census.told())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """What is planned (of one worker)."""
        self._collected(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker ended, or died."""
        if told := handed_over(node):
            self._left_out(told)
        if error:
            self.stream.write("worker_down", text=str(error)[:TEXT])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """So that a hung test has a name."""
        self.stream.write("logstart", node=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        properties = dict(report.user_properties)
        crash = report.when not in ("setup", "call", "teardown")
        severity = "critical" if crash else str(properties.get("severity", "normal"))
        retries = int(str(properties.get("connection_retries", 0)))
        self.stream.write(
            "report",
            node=report.nodeid,
            title=properties.get("title", ""),
            when="crash" if crash else report.when,
            outcome=report.outcome,
            duration=round(report.duration, 4),
            severity=severity,
            wasxfail=hasattr(report, "wasxfail"),
            rerun=getattr(report, "rerun", 0),
            retries=retries,
            text=said(report.longrepr) if report.failed else "",
            **({"detail": report.onlyvips} if hasattr(report, "onlyvips") else {}),
        )
        self.retries[report.nodeid] = retries
        if report.when == "call" or report.outcome != "passed":
            self.reported.add(report.nodeid)
        if report.when == "call" and report.outcome == "passed":
            self.passed.add(report.nodeid)
        if report.outcome == "failed":
            self.failed.add(report.nodeid)
            if not crash:
                self._abort(report.nodeid, severity)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """After every other plugin: the last event, and a red exit code where green would be a lie."""
        result = yield
        why = self._unproved() if self.config.getini("release_guard") and int(session.exitstatus) == 0 else ""
        if why:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            reporter = self.config.pluginmanager.getplugin("terminalreporter")
            if reporter:
                reporter.write_line(f"release guard: {why}", red=True)
        if self.census.left_behind:
            self.stream.write("left_behind", what=sorted(self.census.left_behind))
        self.stream.write("finish", exit=int(session.exitstatus))
        self.stream.close()
        return result

    def _collected(self, ids: list[str], levels: Mapping[str, int] = {}) -> None:
        self.planned |= set(ids)
        self.stream.write("collected", ids=ids, levels=dict(levels))

    def _left_out(self, told: dict[str, Any]) -> None:
        if told["deselected"]:
            self.stream.write("deselected", ids=told["deselected"])
        if told["lost"]:
            self.stream.write("lost", ids=told["lost"])
        if told["not_tested"]:
            self.stream.write("not_tested", needs=told["not_tested"])

    def _unproved(self) -> str:
        if self.failed:
            return f"{sorted(self.failed)[0]} failed"
        wanted = self.config.getoption("--min-passed")
        if len(self.passed) < wanted:
            return f"{len(self.passed)} passed, at least {wanted} wanted"
        if (made := sum(self.retries.values())) >= RETRIES:
            return f"{made} connections had to be made again"
        missing = self.planned - self.reported
        return f"{len(missing)} of {len(self.planned)} never reported" if missing else ""

    def _abort(self, node: str, severity: str) -> None:
        gate = self.targets.gate or "normal"
        counts = severity in STOPPING and SEVERITIES.index(severity) <= SEVERITIES.index(gate)
        if not counts or not self.stream.file or self.session is None:
            return
        why = f"{severity} check failed: {node}"
        self.stream.write("abort", text=why)
        self.session.shouldstop = why
        distributed = self.config.pluginmanager.getplugin("dsession")
        if distributed:
            distributed.shouldstop = why  # xdist does not look at the session's
