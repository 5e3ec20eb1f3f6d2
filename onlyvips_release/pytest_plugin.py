"""pytest as a gate: options, fixtures, severity, the event stream that verdicts are made of, and a guard for bare runs.

Loaded in every pytest run of an environment, so it imports nothing heavy and does nothing unless it is asked to: the
event stream needs `--release-events`, the guard the ini key `release_guard`, the fixtures a target.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

SEVERITIES = ("blocker", "critical", "normal", "minor", "trivial")
TEXT = 1500
"""Characters of a failure that go into an event."""

MARKERS = (
    "severity(level): blocker, critical, normal, minor or trivial",
    "service(*names): the check is about these services; it is not generated where none of them is there",
    "title(text): what the check is about, for people",
    "docker: needs a Docker engine",
    "cluster: needs a Kubernetes cluster",
    "browser: needs Chromium",
    "prometheus: needs Prometheus",
    "slow: takes more than a second",
)


# --- options ----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """One group, prefixed; the variables in brackets do the same."""
    group = parser.getgroup("release", "release gate")
    group.addoption(
        "--release-target",
        action="append",
        metavar="[SERVICE=]URL",
        help="the canary (or whatever is to be tested); SERVICE defaults to backend-api; repeatable [ONLYVIPS_TARGET]",
    )
    group.addoption(
        "--release-stable", action="append", metavar="[SERVICE=]URL", help="what it is compared with [ONLYVIPS_STABLE]"
    )
    group.addoption("--release-revision", metavar="NAME", help="the revision that must answer [ONLYVIPS_REVISION]")
    group.addoption("--release-events", metavar="FILE", help="write the event stream there (the release runner does)")
    group.addoption("--release-run", metavar="ID", default="", help="id of this run, repeated in its events")
    group.addoption("--min-passed", type=int, default=1, metavar="N", help="the guard wants at least so many passed")
    parser.addini(
        "release_guard", "turn a green exit code red when not everything was proved", type="bool", default=False
    )


def pytest_configure(config: pytest.Config) -> None:
    """Markers, the target, and the event stream on the controller."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getini("release_guard"):
        config.addinivalue_line("filterwarnings", "error::pytest.PytestReturnNotNoneWarning")
        config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")
    config.stash[TARGETS] = read_targets(config)
    config.stash[NOT_TESTED] = set()
    path = config.getoption("--release-events")
    controller = not hasattr(config, "workerinput")
    if controller and (path or config.getini("release_guard")):
        gate = Gate(config, Stream(path, config.getoption("--release-run")))
        config.pluginmanager.register(gate, "onlyvips-release-gate")


# --- severity ---------------------------------------------------------------------------------------------------------


