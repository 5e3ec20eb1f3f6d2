"""pytest as a gate: options, markers, fixtures, and failures with requests, answers and logs, without secrets.

Loaded in every pytest run of an environment, so it imports nothing heavy and does nothing unless it is switched on: the
event stream needs `--release-events`, the guard the ini key `release_guard`, the fixtures a target.

What does not apply is not generated: a test that uses `service` exists once for each service that has what the
test needs (markers `service`, `needs`, and the fixtures that it uses); the rest is listed as "not tested".
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from onlyvips_release.codec import encode
from onlyvips_release.core.plan import SEVERITIES
from onlyvips_release.environment import read_environment
from onlyvips_release.suites.context import NEEDS, Target, Targets, read_targets
from onlyvips_release.suites.controller import Census, Controller, is_worker
from onlyvips_release.suites.expect import Mismatch
from onlyvips_release.suites.secrets import Mask, secrets_in
from onlyvips_release.suites.stream import Detail, Exchange

if TYPE_CHECKING:
    import httpx

    from onlyvips_release.suites.client import Connections

MARKERS = (
    "severity(level): blocker, critical, normal, minor or trivial",
    "service(*names): the check is about these services",
    f"needs(*facts): {', '.join(NEEDS)}; not generated where one is missing",
    "title(text): what the check is about, for people; {parameters} are filled in",
    "allure_label: Allure's own marker, also known where Allure is switched off",
    "docker: needs a Docker engine",
    "cluster: needs a Kubernetes cluster",
    "browser: needs Chromium",
    "prometheus: needs Prometheus",
    "slow: takes more than a second",
)

NEEDS_OF_FIXTURES = {"api": ("http",), "onlyvips_api": ("http",), "stable_api": ("http", "stable")}
"""What a test needs because of the fixtures that it uses."""

NOWHERE = "nowhere"
"""The parameter of a test that applies to no service; such a test is taken out of the collection."""

TARGETS = pytest.StashKey[Targets]()
MASK = pytest.StashKey[Mask]()
CENSUS = pytest.StashKey[Census]()
CONNECTIONS = pytest.StashKey["Connections"]()


# --- options ----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """One group, prefixed; the variables in brackets and the ini keys do the same."""
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
    parser.addini("release_target", "as --release-target, separated by blanks", type="args")
    parser.addini("release_stable", "as --release-stable, separated by blanks", type="args")
    parser.addini("release_revision", "as --release-revision", default="")
    parser.addini(
        "release_guard", "turn a green exit code red when not everything was proved", type="bool", default=False
    )


def pytest_configure(config: pytest.Config) -> None:
    """Markers, the target and the mask in every process; event stream and guard in the controller."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getini("release_guard"):
        config.addinivalue_line("filterwarnings", "error::pytest.PytestReturnNotNoneWarning")
        config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")
    targets = config.stash[TARGETS] = read_targets(config)
    hidden = [secret for target in targets.services.values() for secret in target.context.secrets]
    mask = config.stash[MASK] = Mask([*hidden, *secrets_in(read_environment().variables)])
    census = config.stash[CENSUS] = Census(mask)
    config.pluginmanager.register(census, "onlyvips-release-census")
    if not is_worker(config) and (config.getoption("--release-events") or config.getini("release_guard")):
        config.pluginmanager.register(Controller(config, census, targets), "onlyvips-release-controller")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The backstop: known secrets leave the files that this run has written."""
    mask = config.stash.get(MASK, None)
    if mask is None or is_worker(config):
        return
    for name in ("xmlpath", "allure_report_dir", "log_file"):
        if written := config.getoption(name, None):
            mask.scrub(Path(written))


# --- failures ---------------------------------------------------------------------------------------------------------

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Connections that are made again, and requests, belong to this test from now on."""
    if connections := item.config.stash.get(CONNECTIONS, None):
        connections.begin()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The exception (Allure reads it) and the report lose their secrets; a failure gets its last requests and logs."""
    mask = item.config.stash[MASK]
    connections = item.config.stash.get(CONNECTIONS, None)
    if connections and connections.retries:
        item.user_properties.append(("connection_retries", connections.retries))
    if call.excinfo is not None:
        error = call.excinfo.value
        error.args = tuple(mask(part) if isinstance(part, str) else part for part in error.args)
    report = yield
    if report.failed and call.excinfo is not None:
        exchanges = [sent.exchange(mask) for sent in connections.sent] if connections else []
        describe(report, call.excinfo, exchanges, logs_of(item))
    return conceal(report, mask)


def describe(
    report: pytest.TestReport, caught: pytest.ExceptionInfo[BaseException], exchanges: list[Exchange], logs: str
) -> None:
    """Expected, got, limit, requests and answers, logs: as text for people, and in parts for reports."""
    error, text = caught.value, [f"{caught.exconly()}\n{report.longreprtext}"]
    fields = {"expected": "", "got": str(error), "limit": ""}
    if isinstance(error, Mismatch):
        frames = [f"{Path(str(f.path)).name}:{f.lineno + 1}" for f in caught.traceback]
        text = [f"{error.what} (at {[f for f in frames if not f.startswith('expect.py:')][-1]})"]
        fields = {"expected": error.expected, "got": error.got, "limit": error.limit or "none"}
        text += [f"  {name}: {value}" for name, value in fields.items()]
    for one in exchanges:
        text += [f"  request: {one.request}", f"  response: {one.response}"]
    if len(text) > 1:
        report.longrepr = "\n".join([*text, f"  logs: {logs}"])
    detail = Detail(**fields, exchanges=tuple(exchanges), logs=logs)
    vars(report)["onlyvips"] = encode(detail)  # JSON, because reports travel from xdist's workers to the controller


def logs_of(item: pytest.Item) -> str:
    """Where the logs of the service under test lie."""
    target = item.config.stash[TARGETS].services.get(str(parameters_of(item).get("service")))
    return ", ".join(target.logs) if target and target.logs else "not known (a bare URL names none)"


def conceal(report: R, mask: Mask) -> R:
    """The report without secrets; its traceback stays as it is where it holds none."""
    if isinstance(report.longrepr, tuple):
        path, line, why = report.longrepr
        report.longrepr = (path, line, mask(why))
    elif report.longrepr is not None:
        text = report.longreprtext
        if mask(text) != text:
            report.longrepr = mask(text)
    report.sections = [(name, mask(content)) for name, content in report.sections]
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for modules that cannot be imported."""
    return conceal((yield), collector.config.stash[MASK])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What this run leaves untested, and why; and what it leaves behind."""
    census = config.stash[CENSUS]
    for need, tests in sorted(census.not_tested.items()):
        terminalreporter.write_line(f"not tested: needs {need}: {', '.join(sorted(tests))}")
    for what in sorted(census.left_behind):
        terminalreporter.write_line(f"left behind: {what}")


# --- severity and title -----------------------------------------------------------------------------------------------


def parameters_of(item: pytest.Item) -> dict[str, object]:
    """The values of a test's parameters by name; {} for a test without any."""
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def severity_of(item: pytest.Item) -> str:
    """Of the marker, else of Allure's own, else normal. A marker without exactly one level has none."""
    if marker := item.get_closest_marker("severity"):
        return level_of(marker.args[0]) if len(marker.args) == 1 and not marker.kwargs else ""
    for label in item.iter_markers("allure_label"):
        if label.kwargs.get("label_type") == "severity" and label.args:
            return level_of(label.args[0])
    return "normal"


