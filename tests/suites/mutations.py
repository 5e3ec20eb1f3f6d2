"""What can be wrong with the platform, one thing at a time: the rows of docs/mutations.md.

`python -m tests.suites.mutations [PART/OF]` runs the smoke suite against each and prints, as JSON, the checks that
turned red. `--write` writes the table; `--healthy N` runs both suites N times against a sound platform that remembers
all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.sandbox.http import Answer, Request, Response
from tests.testing.suite_box import (
    HEALTH,
    Box,
    Middleware,
    box,
    edited,
    instead,
    lenient,
    own_environment,
    valued,
    without,
)

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "mutations.md"
API = "backend-api"
Facts = dict[str, Any]


@dataclass(frozen=True)
class Mutation:
    """`what` is wrong, in words; in the answers of `service`, or in the box or the facts around it."""

    what: str
    service: str = API
    spoil: Middleware | None = None
    around: Callable[[Box, Facts], None] | None = None


def answers(what: str, spoil: Middleware, service: str = API) -> Mutation:
    """A mutation of answers."""
    return Mutation(f"{service}: {what}", service, spoil)


def nth(number: int, path: str, delay: float) -> Middleware:
    """Only this request to `path` is late."""
    seen: list[int] = []

    def middleware(request: Request, answer: Answer) -> Response:
        response = answer(request)
        if request.path != path:
            return response
        seen.append(1)
        return (
            Response(response.status, response.body, response.content_type, response.headers, delay)
            if len(seen) == number
            else response
        )

    return middleware


def ignoring(parameter: str, path: str) -> Middleware:
    """A parameter of the query is not looked at."""
    return lambda request, answer: answer(
        Request(request.method, request.path, re.sub(rf"\b{parameter}=\d+", "", request.query), request.headers,
                request.body) if request.path == path else request
    )  # fmt: skip


def said(*words: str) -> Callable[[Request], bool]:
    """Whether the body or the Authorization header says one of these."""
    return lambda request: any(w in request.body.decode() + request.headers.get("authorization", "") for w in words)


def anonymous(request: Request) -> bool:
    """Whether nobody has signed in."""
    return "authorization" not in request.headers


def genuine_but_altered(request: Request) -> bool:
    """Whether a token was issued and then altered."""
    return "eyJhbGciOiJIUzI1NiI" in request.headers.get("authorization", "")


GUARDED = {
    "/api/auth/me": "GET", "/api/auth/refresh": "POST", "/api/auth/logout": "POST", "/api/tasks/list": "GET",
    "/api/tasks/stats": "GET", "/api/tasks/user/smokecheck01": "GET", "/api/tasks/complete": "POST",
    "/api/tasks/verify": "POST", "/api/tasks/pending": "GET", "/api/tasks/reset-daily": "GET",
    "/api/tasks/assign-badge": "POST",
}  # fmt: skip
TASKS, PROGRESS, COMPLETE = "/api/tasks/list", "/api/tasks/user/*", "/api/tasks/complete"
LISTS = {"content": ("/api/content/", "contents"), "showcus": ("/api/showcus/", "showcus")}


def cut_tasks(body: Any) -> Any:
    """Fewer tasks."""
    return {**body, "tasks": body["tasks"][:3]}


def no_fifth(body: Any) -> Any:
    """One task is gone."""
    return {**body, "tasks": [task for task in body["tasks"] if task["id"] != 5]}


def never_started(body: Any) -> Any:
    """Nothing of what was done is remembered."""
    tasks = [{**task, "status": "available", "max_attempts_reached": False} for task in body["tasks"]]
    return {**body, "tasks": tasks}


def no_paths(body: Any) -> Any:
    """The description lacks sign-in."""
    return {**body, "paths": {path: calls for path, calls in body["paths"].items() if "auth" not in path}}


def emptied(key: str) -> Callable[[Any], Any]:
    """A list without entries."""
    return lambda body: {**body, key: []} if key in body else body


def twice_is_fine(request: Request, answer: Answer) -> Response:
    """What was tried today is accepted again."""
    response = answer(request)
    again = request.path == COMPLETE and b'"status":"error"' in response.body
    return Response(200, b'{"message":"ok","status":"success"}') if again else response


def all_refused(request: Request, answer: Answer) -> Response:
    """Every task counts as tried."""
    body = b'{"error":"limit","status":"error"}'
    return Response(200, body) if request.path == COMPLETE and not anonymous(request) else answer(request)


def approval_is_lost(request: Request, answer: Answer) -> Response:
    """An admin's yes is answered, and forgotten."""
    yes = request.path == "/api/tasks/verify" and b"approved" in request.body and not anonymous(request)
    response = answer(Request("GET", "/", "", {}, b"")) if yes and said("smokeapproved")(request) else answer(request)
    return Response(200, b'{"message":"ok","status":"success"}') if yes and response.status == 200 else response


