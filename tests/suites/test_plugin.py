"""The plugin inside pytest: targets, generation, severity, secrets, events, abort, guard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOKEN = "5f0c1e7a9b3d2468ace013579bdf0246"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
TARGET = "--release-target=http://127.0.0.1:9"
WITHOUT = [word for name in ("hypothesispytest", "anyio", "allure_pytest", "xdist") for word in ("-p", f"no:{name}")]
Run = Callable[..., pytest.RunResult]


def service(name: str, **more: Any) -> dict[str, Any]:
    """A service as the runner describes it."""
    return {
        "routed": True,
        "url": "http://127.0.0.1:9",
        "host": f"{name}.local",
        "health": "/health",
        "pins": {"canary": f"canary-{TOKEN}", "stable": f"stable-{TOKEN}"},
        "revisions": {"stable": "v1", "canary": "v2"},
        "identity": None,
        "instances": [{"revision": "v2", "identity": "pid 1", "pid": 1, "alive": True, "log": "", "port": 2}],
        **more,
    }


BOT = {
    "routed": False,
    "revisions": {"stable": "v1", "canary": "v2"},
    "instances": [{"revision": "v1", "identity": "pid 1", "pid": 1, "alive": True, "log": "bot.log", "port": None}],
}


@pytest.fixture(autouse=True)
def _alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """No target from outside; an ini file, so that nobody's else is found."""
    for name in ("CONTEXT", "TARGET", "STABLE", "REVISION"):
        monkeypatch.delenv(f"ONLYVIPS_{name}", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]")


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """pytest in this process, without the plugins that are slow to import each time."""
    without = [
        word for name in ("hypothesispytest", "anyio", "allure_pytest", "xdist") for word in ("-p", f"no:{name}")
    ]
    return lambda *args: pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *without, *args)


@pytest.fixture
def context(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What the release runner hands over."""

    def write(arm: str = "canary", gate: str = "normal", **services: Any) -> None:
        path = pytester.path / "context.json"
        path.write_text(json.dumps({"release": "r0007", "arm": arm, "weight": 10, "gate": gate, "services": services}))
        monkeypatch.setenv("ONLYVIPS_CONTEXT", str(path))

    return write


def events(path: Path) -> list[dict[str, Any]]:
    """All events of a stream."""
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- targets ----------------------------------------------------------------------------------------------------------

URLS = "def test_a(service): print('GOT', service.name, service.urls, service.revision)"


def got(result: pytest.RunResult) -> list[str]:
    """What the tests printed."""
    return [line.partition("GOT ")[2] for line in result.outlines if "GOT " in line]


def test_target_comes_from_option_then_environment_then_ini(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(URLS)
    pytester.makeini("[pytest]\nrelease_target = http://ini miniapp=http://ini-app\nrelease_revision = v-ini")
    assert got(run("-s")) == [
        "backend-api {'canary': 'http://ini'} v-ini",
        "miniapp {'canary': 'http://ini-app'} v-ini",
    ]
    monkeypatch.setenv("ONLYVIPS_TARGET", "http://env")
    monkeypatch.setenv("ONLYVIPS_REVISION", "v-env")
    monkeypatch.setenv("ONLYVIPS_STABLE", "http://old")
    assert got(run("-s")) == ["backend-api {'canary': 'http://env', 'stable': 'http://old'} v-env"]
    options = ("--release-target", "miniapp=http://option?a=b", "--release-revision", "v-option")
    assert got(run("-s", *options)) == ["miniapp {'canary': 'http://option?a=b'} v-option"]


def test_the_runners_context_holds_over_a_variable_left_behind(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(URLS)
    context(api=service("api"))
    monkeypatch.setenv("ONLYVIPS_TARGET", "http://elsewhere")
    assert got(run("-s")) == ["api {'canary': 'http://127.0.0.1:9', 'stable': 'http://127.0.0.1:9'} v2"]


def test_missing_target_is_a_usage_error_not_a_skip(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test_a(api): pass\ndef test_b(): pass")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no target: give --release-target*ONLYVIPS_TARGET*"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"arm": "canary", "services": {"a": 1}}'])
def test_unusable_context_is_a_usage_error_where_it_is_needed(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (pytester.path / "context.json").write_text(text)
    monkeypatch.setenv("ONLYVIPS_CONTEXT", str(pytester.path / "context.json"))
    path = pytester.makepyfile("def test_a(api): pass")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*ONLYVIPS_CONTEXT cannot be used*"])
    path.write_text("def test_a(): pass")
    assert run().ret == 0


def test_a_foreign_suite_keeps_its_own_fixtures_of_these_names(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.fixture
        def service(): return "mine"
        def test_own_fixture(service): assert service == "mine"
        @pytest.mark.parametrize("service", [1, 2])
        def test_own_parameter(service): assert service in (1, 2)
        """
    )
    for arguments in ((), (TARGET,)):
        run(*arguments).assert_outcomes(passed=3)


