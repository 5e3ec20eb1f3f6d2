"""What the controller of a pytest run does (event stream, abort, guard), and what each process left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.codec import decode
from onlyvips_release.core.model import Verdict
from onlyvips_release.suites import stream
from onlyvips_release.suites.context import Targets
from onlyvips_release.suites.secrets import Mask
from onlyvips_release.suites.tally import Tally, Terms

TEXT = 1500
"""Characters of a failure that go into an event."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's workers; only the controller writes events and judges."""
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
        """Counted, whatever a conftest makes of the list later."""
        self.collected.add(item.nodeid)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Left out by pytest's own means."""
        self.deselected += [item.nodeid for item in items]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is going to run."""
        self.planned = [item.nodeid for item in session.items]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker hands its events, and the secrets that it learned, to the controller."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            lines = [stream.encode_line(event) for event in self.omissions()]
            left = {"not_tested": self.not_tested, "left_behind": sorted(self.left_behind)}
            output["onlyvips"] = {"lines": lines, "secrets": sorted(self.mask.secrets), **left}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """The controller takes over what a worker learned and left; nothing when it died."""
        handed = handed_over(node)
        self.mask.learn(*handed.get("secrets", ()))
        self.not_tested |= handed.get("not_tested", {})
        self.left_behind |= set(handed.get("left_behind", ()))

    def omissions(self) -> list[stream.StreamEvent]:
        """What this process left out of its run."""
        lost = self.collected - {*self.planned, *self.deselected, *self.left_out}
        return [
            *([stream.Deselected(tuple(self.deselected))] if self.deselected else []),
            *([stream.Lost(tuple(sorted(lost)))] if lost else []),
            *([stream.NotTested({need: tuple(t) for need, t in self.not_tested.items()})] if self.not_tested else []),
        ]


def handed_over(node: Any) -> dict[str, Any]:
    """What one of xdist's workers handed over at its end; nothing when it died."""
    handed: dict[str, Any] = getattr(node, "workeroutput", {}).get("onlyvips", {})
    return handed


class Controller:
    """Hooks of the controller: write the stream, stop at the first critical failure, guard the exit code.

    The guard judges by the same tally as a release, but for any target and with tests deselected at will.
    """

    def __init__(self, config: pytest.Config, census: Census, targets: Targets) -> None:
        path = config.getoption("--release-events")
        self.file = Path(path).open("a", encoding="utf-8") if path else None  # noqa: SIM115 - closed by the last hook
        self.config, self.census, self.targets = config, census, targets
        terms = Terms(config.getoption("--min-passed"), gate=targets.gate or "trivial", deselect=True, released=False)
        self.tally = Tally(terms, config.getoption("--release-run"))
        self.session: pytest.Session | None = None

    def record(self, event: stream.StreamEvent) -> None:
        """Count an event, and write it without secrets and at once."""
        if self.file and not self.file.closed:
            self.file.write(stream.encode_line(event, self.tally.run, self.census.mask.tree))
            self.file.flush()
        self.tally.feed(event)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """First event: who runs, against what, and whether the plugins that turn silent failures red are there."""
        self.session = session
        has = session.config.pluginmanager.hasplugin
        self.record(stream.Start(os.getpid(), self.targets.origin, has("warnings"), has("threadexception")))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported."""
        if report.failed:
            self.record(stream.CollectError(report.nodeid, str(report.longrepr)[:TEXT]))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is planned (without xdist), and what is not."""
        levels = Counter(str(dict(item.user_properties).get("severity", "normal")) for item in session.items)
        self.record(stream.Collected(tuple(item.nodeid for item in session.items), dict(levels)))
        for event in self.census.omissions():
            self.record(event)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """What is planned (of one worker)."""
        self.record(stream.Collected(tuple(ids)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker ended, or died."""
        for _, event in map(stream.parse_line, handed_over(node).get("lines", ())):
            if event:
                self.record(event)
        if error:
            self.record(stream.WorkerDown(str(error)[:TEXT]))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """So that a hung test has a name."""
        self.record(stream.LogStart(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        event = report_event(report)
        self.record(event)
        if event.outcome == "failed" and event.when != "crash" and self.tally.stops(event.severity):
            self._abort(f"{event.severity} check failed: {event.node}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """After every other plugin: the last event, and a red exit code where green would be a lie."""
        result = yield
        if self.config.getini("release_guard") and int(session.exitstatus) == 0:
            self._guard(session)
        if self.census.left_behind:
            self.record(stream.LeftBehind(tuple(sorted(self.census.left_behind))))
        self.record(stream.Finish(int(session.exitstatus)))
        if self.file:
            self.file.close()
        return result

    def _guard(self, session: pytest.Session) -> None:
        self.tally.feed(stream.Finish(0))
        verdict, _, reason = self.tally.conclude(0)
        if verdict is Verdict.PASS:
            return
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter:
            words = f"release guard: exit code 1 instead of 0, because this run is {verdict}: {reason}"
            reporter.write_line(self.census.mask(words), red=True)
            if self.config.getoption("collectonly"):
                reporter.write_line("  to collect without running: add -o release_guard=false", red=True)

    def _abort(self, reason: str) -> None:
        if not self.file or self.session is None:
            return
        self.record(stream.Abort(reason))
        self.session.shouldstop = reason
        distributed = self.config.pluginmanager.getplugin("dsession")
        if distributed:
            distributed.shouldstop = reason  # xdist does not look at the session's


def report_event(report: pytest.TestReport) -> stream.Report:
    """The event of one phase of one test. A crash of its worker counts as critical: it carries no severity."""
    properties = dict(report.user_properties)
    crash = report.when not in ("setup", "call", "teardown")
    return stream.Report(
        report.nodeid,
        "crash" if crash else str(report.when),
        report.outcome,
        title=str(properties.get("title", "")),
        duration=round(report.duration, 4),
        severity="critical" if crash else str(properties.get("severity", "normal")),
        wasxfail=hasattr(report, "wasxfail"),
        rerun=getattr(report, "rerun", 0),
        retries=int(str(properties.get("connection_retries", 0))),
        text=excerpt(report.longrepr) if report.failed else "",
        detail=decode(stream.Detail, report.onlyvips) if hasattr(report, "onlyvips") else None,
    )


def excerpt(failure: object) -> str:
    """What matters of a failure: our own text begins with it, a traceback ends with it."""
    return failure[:TEXT] if isinstance(failure, str) else str(failure)[-TEXT:]