def rejection_approves(request: Request, answer: Answer) -> Response:
    """An admin's no is taken for a yes."""
    if request.path != "/api/tasks/verify" or b'"rejected"' not in request.body:
        return answer(request)
    body = request.body.replace(b'"rejected"', b'"approved"')
    response = answer(Request(request.method, request.path, "", request.headers, body))
    return Response(200, b'{"message":"no","status":"rejected"}') if response.status == 200 else response


def dead_renewal(request: Request, answer: Answer) -> Response:
    """A renewed token is refused everywhere."""
    response = answer(request)
    if request.path != "/api/auth/refresh" or response.status != 200:
        return response
    return Response(200, json.dumps({**json.loads(response.body), "access_token": "a.b.c"}).encode())


def used_up_limiter(request: Request, answer: Answer) -> Response:
    """The last sign-in that the limiter lets pass."""
    r = answer(request)
    told = (("X-RateLimit-Remaining", "0"),) if request.path == "/api/auth/login" else ()
    return Response(r.status, r.body, r.content_type, (*r.headers, *told))


def lost_type(request: Request, answer: Answer) -> Response:
    """No Content-Type."""
    response = answer(request)
    return Response(response.status, response.body, "", response.headers)


BACKEND = [
    answers("every answer is 500", instead("*", 500, '{"detail":"broken"}')),
    answers("no answer has a Content-Type", lost_type),
    answers("health answers 503", instead(HEALTH[API], 503, '{"detail":"Service not ready"}')),
    answers("health is 200 and says `unhealthy`", valued(HEALTH[API], "status", "unhealthy")),
    answers("health takes 2.1 s", nth(2, HEALTH[API], 2.1)),
    answers("the general health has lost its store", valued("/api/health", "db_status", "lost")),
    answers("the database is unhealthy, with 200", valued("/api/health/health/detailed", "status", "unhealthy")),
    answers("it is never ready", valued("/api/health/health/readiness", "status", "starting")),
    answers("liveness has lost its uptime", without("/api/health/health/liveness", "uptime_seconds")),
    answers("no metrics are exported", instead("/api/health/metrics", 200, "", "text/plain")),
    answers("the counters' label is `status`", lambda request, answer: Response(
        200, answer(request).body.replace(b"status_code=", b"status="), "text/plain"
    ) if request.path == "/api/health/metrics" else answer(request)),
    answers("the root names another service", valued("/", "service", "Another API")),
    answers("unknown paths are answered with a page", instead("/api/never-built", 200, "<html>", "text/html")),
    answers("the description lacks sign-in", edited("/api/openapi.json", no_paths)),
    answers("the documents' page is empty", instead("/api/docs", 200, "<html></html>", "text/html")),
    answers("nobody can register, sign in or use Telegram", lambda request, answer: Response(500, b"{}")
            if request.path.startswith("/api/auth/") and request.method == "POST" and anonymous(request)
            else answer(request)),
    answers("everybody is `demo`", valued("/api/auth/me", "username", "demo")),
    answers("tokens have ended when they are issued", valued("/api/auth/login", "expires_at", 1)),
    answers("the sign-in limiter has no room left", used_up_limiter),
    answers("tokens are not of the bearer kind", valued("/api/auth/*", "token_type", "mac")),
    answers("a wrong password is accepted", lenient("/api/auth/login", 401, said("not-the-password"))),
    answers("an unknown user is let in", lenient("/api/auth/login", 401, said("nobody-at-all"))),
    answers("a taken name can be registered again", lenient("/api/auth/register", 400, said("another-password"))),
    answers("short passwords are accepted", lenient("/api/auth/register", 422, said('"short"'))),
    answers("short names are accepted", lenient("/api/auth/register", 422, said('"ab"'))),
    answers("accounts without a name are accepted",
            lenient("/api/auth/register", 422, lambda request: not said("username")(request))),
    answers("every name is free", valued("/api/auth/check-username/*", "available", True)),
    answers("every name is taken", valued("/api/auth/check-username/*", "available", False)),
    answers("Telegram users are not known by their id", valued("/api/auth/me", "telegram_id", None)),
    answers("old Telegram sign-ins are accepted", lenient("/api/auth/telegram", 401)),
    answers("renewed tokens do not work", dead_renewal),
    answers("signing out fails", instead("/api/auth/logout", 500, method="POST")),
    *(answers(f"{method} {path} is open to everybody", lenient(path, 401, anonymous, method))
      for path, method in GUARDED.items()),
    answers("everything is open to everybody", lenient("*", 401, anonymous)),
    *(answers(f"users may call {path}", lenient(path, 403)) for path in list(GUARDED)[-4:]),
    answers("users see each other's tasks", lenient("/api/tasks/user/*", 403)),
    answers("users complete tasks for each other", lenient(COMPLETE, 403)),
    answers("invented tokens are accepted", lenient("/api/auth/me", 401, said("not.a.token"))),
    answers("altered tokens are accepted", lenient("/api/auth/me", 401, genuine_but_altered)),
    answers("unsigned tokens are accepted", lenient("/api/auth/me", 401, said("eyJhbGciOiJub25l"))),
    answers("only three tasks are offered", edited(TASKS, cut_tasks)),
    answers("the list of tasks has lost its status", without(TASKS, "status")),
    answers("task numbers are text", edited(TASKS, lambda body: {**body, "tasks": [
        {**task, "id": str(task["id"])} for task in body["tasks"]]})),
    answers("tasks have no description", valued(TASKS, "description", None)),
    answers("tasks have lost their reward", without(TASKS, "reward_value")),
    answers("tasks say `yes` instead of true", valued(TASKS, "verification_required", "yes")),
    answers("users see the progress of `demo`", valued(PROGRESS, "user_id", "demo")),
    answers("progress lacks a task", edited(PROGRESS, no_fifth)),
    answers("progress is forgotten", edited(PROGRESS, never_started)),
    answers("no task can be completed, with 200", all_refused),
    answers("a task can be done twice a day", twice_is_fine),
    answers("tasks that do not exist can be completed", lenient(COMPLETE, 404)),
    answers("the statistics count another number of tasks", valued("/api/tasks/stats", "total_tasks", 11)),
    answers("admins see no waiting task", edited("/api/tasks/pending", emptied("pending_tasks"))),
    answers("approvals are lost", approval_is_lost),
    answers("rejections approve", rejection_approves),
    answers("badges have lost their icon", without("/api/badges/list", "icon")),
    *(answers(f"the list of {name} is empty", edited(path, emptied(key))) for name, (path, key) in LISTS.items()),
    *(answers(f"the total of {name} is text", valued(path, "total", "100")) for name, (path, _) in LISTS.items()),
    *(answers(f"the page of {name} is always the first", ignoring("page", path)) for name, (path, _) in LISTS.items()),
    *(answers(f"{name}: pages of any size are accepted", lenient(path, 422)) for name, (path, _) in LISTS.items()),
    *(answers(f"{name}: another entry than the wanted one", edited(
        f"{path}*", lambda body: {**body, "id": "another"} if "id" in body else body)) for name, (path, _)
      in LISTS.items()),
    *(answers(f"{name}: entries that do not exist are shown", lenient(f"{path}*", 404)) for name, (path, _)
      in LISTS.items()),
    answers("content has lost its creator's name", without("/api/content/content_1", "creator_username")),
    answers("looks are not counted", valued("/api/content/content_1/view", "views", 0)),
    answers("creators have lost their shown name", without("/api/showcus/", "display_name")),
    answers("the content of a creator fails", instead("/api/showcus/showcu_1/contents", 500)),
]  # fmt: skip