def test_context_tells_of_the_release_and_of_its_metrics(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None]
) -> None:
    context(api=service("api"))
    pytester.makepyfile(
        "def test_a(release, metrics): assert (release['release'], release['weight'], metrics) == ('r0007', 10, {})"
    )
    run().assert_outcomes(passed=1)


def test_clients_of_a_release_send_host_and_pin_of_their_arm(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None]
) -> None:
    context(api=service("api"))
    pytester.makepyfile(
        """
        import pytest
        @pytest.fixture(scope="session")
        def api_client_args(): return {"headers": {"x-mine": "1"}}
        def test_a(api, onlyvips_api, stable_api):
            assert api is onlyvips_api
            assert api.headers["host"] == "api.local" == stable_api.headers["host"]
            assert api.headers["x-onlyvips-pin"].startswith("canary-")
            assert stable_api.headers["x-onlyvips-pin"].startswith("stable-")
            assert api.headers["user-agent"] == "onlyvips-release"
            assert api.headers["x-mine"] == "1"
        """
    )
    run().assert_outcomes(passed=1)


def test_one_client_per_service_and_arm_serves_the_whole_session(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("seen = []\ndef test_a(api): seen.append(api)\ndef test_b(api): assert seen == [api]")
    run(TARGET).assert_outcomes(passed=2)


# --- generation -------------------------------------------------------------------------------------------------------

MARKED = """
import pytest
def test_all(service): pass
@pytest.mark.service("flirt-bot")
def test_bot(service): pass
@pytest.mark.service("miniapp", "showcu-panel")
def test_front(api): pass
@pytest.mark.needs("process")
def test_process(service): pass
@pytest.mark.needs("pins")
def test_pins(api): pass
@pytest.mark.needs("identity")
def test_identity(api): pass
def test_both(api, stable_api): pass
"""


def collected(result: pytest.RunResult) -> list[str]:
    """Ids without the file."""
    return sorted(line.partition("::")[2] for line in result.outlines if "::" in line and "not tested" not in line)


def test_checks_exist_for_the_services_that_have_what_they_need(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None]
) -> None:
    pytester.makepyfile(MARKED)
    identity = {"header": "x", "json": ""}
    context("stable", miniapp=service("m", identity=identity), **{"flirt-bot": BOT})
    result = run("--collect-only")
    assert collected(result) == [
        "test_all[miniapp]",
        "test_bot[flirt-bot]",
        "test_both[miniapp]",
        "test_front[miniapp]",
        "test_identity[miniapp]",
        "test_pins[miniapp]",
        "test_process[flirt-bot]",
        "test_process[miniapp]",
    ]
    result.stdout.fnmatch_lines(["not tested: needs showcu-panel among the targets: test_front?showcu-panel?"])
    assert "URL" not in result.stdout.str(), "that a bot answers no HTTP is no gap"


def test_a_service_without_traffic_has_no_canary_arm(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None]
) -> None:
    pytester.makepyfile(MARKED)
    context("canary", **{"flirt-bot": BOT, "api": service("api")})
    result = run("--collect-only")
    assert [name for name in collected(result) if "flirt-bot" in name] == []
    result.stdout.fnmatch_lines(["not tested: needs flirt-bot among the targets: test_bot?flirt-bot?"])


def test_bare_url_leaves_out_what_needs_a_release_and_says_so(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(MARKED)
    result = run(TARGET, "-rA")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "not tested: needs --release-stable or ONLYVIPS_STABLE: test_both?backend-api?",
            "not tested: needs a release: `identity` in the plan: test_identity?backend-api?",
            "not tested: needs a release: its router and pins: test_pins?backend-api?",
            "not tested: needs a release: process ids: test_process?backend-api?",
            "not tested: needs flirt-bot among the targets: test_bot?flirt-bot?",
            "not tested: needs miniapp among the targets: test_front?miniapp?",
        ]
    )
    assert "skipped" not in result.stdout.str()


