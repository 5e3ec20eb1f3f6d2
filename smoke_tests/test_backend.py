"""backend-api: sign-in, what needs it, and the business flows that earn the money."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.service("backend-api"), pytest.mark.severity("critical")]
SignIn = Callable[[], dict[str, str]]
Expect = Callable[..., dict[str, Any]]


@pytest.mark.title("A user can register (or exists) and sign in")
def test_sign_in_gives_a_token_that_works(
    onlyvips_api: httpx.Client, sign_in: SignIn, expect: Expect, account: dict[str, str]
) -> None:
    me = expect(onlyvips_api.get("/api/auth/me", headers=sign_in()))
    assert me["username"] == account["username"]
    assert me["role"] == "user"


@pytest.mark.title("A user can sign in by Telegram")
def test_telegram_sign_in(onlyvips_api: httpx.Client, expect: Expect) -> None:
    person = {"id": "900001", "auth_date": int(time.time()), "first_name": "Smoke"}
    token = expect(onlyvips_api.post("/api/auth/telegram", json=person))
    assert token["token_type"] == "bearer"
    assert token["access_token"].count(".") == 2


@pytest.mark.title("A wrong password is refused")
def test_wrong_password_is_refused(
    onlyvips_api: httpx.Client, sign_in: SignIn, expect: Expect, account: dict[str, str]
) -> None:
    sign_in()
    wrong = {**account, "password": "not-the-password"}
    expect(onlyvips_api.post("/api/auth/login", data=wrong), 401)


@pytest.mark.parametrize("path", ["/api/auth/me", "/api/tasks/list"])
@pytest.mark.title("Without signing in, {path} is refused")
def test_without_token_it_is_refused(onlyvips_api: httpx.Client, path: str, expect: Expect) -> None:
    expect(onlyvips_api.get(path), 401)


@pytest.mark.title("A token can be renewed")
def test_refresh_gives_another_token(onlyvips_api: httpx.Client, sign_in: SignIn, expect: Expect) -> None:
    renewed = expect(onlyvips_api.post("/api/auth/refresh", headers=sign_in()))
    assert renewed["expires_at"] > time.time()


@pytest.mark.title("A user sees the tasks and completes one")
def test_task_is_listed_and_completed(
    onlyvips_api: httpx.Client, sign_in: SignIn, expect: Expect, account: dict[str, str]
) -> None:
    headers = sign_in()
    tasks = expect(onlyvips_api.get("/api/tasks/list", headers=headers))
    assert tasks["status"] == "success"
    assert {"id", "title", "reward_type", "verification_type"} <= set(tasks["tasks"][0])
    wanted = {"user_id": account["username"], "task_id": 2}
    done = expect(onlyvips_api.post("/api/tasks/complete", json=wanted, headers=headers))
    assert done["status"] in ("pending", "success", "error")
    if done["status"] == "error":
        mine = expect(onlyvips_api.get(f"/api/tasks/user/{account['username']}", headers=headers))
        task = next(task for task in mine["tasks"] if task["id"] == wanted["task_id"])
        assert task["status"] != "available", f"refused although it was never done: {done}"


@pytest.mark.parametrize(
    ("path", "key", "least"),
    [("/api/badges/list", "badges", 3), ("/api/content/", "contents", 1), ("/api/showcus/", "showcus", 1)],
    ids=["badges", "content", "showcus"],
)
@pytest.mark.title("Everybody sees {path}")
def test_public_list_has_entries(onlyvips_api: httpx.Client, path: str, key: str, least: int, expect: Expect) -> None:
    found = expect(onlyvips_api.get(path))
    assert len(found[key]) >= least, f"expected at least {least} {key}, got {found}"


@pytest.mark.title("The API describes itself")
def test_openapi_is_there(onlyvips_api: httpx.Client, expect: Expect) -> None:
    answer = onlyvips_api.get("/api/openapi.json")
    assert expect(answer)["paths"]