def page(change: Callable[[str], str], path: str = "/") -> Middleware:
    """The front's page, changed."""

    def middleware(request: Request, answer: Answer) -> Response:
        response = answer(request)
        if request.path != path:
            return response
        return Response(200, change(response.body.decode()).encode(), response.content_type)

    return middleware


def asset(ending: str, status: int, body: str, kind: str) -> Middleware:
    """Files with this ending are answered otherwise."""
    return lambda request, answer: (
        Response(status, body.encode(), kind) if re.search(rf"index-\w+\.{ending}$", request.path) else answer(request)
    )


def front(name: str) -> list[Mutation]:
    """What can be wrong with a front."""
    html = "text/html"
    return [
        answers("every answer is 500", instead("*", 500, "<h1>500</h1>", html), name),
        answers("health says `down`", instead("/health", 200, "down", "text/plain"), name),
        answers("health takes 2.1 s", nth(2, "/health", 2.1), name),
        answers("another title", page(lambda text: text.replace("<title>", "<title>Another ")), name),
        answers("no place for the application", page(lambda text: text.replace('id="root"', "")), name),
        answers("the script is missing", asset("js", 404, "", html), name),
        answers("the style sheet is missing", asset("css", 404, "", html), name),
        answers("the script is a page", asset("js", 200, "<!DOCTYPE html>", "application/javascript"), name),
        answers("missing files are pages", instead("/assets/never-built.js", 200, "<html>", html), name),
        answers("deep links are 404", instead("/profile", 404, "<h1>404</h1>", html), name),
    ]