def test_workers_tell_the_controller_what_was_left_out(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MARKED)
    result = pytester.runpytest_subprocess("-q", "-n", "2", "-p", "no:hypothesispytest", TARGET)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not tested: needs a release: its router and pins: test_pins?backend-api?"])


def test_several_folders_with_conftests_are_collected(pytester: pytest.Pytester, run: Run) -> None:
    for folder in ("one", "two"):
        (pytester.mkdir(folder) / "conftest.py").write_text("")
        (pytester.path / folder / f"test_{folder}.py").write_text("def test_a(): pass")
    run().assert_outcomes(passed=2)


# --- severity and titles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "says"),
    [
        ("severity('critcal')", "severity 'critcal' is none of blocker"),
        ("severity()", "severity '' is none of"),
        ("severity(level='critical')", "severity '' is none of"),
        ("needs('pin')", "needs 'pin', which is none of http"),
        ("allure_label('grave', label_type='severity')", "severity 'grave' is none of"),
    ],
)
def test_a_typo_in_a_marker_is_a_usage_error(pytester: pytest.Pytester, run: Run, marker: str, says: str) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.{marker}\ndef test_a(): pass")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_a: {says}*"])


@pytest.mark.parametrize("plugin", ["allure_pytest", "no:allure_pytest"])
def test_severity_and_title_reach_events_junit_and_allure(pytester: pytest.Pytester, plugin: str) -> None:
    pytester.makepyfile(
        """
        import allure, pytest
        @pytest.mark.severity("critical")
        @pytest.mark.title("{service} works {twice}")
        def test_a(service): pass
        @pytest.mark.parametrize("n", [1])
        @allure.severity(allure.severity_level.MINOR)
        def test_b(n): pass
        """
    )
    allure = ("--alluredir", "results") if plugin == "allure_pytest" else ("-p", plugin)
    arguments = ("--strict-markers", "--release-events=e.jsonl", "--junitxml=j.xml", TARGET, *allure)
    pytester.runpytest_subprocess("-q", "-p", "no:hypothesispytest", *arguments).assert_outcomes(passed=2)
    found = {e["node"]: (e["severity"], e["title"]) for e in events(pytester.path / "e.jsonl") if e["k"] == "report"}
    other = "minor" if plugin == "allure_pytest" else "normal"  # without its plugin Allure's marker does not exist
    assert sorted(found.values()) == [("critical", "backend-api works {twice}"), (other, "")]
    assert '<property name="title" value="backend-api works {twice}" />' in (pytester.path / "j.xml").read_text()
    results = [json.loads(path.read_text()) for path in (pytester.path / "results").glob("*-result.json")]
    labels = {r["name"]: [w["value"] for w in r["labels"] if w["name"] == "severity"] for r in results}
    wanted = {"backend-api works {twice}": ["critical"], "test_b[1]": ["minor"]}
    assert labels == (wanted if plugin == "allure_pytest" else {})


# --- events, secrets, abort -------------------------------------------------------------------------------------------