def severity_of(item: pytest.Item) -> str:
    """Of the marker, else of Allure's own, else normal."""
    marker = item.get_closest_marker("severity")
    if marker and marker.args:
        return str(marker.args[0])
    for found in item.iter_markers("allure_label"):
        if found.kwargs.get("label_type") == "severity" and found.args:
            return str(getattr(found.args[0], "value", found.args[0]))
    return "normal"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Severity travels with the reports (also from xdist's workers) and to Allure."""
    level = severity_of(item)
    item.user_properties.append(("severity", level))
    if item.get_closest_marker("severity"):
        item.add_marker(pytest.mark.allure_label(level, label_type="severity"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A typo in a severity ends the run: it would silently be a weaker gate."""
    if hasattr(config, "workerinput"):
        return
    for item in items:
        if severity_of(item) not in SEVERITIES:
            raise pytest.UsageError(f"{item.nodeid}: severity {severity_of(item)!r} is none of {', '.join(SEVERITIES)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The same on xdist's workers, where a usage error would be an internal one."""
    if severity_of(item) not in SEVERITIES:
        pytest.fail(f"severity {severity_of(item)!r} is none of {', '.join(SEVERITIES)}", pytrace=False)


# --- the event stream -------------------------------------------------------------------------------------------------


class Stream:
    """JSON lines, one write and flush each."""

    def __init__(self, path: str | None, run: str) -> None:
        self.file = Path(path).open("a", encoding="utf-8") if path else None  # noqa: SIM115 - closed by the last hook
        self.run = run

    def write(self, kind: str, **fields: Any) -> None:
        """One event."""
        if self.file and not self.file.closed:
            self.file.write(json.dumps({"k": kind, "run": self.run, **fields}) + "\n")
            self.file.flush()

    def close(self) -> None:
        """The end."""
        if self.file:
            self.file.close()


@dataclass
class Gate:
    """Hooks of the controller: writes the stream, stops at the first critical failure, guards the exit code."""

    config: pytest.Config
    stream: Stream
    planned: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """First event: who runs, and whether the plugins that turn silent failures red are there."""
        self.session = session
        has = session.config.pluginmanager.hasplugin
        self.stream.write("start", pid=os.getpid(), warnings=has("warnings"), threads=has("threadexception"))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported."""
        if report.failed:
            self.stream.write("collect_error", node=report.nodeid, text=str(report.longrepr)[:TEXT])

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """What was left out."""
        self.stream.write("deselected", ids=[item.nodeid for item in items])

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is planned (without xdist)."""
        self._collected([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """What is planned (of one worker)."""
        self._collected(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker died."""
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
        self.stream.write(
            "report",
            node=report.nodeid,
            when="crash" if crash else report.when,
            outcome=report.outcome,
            duration=round(report.duration, 4),
            severity=severity,
            wasxfail=hasattr(report, "wasxfail"),
            rerun=getattr(report, "rerun", 0),
            retries=properties.get("connection_retries", 0),
            text=str(report.longrepr)[-TEXT:] if report.failed else "",
        )
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
        self.stream.write("finish", exit=int(session.exitstatus))
        self.stream.close()
        return result

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """What this target leaves untested."""
        left_out: set[str] = self.config.stash[NOT_TESTED]
        for needs in sorted(left_out):
            terminalreporter.write_line(f"not tested: {needs}")

    def _collected(self, ids: list[str]) -> None:
        self.planned |= set(ids)
        self.stream.write("collected", ids=ids)

    def _unproved(self) -> str:
        if self.config.option.collectonly:
            return ""
        if self.failed:
            return f"{sorted(self.failed)[0]} failed"
        if len(self.passed) < self.config.getoption("--min-passed"):
            return f"{len(self.passed)} passed, at least {self.config.getoption('--min-passed')} wanted"
        missing = self.planned - self.reported
        return f"{len(missing)} of {len(self.planned)} never reported" if missing else ""

    def _abort(self, node: str, severity: str) -> None:
        if severity not in ("blocker", "critical") or not self.stream.file or self.session is None:
            return
        why = f"{severity} check failed: {node}"
        self.stream.write("abort", text=why)
        self.session.shouldstop = why
        distributed = self.config.pluginmanager.getplugin("dsession")
        if distributed:
            distributed.shouldstop = why


# --- what is tested ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """One service as a suite sees it. `arms`: base URL and headers by arm; `facts`: what the runner knows, or {}."""

    name: str
    arm: str
    urls: dict[str, str]
    headers: dict[str, dict[str, str]] = field(repr=False)  # pins: pytest prints fixtures when a test fails
    facts: dict[str, Any] = field(repr=False)

    @property
    def routed(self) -> bool:
        """Whether it answers HTTP."""
        return bool(self.urls)

    @property
    def revision(self) -> str:
        """The revision that must answer; "" = nobody said."""
        return str(self.facts.get("revisions", {}).get(self.arm, ""))

    @property
    def instances(self) -> list[dict[str, Any]]:
        """The instances of that revision."""
        return [i for i in self.facts.get("instances", ()) if i["revision"] == self.revision]


@dataclass(frozen=True)
class Targets:
    """All of them; `release`: id, weight, step, arm and suite, {} outside of a release."""

    services: dict[str, Target]
    release: dict[str, Any]


TARGETS = pytest.StashKey[Targets]()
NOT_TESTED: pytest.StashKey[set[str]] = pytest.StashKey()


def read_targets(config: pytest.Config) -> Targets:
    """Option, then variable, then the runner's context file."""
    chosen = config.getoption("--release-target") or os.environ.get("ONLYVIPS_TARGET", "").split()
    if chosen:
        stable = config.getoption("--release-stable") or os.environ.get("ONLYVIPS_STABLE", "").split()
        revision = config.getoption("--release-revision") or os.environ.get("ONLYVIPS_REVISION", "")
        return Targets(given(chosen, stable, revision), {})
    path = os.environ.get("ONLYVIPS_CONTEXT")
    if not path:
        return Targets({}, {})
    found = json.loads(Path(path).read_text())
    arm = found["arm"]
    services = {name: in_context(name, arm, facts) for name, facts in found["services"].items()}
    usable = {name: target for name, target in services.items() if target.routed or target.instances}
    return Targets(usable, {key: value for key, value in found.items() if key != "services"})


def given(chosen: list[str], stable: list[str], revision: str) -> dict[str, Target]:
    """Targets of bare URLs."""
    pairs = {"canary": dict(split(text) for text in chosen), "stable": dict(split(text) for text in stable)}
    found = {}
    for name in pairs["canary"]:
        urls = {arm: urls[name] for arm, urls in pairs.items() if name in urls}
        facts = {"revisions": {"canary": revision}} if revision else {}
        found[name] = Target(name, "canary", urls, {arm: {} for arm in urls}, facts)
    return found


def split(text: str) -> tuple[str, str]:
    """`SERVICE=URL`, or a URL of backend-api."""
    name, sign, url = text.partition("=")
    return (name, url) if sign and "/" not in name else ("backend-api", text)


def in_context(name: str, arm: str, facts: dict[str, Any]) -> Target:
    """A target of the release runner: the router's URL, told apart by pin."""
    if not facts["routed"]:
        return Target(name, arm, {}, {}, facts)
    headers = {a: {"Host": facts["host"], "x-onlyvips-pin": pin} for a, pin in facts["pins"].items()}
    return Target(name, arm, dict.fromkeys(headers, facts["url"]), headers, facts)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> list[Any] | None:
    """A check of services that are not there is not generated: a skip would hide it."""
    own = [mark for mark in getattr(obj, "pytestmark", ()) if mark.name == "service"]
    marks = own or list(collector.iter_markers("service"))
    if not marks or not name.startswith("test"):
        return None
    names = {argument for mark in marks for argument in mark.args}
    targets = collector.config.stash[TARGETS].services
    if not targets or names & set(targets):
        return None
    collector.config.stash[NOT_TESTED].add(f"{name} (needs {', '.join(sorted(names))})")
    return []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`service` is each service that the check's marker names, or each with HTTP."""
    targets = metafunc.config.stash[TARGETS].services
    if not targets or not asks_for_us(metafunc.definition):
        return
    mark = metafunc.definition.get_closest_marker("service")
    names = [n for n in targets if (n in mark.args if mark else targets[n].routed)]
    metafunc.parametrize("service", names, indirect=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """A missing target is a usage error, never a skip."""
    if hasattr(session.config, "workerinput") or session.config.stash[TARGETS].services:
        return
    if any(asks_for_us(item) for item in session.items):
        raise pytest.UsageError(NO_TARGET)


def asks_for_us(item: pytest.Item) -> bool:
    """Whether a test's `service` is our fixture, and not a parameter or a fixture of its own."""
    own = {name.strip() for mark in item.iter_markers("parametrize") for name in names_of(mark.args[0])}
    found = getattr(item, "_fixtureinfo", None)
    kept: Any = found.name2fixturedefs.get("service", ()) if found else ()
    return "service" not in own and bool(kept) and kept[-1].func.__module__ == __name__


def names_of(argument: Any) -> list[str]:
    """The names of a parametrize mark."""
    return argument.split(",") if isinstance(argument, str) else list(argument)


NO_TARGET = "no target: give --release-target [SERVICE=]URL, or set ONLYVIPS_TARGET"


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Id, weight, step, arm and suite of the release under way; {} outside of one."""
    return request.config.stash[TARGETS].release


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Target:
    """The service under test."""
    if not hasattr(request, "param"):
        raise pytest.UsageError(NO_TARGET)
    return request.config.stash[TARGETS].services[request.param]


@pytest.fixture(scope="session")
def _clients() -> Iterator[dict[tuple[str, str], httpx.Client]]:
    """One client per service and arm, kept open for the session."""
    found: dict[tuple[str, str], httpx.Client] = {}
    yield found
    for client in found.values():
        client.close()


@pytest.fixture
def onlyvips_api(service: Target, _clients: Any, request: pytest.FixtureRequest) -> httpx.Client:
    """An httpx client on the arm under test."""
    return connected(service, service.arm, _clients, request.node)


@pytest.fixture
def api(onlyvips_api: httpx.Client) -> httpx.Client:
    """The same under a shorter name, which another plugin may take."""
    return onlyvips_api


@pytest.fixture
def stable_api(service: Target, _clients: Any, request: pytest.FixtureRequest) -> httpx.Client:
    """An httpx client on stable."""
    if "stable" not in service.urls:
        raise pytest.UsageError("no stable: give --release-stable [SERVICE=]URL, or set ONLYVIPS_STABLE")
    return connected(service, "stable", _clients, request.node)


@pytest.fixture(scope="session")
def metrics(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The judge's view at the start of this run, by service; {} outside of a release."""
    found: dict[str, Any] = request.config.stash[TARGETS].release.get("metrics", {})
    return found


def connected(
    target: Target, arm: str, clients: dict[tuple[str, str], httpx.Client], item: pytest.Item
) -> httpx.Client:
    """A client whose *connections* are tried again, before anything was sent: at most 3 in 5 s, each one counted."""
    import httpx  # noqa: PLC0415
    import tenacity  # noqa: PLC0415

    key = (target.name, arm)
    if key not in clients:
        transport = httpx.HTTPTransport()
        send = transport.handle_request
        refused = tenacity.retry_if_exception_type((httpx.ConnectError, httpx.ConnectTimeout))
        counted: list[int] = []

        def again(state: tenacity.RetryCallState) -> None:
            counted.append(1)
            item.user_properties.append(("connection_retries", len(counted)))

        retrying = tenacity.Retrying(
            retry=refused,
            stop=tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(5),
            wait=tenacity.wait_fixed(0.2),
            before_sleep=again,
            reraise=True,
        )
        transport.handle_request = lambda request: retrying(send, request)  # type: ignore[method-assign]
        headers = {"User-Agent": "onlyvips-release", **target.headers[arm]}
        clients[key] = httpx.Client(base_url=target.urls[arm], headers=headers, timeout=10, transport=transport)
    return clients[key]