def around(what: str, change: Callable[[Box, Facts], None], service: str) -> Mutation:
    """A mutation of the box or of the facts."""
    return Mutation(f"{service}: {what}", service, None, change)


def of_service(name: str) -> list[Mutation]:
    """What can be wrong around a service."""

    def facts(change: Callable[[Facts], None]) -> Callable[[Box, Facts], None]:
        return lambda _, known: change(known["services"][name])

    def mine(**new: Any) -> Callable[[Facts], None]:
        return lambda known: known["instances"][-1].update(new)

    found = [
        around("its process has died", facts(mine(alive=False)), name),
        around("another process has taken its pid", facts(mine(identity="pid 1 started 1.00 command 0123")), name),
        around(
            "its log tells of a crash", lambda b, _: write(b.log(name), "Traceback (most recent call last)\n"), name
        ),
    ]
    if name not in HEALTH:
        return [*found, around("it handles no update", lambda b, _: setattr(b, "silent", True), name)]
    return [
        *found,
        around("its process listens elsewhere", facts(mine(port=1)), name),
        around("the canary's pin reaches stable", lambda b, _: b.says.update({name: ("stable", "v1")}), name),
        around("another revision answers", lambda b, _: b.says.update({name: ("canary", "v3")}), name),
        around("the app claims another revision", lambda b, _: b.wrap.update({(name, "canary"): claiming("v3")}), name),
        around("stable answers 500", lambda b, _: b.wrap.update({(name, "stable"): instead("*", 500)}), name),
    ]


def write(log: Path, text: str) -> None:
    """Append to a log."""
    with log.open("a") as file:
        file.write(text)


def claiming(revision: str) -> Middleware:
    """The app names this revision in its answers."""

    def middleware(request: Request, answer: Answer) -> Response:
        r = answer(request)
        return Response(r.status, r.body, r.content_type, (*r.headers, ("x-app-revision", revision)), r.delay)

    return middleware


MUTATIONS = [
    *BACKEND,
    *front("miniapp"),
    *front("showcu-panel"),
    *(found for name in (*HEALTH, "flirt-bot") for found in of_service(name)),
]


# --- running them -----------------------------------------------------------------------------------------------------


