"""What must hold while both arms serve: the business works on each, nobody dies, and stable is unharmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from onlyvips_release.clients.process import birth
from onlyvips_release.expect import Target, answered, body_of, output_of, require, same

if TYPE_CHECKING:
    from canary_checks.conftest import Both, User

BACKEND = pytest.mark.service("backend-api")
pytestmark = pytest.mark.severity("critical")
TASKS = (2, 3, 4, 6, 7, 8, 9, 10)
"""Tasks that end in `pending`."""
BAD = ("error", "exception", "traceback", "critical", "panic")
ERRORS, FACTOR = 20, 3
"""Lines with an error that the canary's log may hold, and how many times more than stable's."""


def progress_of(client: httpx.Client, user: User, arm: int) -> dict[int, dict[str, Any]]:
    """A user's tasks on an arm."""
    body = body_of(client.get(f"/api/tasks/user/{user.name}", headers=user.headers[arm]))
    return {task["id"]: task for task in body["tasks"]}


def done(client: httpx.Client, user: User, arm: int, number: int) -> tuple[str, str]:
    """What completing a task is answered, and the task's status afterwards."""
    wanted = {"user_id": user.name, "task_id": number}
    body = body_of(client.post("/api/tasks/complete", json=wanted, headers=user.headers[arm]))
    return str(body.get("status")), str(progress_of(client, user, arm)[number]["status"])


@BACKEND
@pytest.mark.title("{service}: a task that stable lets a user complete, the canary does too, and it waits there")
def test_task_is_completed_on_both_arms(both: Both, doers: Callable[[], Iterator[User]]) -> None:
    for user in doers():
        known = [progress_of(client, user, arm) for arm, client in enumerate(both)]
        free = [
            n for n in TASKS if all(k[n]["status"] == "available" and not k[n]["max_attempts_reached"] for k in known)
        ]
        if len(free) < len(both):
            continue
        # each arm gets a task of its own, for they may share their store
        canary, stable = (done(client, user, arm, free[arm]) for arm, client in enumerate(both))
        require(canary == stable, "a completed task", expected=f"{stable}, as on stable", got=canary)
        return
    tried = [k["status"] for user in doers() for n, k in progress_of(both[0], user, 0).items() if n in TASKS]
    require(set(tried) != {"available"}, "what was done earlier today", expected="known to the canary", got="forgotten")


@BACKEND
@pytest.mark.title("{service}: on the canary a user's progress names every task that is offered")
def test_progress_and_list_agree_on_the_canary(both: Both, user: User) -> None:
    offered = body_of(both[0].get("/api/tasks/list", headers=user.headers[0]))["tasks"]
    mine = sorted(str(task.get("id")) for task in progress_of(both[0], user, 0).values())
    same("tasks of the user", mine, sorted(str(task.get("id")) for task in offered))


@BACKEND
@pytest.mark.title("{service}: a wrong password is refused on the canary as on stable")
def test_wrong_password_is_refused_alike(both: Both, user: User) -> None:
    wrong = {"username": user.name, "password": "not-the-password"}
    canary, stable = (client.post("/api/auth/login", data=wrong).status_code for client in both)
    require(canary == stable == 401, "sign-in", expected="HTTP 401", got=f"HTTP {canary} (stable: {stable})")


def health(service: Target) -> str:
    """What every service answers."""
    return str(service.facts.get("health") or "/")


@pytest.mark.needs("stable")
@pytest.mark.title("{service}: stable is unharmed, and still itself")
def test_stable_is_unharmed(service: Target, stable_api: httpx.Client) -> None:
    answer = answered(stable_api.get(health(service)))
    if service.has("pins"):
        got = answer.headers.get("x-onlyvips-arm"), answer.headers.get("x-onlyvips-revision")
        same("who answers for stable", got, ("stable", service.revision_of("stable")))


@pytest.mark.needs("process")
@pytest.mark.title("{service}: no process has been restarted, on either arm")
def test_no_process_was_restarted(service: Target) -> None:
    for instance in (i for arm in ("canary", "stable") for i in service.instances_of(arm) if i.get("pid")):
        pid, who = instance["pid"], f"process {instance['pid']} of {instance['revision']}"
        alive = instance["alive"] and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        require(alive, who, expected=f"alive, {instance['identity']}", got="it has ended")
        started = f"started {birth(pid):.2f}"
        require(started in instance["identity"], who, expected=instance["identity"], got=f"another process, {started}")


@pytest.mark.severity("normal")
@pytest.mark.needs("log")
@pytest.mark.title("{service}: the canary's log holds no more errors than stable's, for as much output")
def test_log_tells_of_no_more_errors(service: Target) -> None:
    lines, bad = {}, {}
    for arm in ("canary", "stable"):
        written = [line.lower() for i in service.instances_of(arm) for line in output_of(i["log"]).splitlines()]
        lines[arm], bad[arm] = len(written), sum(any(word in line for word in BAD) for line in written)
    rate = bad["stable"] / max(lines["stable"], 1)
    limit = max(ERRORS, FACTOR * rate * lines["canary"])
    shown = f"{bad['canary']} of {lines['canary']} lines (stable: {bad['stable']} of {lines['stable']})"
    require(bad["canary"] <= limit, "lines with an error", expected="as few as stable", got=shown, limit=f"{limit:.0f}")
