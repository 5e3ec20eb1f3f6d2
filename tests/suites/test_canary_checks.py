"""canary_checks find what is worse on the canary, and stay silent on what is only different."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import pytest

from onlyvips_release.sandbox.http import Answer, Request, Response
from tests.suites.mutations import ROOT, Mutation, anonymous, answers, around, asset, lost_type, measure, page, write
from tests.testing.suite_box import Middleware, edited, hits, instead, lenient, own_environment, without

pytestmark = pytest.mark.slow
API = "backend-api"


def late(seconds: float, path: str = "*") -> Middleware:
    """Answers take longer."""

    def middleware(request: Request, answer: Answer) -> Response:
        r = answer(request)
        return Response(r.status, r.body, r.content_type, r.headers, seconds) if hits(request, path) else r

    return middleware


def text_total(body: Any) -> Any:
    """A number becomes text."""
    return {**body, "total": str(body["total"])}


def nth_is_poor(body: Any) -> Any:
    """Only the last entry lacks a field."""
    *good, last = body["badges"]
    return {**body, "badges": [*good, {key: last[key] for key in last if key != "icon"}]}


def without_header(name: str) -> Middleware:
    """An answer without one of its headers."""

    def middleware(request: Request, answer: Answer) -> Response:
        r = answer(request)
        return Response(r.status, r.body, r.content_type, tuple(h for h in r.headers if h[0] != name), r.delay)

    return middleware


def errors_as_200(request: Request, answer: Answer) -> Response:
    """Good answers are replaced by an error, still 200."""
    r = answer(request)
    if r.status != 200 or not request.path.startswith("/api/tasks"):
        return r
    return Response(200, b'{"error":"broken","status":"error"}')


PLANTED = [
    (answers("status", instead("/api/badges/list", 500)), "public_answer_is_as_good"),
    (answers("lost field", without("/api/tasks/list", "status")), "private_answer_is_as_good"),
    (answers("lost field of the last entry", edited("/api/badges/list", nth_is_poor)), "public_answer_is_as_good"),
    (answers("changed type", edited("/api/content/", text_total)), "public_answer_is_as_good"),
    (answers("lost Content-Type", lost_type), "public_answer_is_as_good"),
    (answers("lost header", without_header("WWW-Authenticate")), "missing_sign_in_is_refused_alike"),
    (answers("latency band", late(0.15, "/")), "latency_is_in_the_band"),
    (answers("latency of the page", late(0.15), "miniapp"), "latency_of_the_page_is_in_the_band"),
    (answers("404 asset", asset("js", 404, "", "text/html"), "showcu-panel"), "files_of_the_canarys_page_are_there"),
    (answers("error as 200", errors_as_200), "private_answer_is_as_good"),
    (answers("missing auth", lenient("/api/tasks/list", 401, anonymous)), "missing_sign_in_is_refused_alike"),
    (around("restart", lambda _, f: f["services"][API]["instances"][0].update(identity="pid 1 started 1.00"), API),
     "no_process_was_restarted"),
    (around("errors in the log", lambda b, _: write(b.log(API), "ERROR something\n" * 50), API),
     "log_tells_of_no_more_errors"),
    (around("stable is harmed", lambda b, _: b.wrap.update({(API, "stable"): instead("/api/health/health", 503)}), API),
     "stable_is_unharmed"),
]  # fmt: skip


def other_ids(body: Any) -> Any:
    """Other ids, times and numbers, and another order, at any depth."""
    if isinstance(body, dict):
        return {k: changed(k, other_ids(v)) for k, v in reversed(body.items())}
    if isinstance(body, list):
        return [other_ids(entry) for entry in random.sample(body, len(body))]
    return body


def changed(key: str, value: Any) -> Any:
    """Another value of a field that differs between two sound arms."""
    if key in ("timestamp", "uptime_seconds", "views", "likes", "total"):
        return value + 17
    return f"2025-05-05T05:05:05Z-{value}" if key in ("created_at", "updated_at", "url", "description") else value


SILENT = [
    answers("other numbers and another order", edited("*", other_ids)),
    answers("a field more", edited("*", lambda body: {**body, "new": 1} if isinstance(body, dict) else body)),
    answers("null where there was a text", edited("/api/content/content_1", lambda body: {**body, "category": None})),
    answers("a little slower", late(0.01)),
    answers("another page, the same files", page(lambda text: text.replace("<body>", "<body><p>new</p>")), "miniapp"),
]


@pytest.fixture(scope="module")
def red() -> dict[str, list[str]]:
    """What each difference turns red, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.suites.test_canary_checks"], cwd=ROOT, env=own_environment(), capture_output=True,
        text=True, timeout=400, check=True,
    )  # fmt: skip
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def name_of(value: object) -> str | None:
    """An id."""
    return value.what if isinstance(value, Mutation) else None


@pytest.mark.parametrize(("mutation", "finder"), PLANTED, ids=name_of)
def test_planted_difference_is_found_by_name(mutation: Mutation, finder: str, red: dict[str, list[str]]) -> None:
    assert any(name.startswith(finder) for name in red[mutation.what]), red[mutation.what]


@pytest.mark.parametrize("mutation", SILENT, ids=name_of)
def test_harmless_difference_is_passed_over(mutation: Mutation, red: dict[str, list[str]]) -> None:
    assert red[mutation.what] == []


def test_equal_arms_turn_nothing_red(red: dict[str, list[str]]) -> None:
    assert red["nothing"] == []


if __name__ == "__main__":
    told = measure([*(mutation for mutation, _ in PLANTED), *SILENT], "canary_checks")
    sys.stdout.write(json.dumps({**told["red"], "nothing": told["healthy"]}) + "\n")
