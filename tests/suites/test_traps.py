"""One test per trap of platform.md section 13: the suites neither fall into it nor miss what hides behind it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.sandbox.http import Answer, Request, Response
from tests.suites.mutations import MUTATIONS, ROOT, Facts, Mutation, answers, around, nth, run
from tests.testing.suite_box import HEALTH, PINS, Box, Said, box, instead, own_environment, valued

pytestmark = pytest.mark.slow
API = "backend-api"
TRACEBACK = (
    'Traceback (most recent call last)\n  token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmVk"\nKeyError: 1'
)


def with_bad_token(request: Request, answer: Answer) -> Response:
    """The first accounts of each pool get a token that holds `--`, as 1 % do; it is 500 everywhere."""
    r = answer(request)
    first = b"01" in request.body and request.path == "/api/auth/login" and r.status == 200
    return Response(200, r.body.replace(b'"access_token":"', b'"access_token":"a--')) if first else r


def limited(request: Request, answer: Answer) -> Response:
    """Whoever comes from the shared address has used up his sign-ins, and is answered 500."""
    shared = request.headers.get("x-forwarded-for", "127.0.0.1") == "127.0.0.1"
    return Response(500, b'{"detail":"broken"}') if shared and "/auth/" in request.path else answer(request)


def every_second_fails(request: Request, answer: Answer) -> Response:
    """A dying canary: stable would hide it."""
    COUNT.append(1)
    return Response(503, b"{}") if len(COUNT) % 2 else answer(request)


COUNT: list[int] = []


def other_stable(_: Box, facts: Facts) -> None:
    """Stable should be v0; v1 answers."""
    facts["services"][API]["revisions"]["stable"] = "v0"


def named(what: str) -> Mutation:
    """A row of the table."""
    return next(mutation for mutation in MUTATIONS if mutation.what == what)


@dataclass
class Outcome:
    """What a suite found, and what the router saw."""

    red: list[str]
    seen: list[Said]
    texts: list[str]
    users: dict[str, list[str]]


SMOKE, CANARY = "smoke_tests", "canary_checks"
SCENARIOS: dict[str, tuple[str, Mutation | None]] = {
    "smoke": (SMOKE, None),
    "canary": (CANARY, None),
    "bad token": (SMOKE, answers("bad token", with_bad_token)),
    "bad token, both arms": (CANARY, answers("bad token", with_bad_token)),
    "limiter": (SMOKE, answers("limiter", limited)),
    "hidden 500": (SMOKE, answers("hidden 500", instead("/api/badges/list", 500))),
    "no Redis": (SMOKE, answers("no Redis", nth(2, HEALTH[API], 3.4))),
    "redirect": (SMOKE, answers("redirect", instead("/api/badges/list", 307, ""))),
    "SPA fallback": (SMOKE, named("miniapp: the script is a page")),
    "work is broken": (SMOKE, answers("work is broken", instead("/api/tasks/list", 500))),
    "another version": (SMOKE, answers("another version", valued("*", "version", "9.9.9"))),
    "stable answers": (SMOKE, named(f"{API}: the canary's pin reaches stable")),
    "errors as 200": (SMOKE, named(f"{API}: no task can be completed, with 200")),
    "dying": (SMOKE, answers("dying", every_second_fails)),
    "stable runs the canary": (CANARY, around("another stable", other_stable, API)),
    "silent bot": (SMOKE, named("flirt-bot: it handles no update")),
    "traceback": (SMOKE, answers("traceback", instead("/api/tasks/list", 500, TRACEBACK, "text/plain"))),
}  # fmt: skip


def measured() -> dict[str, Any]:
    """All scenarios, in this process."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="onlyvips-box-") as folder, box(Path(folder)) as platform:
        for name, (suite, mutation) in SCENARIOS.items():
            seen = run(platform, mutation, suite)
            users = {arm: platform.users(arm) for arm in PINS}
            found[name] = [sorted(seen.red), list(platform.seen), seen.texts, users]
    return found


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """All scenarios, in a process of their own."""
    command = [sys.executable, "-m", "tests.suites.test_traps"]
    done = subprocess.run(
        command, cwd=ROOT, env=own_environment(), capture_output=True, text=True, timeout=400, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return {
        name: Outcome(red, [Said(*said) for said in seen], texts, users)
        for name, (red, seen, texts, users) in told.items()
    }


Outcomes = dict[str, Outcome]


def test_01_bad_token_is_the_platforms_fault_and_another_account_is_taken(outcomes: Outcomes) -> None:
    assert outcomes["bad token"].red == []
    assert outcomes["bad token, both arms"].red == []


def test_02_limiter_is_never_met_for_each_run_has_a_client_address_of_its_own(outcomes: Outcomes) -> None:
    assert outcomes["limiter"].red == []
    addresses = [{said.client for said in outcome.seen} for outcome in outcomes.values() if outcome.seen]
    assert all(len(found) == 1 for found in addresses)
    assert len({address for found in addresses for address in found}) > len(addresses) // 2
    sign_ins = [said for said in outcomes["smoke"].seen if said.path in ("/api/auth/login", "/api/auth/register")]
    assert len(sign_ins) <= 25, "a token is used again and again"


def test_03_arms_share_no_users_so_accounts_are_made_on_each(outcomes: Outcomes) -> None:
    users = outcomes["canary"].users
    for arm in PINS:
        assert "canarycheck01" in users[arm]
    assert not any(name.startswith("smoke") for name in outcomes["smoke"].users["stable"])


def test_04_500_that_the_backends_own_counters_hide_is_seen_by_the_client(outcomes: Outcomes) -> None:
    assert "badges_are_shown[backend-api]" in outcomes["hidden 500"].red


def test_05_missing_redis_is_seen_by_the_time_that_health_takes(outcomes: Outcomes) -> None:
    assert outcomes["no Redis"].red == ["health_answers_in_time[backend-api]"]


def test_06_nothing_is_asked_by_head_and_a_redirect_is_no_success(outcomes: Outcomes) -> None:
    assert not [said for outcome in outcomes.values() for said in outcome.seen if said.method == "HEAD"]
    assert "badges_are_shown[backend-api]" in outcomes["redirect"].red


def test_07_page_in_the_place_of_a_script_is_found(outcomes: Outcomes) -> None:
    assert outcomes["SPA fallback"].red == ["named_files_are_no_pages[miniapp]"]


def test_08_no_front_is_asked_for_the_api_behind_it(outcomes: Outcomes) -> None:
    fronts = [s for o in outcomes.values() for s in o.seen if s.service != API]
    assert fronts
    assert not [said for said in fronts if said.path.startswith("/api")]


def test_09_call_that_destroys_a_password_is_never_made(outcomes: Outcomes) -> None:
    assert not [said for outcome in outcomes.values() for said in outcome.seen if said.path.startswith("/api/users")]


def test_10_healthy_answers_do_not_hide_that_the_work_is_broken(outcomes: Outcomes) -> None:
    red = outcomes["work is broken"].red
    assert "tasks_are_offered[backend-api]" in red
    assert "health_says_healthy[backend-api]" not in red


def test_11_version_in_a_body_proves_nothing_and_the_routers_word_does(outcomes: Outcomes) -> None:
    assert outcomes["another version"].red == []
    assert "pin_reaches_the_arm_under_test[backend-api]" in outcomes["stable answers"].red


def test_12_error_with_200_is_an_error_and_tasks_that_are_500_though_done_are_left_alone(outcomes: Outcomes) -> None:
    assert "completed_task_waits[backend-api]" in outcomes["errors as 200"].red
    asked = [s for o in outcomes.values() for s in o.seen if s.path == "/api/tasks/complete" and '"task_id"' in s.body]
    assert asked
    assert not [said for said in asked if json.loads(said.body)["task_id"] in (1, 5)]


BROKEN = ("/api/payments", "/api/admin", "/api/content/upload", "/api/badges/assign", "/api/badges/create")


def test_13_calls_that_are_always_500_are_left_out(outcomes: Outcomes) -> None:
    paths = {said.path for outcome in outcomes.values() for said in outcome.seen}
    assert not [path for path in paths if path.startswith(BROKEN) or path.endswith(("/like", "/stats/earnings"))]


def test_14_nothing_that_the_input_filter_refuses_is_sent(outcomes: Outcomes) -> None:
    for name in ("smoke", "canary"):
        assert {said.status for said in outcomes[name].seen} <= {200, 400, 401, 403, 404, 422}
    assert {said.agent for outcome in outcomes.values() for said in outcome.seen} == {"onlyvips-release"}


def test_15_request_that_failed_is_never_sent_again(outcomes: Outcomes) -> None:
    dying, well = outcomes["dying"], outcomes["smoke"]
    assert len(dying.red) > 20
    once = ("/api/badges/list", "/api/openapi.json", "/api/docs")
    for path in once:
        sent = [len([s for s in outcome.seen if s.path == path]) for outcome in (dying, well)]
        assert sent[0] == sent[1]


def test_16_stable_that_runs_another_revision_is_found(outcomes: Outcomes) -> None:
    assert "stable_is_unharmed[backend-api]" in outcomes["stable runs the canary"].red


def test_17_bot_that_lives_but_does_nothing_is_found(outcomes: Outcomes) -> None:
    assert outcomes["silent bot"].red == ["bot_handles_updates[flirt-bot]"]


def test_18_traceback_as_text_is_a_plain_failure_and_its_token_is_not_repeated(outcomes: Outcomes) -> None:
    outcome = outcomes["traceback"]
    assert "tasks_are_offered[backend-api]" in outcome.red
    told = [text for text in outcome.texts if "Traceback" in text]
    assert told
    assert not [text for text in outcome.texts if "c2lnbmVk" in text or "JSONDecodeError" in text]


def test_suites_do_not_know_the_sandbox() -> None:
    for suite in (SMOKE, CANARY):
        for path in (ROOT / suite).glob("*.py"):
            text = path.read_text()
            assert "sandbox" not in text, path
            assert "/faults" not in text, path


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured()) + "\n")