def test_stream_tells_the_whole_run_with_its_id(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0, 'x' * 5000")
    run("--release-events=e.jsonl", "--release-run=r1", "-k", "test_b")
    stream = events(pytester.path / "e.jsonl")
    kinds = [e["k"] for e in stream]
    assert kinds == ["start", "collected", "deselected", "logstart", "report", "report", "report", "finish"]
    assert {e["run"] for e in stream} == {"r1"}
    assert stream[0]["warnings"] is stream[0]["threads"] is True
    assert [e for e in stream if e["k"] == "report"][1]["outcome"] == "failed"
    assert len([e for e in stream if e["k"] == "report"][1]["text"]) == 1500
    assert stream[-1]["exit"] == 1


@pytest.mark.parametrize(
    "body",
    [
        "assert dict(service.headers['canary']) == {}",
        "assert str(service.facts) == ''",
        f"assert api.headers['x-onlyvips-pin'] == '{JWT}'",
        "print(service.facts['pins']); assert 0",
        f"raise ValueError('Bearer {JWT}')",
        "assert 'a' * 500 + service.facts['pins']['canary'] == ''",
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--showlocals", "--tb=short")], ids=["long", "short with locals"])
def test_no_secret_reaches_events_output_or_junit(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None], body: str, arguments: tuple[str, ...]
) -> None:
    context(api=service("api"))
    pytester.makepyfile(f"def test_a(service, api): {body}")
    result = run("--release-events=e.jsonl", "--junitxml=j.xml", "-vv", *arguments)
    result.assert_outcomes(failed=1)
    texts = [result.stdout.str(), *((pytester.path / name).read_text() for name in ("e.jsonl", "j.xml"))]
    for text in texts:
        assert TOKEN not in text.replace("\n", "")
        assert not [line for line in text.splitlines() if JWT in line and "def test_a" not in line and ">" not in line]


def test_secrets_of_a_module_that_cannot_be_imported_are_masked(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None]
) -> None:
    context(api=service("api"))
    pytester.makepyfile(
        "import os, pathlib\nraise ValueError(pathlib.Path(os.environ['ONLYVIPS_CONTEXT']).read_text())"
    )
    result = run("--release-events=e.jsonl", "--junitxml=j.xml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    for text in (result.stdout.str(), *((pytester.path / name).read_text() for name in ("e.jsonl", "j.xml"))):
        assert TOKEN not in text


CRITICAL = """
import pytest, time
@pytest.mark.severity("critical")
@pytest.mark.parametrize("n", range(25))
def test_a(n):
    time.sleep(0.02)
    assert n != 3
"""


def test_a_critical_failure_stops_the_suite(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(CRITICAL)
    run("--release-events=e.jsonl").assert_outcomes(passed=3, failed=1)
    stream = events(pytester.path / "e.jsonl")
    assert [e["text"] for e in stream if e["k"] == "abort"] == [
        "critical check failed: test_a_critical_failure_stops_the_suite.py::test_a[3]"
    ]
    assert stream[-1] == {"k": "finish", "run": "", "exit": 2}


def test_a_critical_failure_stops_xdists_workers_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CRITICAL)
    result = pytester.runpytest_subprocess("-q", "-n", "2", "-p", "no:hypothesispytest", "--release-events=e.jsonl")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.parseoutcomes()["passed"] < 15


@pytest.mark.parametrize(("gate", "passed"), [("normal", 3), ("critical", 3), ("blocker", 24)])
def test_only_failures_at_the_gate_stop_the_suite(
    pytester: pytest.Pytester, run: Run, context: Callable[..., None], gate: str, passed: int
) -> None:
    context(gate=gate, api=service("api"))
    pytester.makepyfile(CRITICAL)
    run("--release-events=e.jsonl").assert_outcomes(passed=passed, failed=1)


def test_a_refused_connection_is_tried_again_and_counted_at_its_test(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import httpx, pytest, time
        def test_first(api): pass
        def test_refused(api):
            begun = time.monotonic()
            with pytest.raises(httpx.ConnectError): api.get("/")
            assert 0.3 < time.monotonic() - begun < 5
        def test_last(api): pass
        """
    )
    run("--release-events=e.jsonl", TARGET).assert_outcomes(passed=3)
    stream = [e for e in events(pytester.path / "e.jsonl") if e["k"] == "report" and e["when"] == "call"]
    assert [e["retries"] for e in stream] == [0, 2, 0]


def test_retry_is_counted_at_the_test_that_ran_though_another_one_made_the_client(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        import httpx, pytest
        kept = []
        def test_first(api): kept.append(api)
        def test_refused():
            with pytest.raises(httpx.ConnectError): kept[0].get("/")
        """
    )
    run("--release-events=e.jsonl", TARGET).assert_outcomes(passed=2)
    stream = [e for e in events(pytester.path / "e.jsonl") if e["k"] == "report" and e["when"] == "call"]
    assert [e["retries"] for e in stream] == [0, 2]


def test_a_request_that_was_sent_is_never_sent_again(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import httpx, pytest, socket, threading
        def test_a(api):
            server = socket.create_server(("127.0.0.1", 0))
            seen = []
            def serve():
                while True:
                    connection, _ = server.accept()
                    seen.append(connection.recv(1000))
                    connection.close()
            threading.Thread(target=serve, daemon=True).start()
            with pytest.raises(httpx.RemoteProtocolError):
                api.post(f"http://127.0.0.1:{server.getsockname()[1]}/")
            assert len(seen) == 1
        """
    )
    run(TARGET).assert_outcomes(passed=1)


# --- the guard --------------------------------------------------------------------------------------------------------

CRITICAL_SKIPPED = """
import pytest
def test_a(): pass
@pytest.mark.severity("critical")
@pytest.mark.skip
def test_b(): pass
"""
GUARDED = [
    ("fine", "def test_a(): pass", (), 0, ""),
    ("all skipped", "import pytest\n@pytest.mark.skip\ndef test_a(): pass", (), 1,
     "INCONCLUSIVE: 0 passed, 1 collected, 1 must pass"),
    ("only xfail", "import pytest\n@pytest.mark.xfail\ndef test_a(): assert 0", (), 1, "INCONCLUSIVE: 0 passed"),
    ("xpass", "import pytest\n@pytest.mark.xfail\ndef test_a(): pass", (), 0, ""),
    ("exit", "import pytest\ndef test_a(): pass\ndef test_b(): pytest.exit('x', returncode=0)", (), 1,
     "INCONCLUSIVE: 1 of 2 planned never reported"),
    ("collect only", "def test_a(): assert 0", ("--collect-only",), 1, "INCONCLUSIVE: 1 of 1 planned never reported\n"
     "  to collect without running: add -o release_guard=false"),
    ("set-up plan", "def test_a(): assert 0", ("--setup-plan",), 1, "INCONCLUSIVE: 1 of 1 planned never reported"),
    ("too few", "def test_a(): pass", ("--min-passed=2",), 1,
     "INCONCLUSIVE: 1 passed, 1 collected, 2 must pass"),
    ("may pass none", "import pytest\n@pytest.mark.skip\ndef test_a(): pass", ("--min-passed=0",), 0, ""),
    ("skipped critical", CRITICAL_SKIPPED, (), 1, "INCONCLUSIVE: skipped although critical: "),
    ("deselected", "def test_a(): pass\ndef test_b(): assert 0", ("-k", "test_a"), 0, ""),
    ("another target", "def test_a(service): pass", (TARGET,), 0, ""),
    ("without its plugin", "def test_a(): pass", ("-p", "no:threadexception"), 1,
     "INCONCLUSIVE: pytest ran without its threads"),
    ("returns", "def test_a(): return False", (), 1, ""),
    ("thread", "import threading\ndef test_a():\n t=threading.Thread(target=lambda: 1/0); t.start(); t.join()", (), 1,
     ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "arguments", "code", "says"), [c[1:] for c in GUARDED], ids=[c[0] for c in GUARDED])
def test_guard_turns_a_green_lie_red(
    pytester: pytest.Pytester, run: Run, body: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    pytester.makepyfile(body)
    pytester.makeini("[pytest]\nrelease_guard = true")
    result = run(*arguments)
    assert result.ret == code
    line = "release guard: exit code 1 instead of 0, because this run is "
    assert (f"{line}{says}" in result.stdout.str()) is bool(says)


def test_guard_works_under_xdist_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.skip\ndef test_a(): pass")
    pytester.makeini("[pytest]\nrelease_guard = true")
    result = pytester.runpytest_subprocess("-q", "-n", "1", "-p", "no:hypothesispytest")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["release guard: *INCONCLUSIVE: 0 passed, 1 collected, 1 must pass"])


def test_missing_target_is_an_error_under_xdist_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(api): pass")
    result = pytester.runpytest_subprocess("-q", "-n", "1", "-p", "no:hypothesispytest")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no target: give --release-target*"])


def test_guard_sees_what_a_conftest_made_green(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test_a(): assert 0")
    pytester.makeconftest("def pytest_sessionfinish(session): session.exitstatus = 0")
    assert run().ret == 0
    pytester.makeini("[pytest]\nrelease_guard = true")
    result = run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["release guard: *FAIL: *test_a (call)"])


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--setup-plan",)])
def test_without_the_ini_key_nobody_is_bothered(
    pytester: pytest.Pytester, run: Run, arguments: tuple[str, ...]
) -> None:
    pytester.makepyfile("def test_a(): assert 0")
    assert run(*arguments).ret == 0


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["entry point", "conftest", "option", "all three"])
def test_entry_point_conftest_and_option_go_together(pytester: pytest.Pytester, way: str) -> None:
    pytester.makepyfile("def test_a(release): assert release == {}")
    if way in ("conftest", "all three"):
        pytester.makeconftest("pytest_plugins = ['onlyvips_release.pytest_plugin']")
    option = ("-p", "onlyvips_release.pytest_plugin") if way in ("option", "all three") else ()
    pytester.runpytest_inprocess("-q", *WITHOUT, *option).assert_outcomes(passed=1)


def test_loading_the_plugin_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    heavy = ("httpx", "tenacity", "allure", "psutil", "pydantic", "yaml")
    pytester.makepyfile(f"import sys\ndef test_a(): assert not set({heavy}) & set(sys.modules)")
    pytester.runpytest_subprocess("-q", *WITHOUT).assert_outcomes(passed=1)