def level_of(level: object) -> str:
    """The level of a text or of an enumeration."""
    return str(getattr(level, "value", level))


def fault_of(item: pytest.Item) -> str:
    """What is wrong with a test's markers: a typo would silently make a weaker gate. "" = nothing."""
    level = severity_of(item)
    if level not in SEVERITIES:
        return f"severity {level!r} is none of {', '.join(SEVERITIES)}"
    unknown = sorted(set(needs_of(item)) - set(NEEDS))
    return f"needs {unknown[0]!r}, which is none of {', '.join(NEEDS)}" if unknown else ""


class Parameters(dict[str, object]):
    """Values of a title's {words}; those that are no parameters stay as they are."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Severity and title travel with the reports (also from xdist's workers), to JUnit and to Allure."""
    level = severity_of(item)
    item.user_properties.append(("severity", level))
    if item.get_closest_marker("severity"):
        item.add_marker(pytest.mark.allure_label(level, label_type="severity"))
    title = item.get_closest_marker("title")
    if title is None or not title.args:
        return
    text = str(title.args[0]).format_map(Parameters(parameters_of(item)))
    item.user_properties.append(("title", text))
    function = getattr(item.obj, "__func__", item.obj) if isinstance(item, pytest.Function) else None
    if function is not None and not hasattr(function, "__allure_display_name__"):
        function.__allure_display_name__ = title.args[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what applies to no service. A fault in a marker ends the run."""
    for item in items:
        fault = fault_of(item)
        if fault and not is_worker(config):
            raise pytest.UsageError(f"{item.nodeid}: {fault}")
    left_out = {item for item in items if parameters_of(item).get("service") is NOWHERE}
    config.stash[CENSUS].left_out |= {item.nodeid for item in left_out}
    items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The same fault on xdist's workers, where a usage error would be an internal one."""
    if fault := fault_of(item):
        pytest.fail(fault, pytrace=False)


# --- generation -------------------------------------------------------------------------------------------------------


def needs_of(item: Any) -> list[str]:
    """What a test needs by marker."""
    return [str(need) for mark in item.iter_markers("needs") for need in mark.args]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`service` is each service that the marker names (else each with HTTP, or with what is needed) and that fits."""
    targets = metafunc.config.stash[TARGETS].services
    item = metafunc.definition
    if not targets or not uses_our_service(item):
        return
    marked = needs_of(item)
    needs = {need for need in marked if need in NEEDS}
    needs |= {need for fixture in metafunc.fixturenames for need in NEEDS_OF_FIXTURES.get(fixture, ())}
    named = [str(name) for mark in item.iter_markers("service") for name in mark.args]
    missing = metafunc.config.stash[CENSUS].not_tested
    fit = []
    for name in named or [n for n, target in targets.items() if target.routed or (marked and "http" not in needs)]:
        lacks = [NEEDS[need] for need in NEEDS if need in needs and name in targets and not targets[name].has(need)]
        if name not in targets:
            lacks = [f"{name} among the targets"]
        if lacks:
            missing.setdefault(lacks[0], []).append(f"{item.name}[{name}]")
        else:
            fit.append(name)
    metafunc.parametrize("service", fit or [NOWHERE], indirect=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """A missing target is a usage error, never a skip (on xdist's workers the fixture raises it)."""
    targets = session.config.stash[TARGETS]
    if not is_worker(session.config) and not targets.services and any(uses_our_service(item) for item in session.items):
        raise pytest.UsageError(targets.problem)


def uses_our_service(item: Any) -> bool:
    """Whether a test's `service` is our fixture, and not a parameter or a fixture of its own."""
    own = {name.strip() for mark in item.iter_markers("parametrize") for name in names_of(mark.args[0])}
    info = getattr(item, "_fixtureinfo", None)
    definitions: Any = info.name2fixturedefs.get("service", ()) if info else ()
    return "service" not in own and bool(definitions) and definitions[-1].func.__module__ == __name__


def names_of(argument: Any) -> list[str]:
    """The names of a parametrize mark."""
    return argument.split(",") if isinstance(argument, str) else list(argument)


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Id, weight, step, arm and suite of the release under way; {} outside of one."""
    return request.config.stash[TARGETS].release


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Target:
    """The service under test."""
    targets = request.config.stash[TARGETS]
    if not hasattr(request, "param"):
        raise pytest.UsageError(targets.problem)
    return targets.services[request.param]


@pytest.fixture(scope="session")
def api_client_args() -> dict[str, Any]:
    """More arguments for every httpx client; a suite may override this."""
    return {}


@pytest.fixture(scope="session")
def _connections(request: pytest.FixtureRequest, api_client_args: dict[str, Any]) -> Iterator[Connections]:
    """The session's clients."""
    from onlyvips_release.suites.client import Connections  # noqa: PLC0415 - only where a suite talks to a service

    stash = request.config.stash
    connections = stash[CONNECTIONS] = Connections(api_client_args, stash[MASK])
    yield connections
    connections.close()
    del stash[CONNECTIONS]


@pytest.fixture
def onlyvips_api(service: Target, _connections: Connections) -> httpx.Client:
    """An httpx client on the arm under test."""
    return _connections.client(service, service.arm)


@pytest.fixture
def api(onlyvips_api: httpx.Client) -> httpx.Client:
    """The same under a shorter name, which another plugin may take."""
    return onlyvips_api


@pytest.fixture
def stable_api(service: Target, _connections: Connections) -> httpx.Client:
    """An httpx client on stable."""
    return _connections.client(service, "stable")


@pytest.fixture(scope="session")
def metrics(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the judge had counted when this run began: service -> metric -> arm -> [bad, total]; {} outside of a
    release."""
    counts: dict[str, Any] = request.config.stash[TARGETS].release.get("metrics", {})
    return counts


@pytest.fixture(scope="session")
def left_behind(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`left_behind(what)`: something stays on the platform after this run; it is listed at the end and in reports."""
    return request.config.stash[CENSUS].left_behind.add