class Seen:
    """A pytest plugin that remembers what was run and what failed."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.red: set[str] = set()
        self.texts: list[str] = []
        self.titles: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        if report.when == "setup":
            self.run.append(short(report.nodeid))
        if report.failed:
            self.red.add(short(report.nodeid))
            self.texts.append(report.longreprtext)
            self.titles[short(report.nodeid)] = str(dict(report.user_properties).get("title", ""))


def short(node: str) -> str:
    """`test_x.py::test_y[z]` as `y[z]`: the stable id of a check."""
    return node.rpartition("::")[2].removeprefix("test_")


QUIET = [word for name in ("terminal", "cacheprovider", "hypothesispytest", "anyio", "allure_pytest", "xdist",
                           "rerunfailures", "timeout") for word in ("-p", f"no:{name}")]  # fmt: skip


ALONE = ("-W", "ignore", "-o", "addopts=", "--import-mode=importlib")


def run(found: Box, mutation: Mutation | None, suite: str, *, fresh: bool = True) -> Seen:
    """The suite against the mutated platform, in this process; not `fresh`: the platform remembers earlier runs."""
    if fresh:
        found.fresh()
    facts = found.context()
    if mutation:
        facts["services"] = {mutation.service: facts["services"][mutation.service]}
    for name in HEALTH:
        found.wrap[name, "canary"] = claiming("v2")
    if mutation and mutation.spoil:
        spoil = mutation.spoil
        truthful = claiming("v2")
        found.wrap[mutation.service, "canary"] = lambda request, answer: truthful(
            request, lambda passed: spoil(passed, answer)
        )
    if mutation and mutation.around:
        mutation.around(found, facts)
    context = found.folder / "context.json"
    context.write_text(json.dumps(facts))
    os.environ["ONLYVIPS_CONTEXT"] = str(context)
    seen = Seen()
    pytest.main([*ALONE, *QUIET, str(ROOT / suite)], plugins=[seen])
    return seen


def measure(mutations: Iterable[Mutation], suite: str = "smoke_tests") -> dict[str, Any]:
    """The checks that there are, and those that each mutation turns red."""
    with tempfile.TemporaryDirectory(prefix="onlyvips-box-") as folder, box(Path(folder)) as found:
        healthy = run(found, None, suite)
        red = {mutation.what: sorted(run(found, mutation, suite).red) for mutation in mutations}
        return {"checks": healthy.run, "healthy": sorted(healthy.red), "red": red}


SUITES = ("smoke_tests", "canary_checks")


def healthy(times: int) -> list[str]:
    """What both suites find wrong with one sound platform that remembers; in the last run all tasks are used up."""
    with tempfile.TemporaryDirectory(prefix="onlyvips-box-") as folder, box(Path(folder)) as found:
        runs = [run(found, None, suite, fresh=False) for _ in range(times - 1) for suite in SUITES]
        found.use_up()
        runs += [run(found, None, suite, fresh=False) for suite in SUITES]
    assert all(seen.run for seen in runs)
    return [text for seen in runs for text in seen.texts]


def in_parts(parts: int = 2) -> dict[str, Any]:
    """All of them, in as many processes side by side."""
    command = [sys.executable, "-m", "tests.suites.mutations"]
    env = own_environment()
    under_way = [
        subprocess.Popen([*command, f"{part}/{parts}"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        for part in range(parts)
    ]
    told = [json.loads(process.communicate(timeout=600)[0].splitlines()[-1]) for process in under_way]
    red = {what: names for part in told for what, names in part["red"].items()}
    return {**told[0], "healthy": sorted({n for part in told for n in part["healthy"]}), "red": red}


SHOWN = 4
"""Names of red checks in a row; the rest is a number."""


def table(found: dict[str, Any]) -> str:
    """docs/mutations.md."""
    finders: dict[str, int] = dict.fromkeys(found["checks"], 0)
    rows = []
    for mutation in MUTATIONS:
        names = found["red"][mutation.what]
        for name in names:
            finders[name] += 1
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        rows.append(f"| {mutation.what} | {', '.join(f'`{name}`' for name in names[:SHOWN])}{more} |")
    checks = [f"| `{name}` | {number} |" for name, number in sorted(finders.items())]
    return "\n".join(
        [
            "# What the smoke suite finds",
            "",
            "Made by `python -m tests.suites.mutations --write`; a test makes it anew and compares.",
            f"{len(finders)} checks, {len(MUTATIONS)} mutations of the sandbox, one at a time. These ids stay the same",
            "across releases.",
            "",
            "| What is wrong | Checks that turn red |",
            "|---|---|",
            *rows,
            "",
            "| Check | Mutations that turn it red |",
            "|---|---|",
            *checks,
            "",
        ]
    )


def main(words: list[str]) -> None:
    """One part as JSON, or the table."""
    if words == ["--write"]:
        found = in_parts()
        DOC.write_text(table(found))
        return
    if words[:1] == ["--healthy"]:
        wrong = healthy(int(words[1]))
        sys.stdout.write("\n".join([*wrong, f"{words[1]} runs of both suites, {len(wrong)} checks failed\n"]))
        sys.exit(1 if wrong else 0)
    part, _, parts = (words[0] if words else "0/1").partition("/")
    sys.stdout.write(json.dumps(measure(MUTATIONS[int(part) :: int(parts)])) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
