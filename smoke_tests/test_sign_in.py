"""backend-api: who may come in, and how.

GET /api/users/{self} is never called: it destroys the password. No text here holds a character that the platform's
input filter refuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from onlyvips_release.expect import answered, body_of, field, require, same

if TYPE_CHECKING:
    from smoke_tests.conftest import User

pytestmark = [pytest.mark.service("backend-api"), pytest.mark.severity("critical")]
PASSWORD = "plain-words-2026"
HOUR = 3600


def token_of(answer: httpx.Response) -> str:
    """The token of a sign-in."""
    return str(field(body_of(answer), "access_token", str))


def me(client: httpx.Client, token: str) -> httpx.Response:
    """Who the platform says this is."""
    return client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.severity("blocker")
@pytest.mark.title("A user signs in, and is who he is")
def test_user_is_who_he_is(onlyvips_api: httpx.Client, user: User) -> None:
    body = body_of(me(onlyvips_api, user.token))
    got = {key: body.get(key) for key in ("username", "role", "is_active")}
    same("the signed-in user", got, {"username": user.name, "role": "user", "is_active": True})


@pytest.mark.title("A sign-in gives a token that ends in the future")
def test_token_ends_in_the_future(onlyvips_api: httpx.Client, user: User) -> None:
    body = body_of(onlyvips_api.post("/api/auth/login", data={"username": user.name, "password": PASSWORD}))
    left = field(body, "expires_at", int) - time.time()
    require(
        HOUR < left < 90 * 24 * HOUR, "time until it ends", expected="1 hour to 90 days", got=f"{left / HOUR:.1f} h"
    )


@pytest.mark.severity("normal")
@pytest.mark.title("The sign-in limiter has room for this run: what it refuses is answered 500 here, and looks broken")
def test_limiter_has_room(onlyvips_api: httpx.Client, user: User) -> None:
    answer = onlyvips_api.post("/api/auth/login", data={"username": user.name, "password": PASSWORD})
    left = answer.headers.get("x-ratelimit-remaining", "no limiter")  # without Redis there is none
    require(left != "0", "sign-ins left in this minute", expected="more than 0, or no limiter", got=left)


@pytest.mark.title("A wrong password is refused")
def test_wrong_password_is_refused(onlyvips_api: httpx.Client, user: User) -> None:
    wrong = {"username": user.name, "password": "not-the-password"}
    answered(onlyvips_api.post("/api/auth/login", data=wrong), 401)


@pytest.mark.title("A user whom nobody registered is refused")
def test_unknown_user_is_refused(onlyvips_api: httpx.Client) -> None:
    answered(onlyvips_api.post("/api/auth/login", data={"username": "nobody-at-all", "password": PASSWORD}), 401)


@pytest.mark.title("A taken user name cannot be registered again")
def test_taken_name_is_refused(onlyvips_api: httpx.Client, user: User) -> None:
    again = {"username": user.name, "password": "another-password"}
    answered(onlyvips_api.post("/api/auth/register", json=again), 400)


USELESS: dict[str, dict[str, str | None]] = {
    "password": {"password": "short"},
    "name": {"username": "ab"},
    "body": {"username": None},
}


@pytest.mark.parametrize("part", USELESS)
@pytest.mark.title("An account with a useless {part} cannot be registered")
def test_useless_account_is_refused(onlyvips_api: httpx.Client, part: str) -> None:
    wanted = {"username": "smokecheck99", "password": PASSWORD, **USELESS[part]}
    account = {key: value for key, value in wanted.items() if value is not None}
    answered(onlyvips_api.post("/api/auth/register", json=account), 422)


@pytest.mark.severity("normal")
@pytest.mark.title("A taken user name is shown as taken")
def test_taken_name_is_shown_as_taken(onlyvips_api: httpx.Client, user: User) -> None:
    same("available", body_of(onlyvips_api.get(f"/api/auth/check-username/{user.name}")).get("available"), False)


@pytest.mark.severity("normal")
@pytest.mark.title("A free user name is shown as free")
def test_free_name_is_shown_as_free(onlyvips_api: httpx.Client) -> None:
    same("available", body_of(onlyvips_api.get("/api/auth/check-username/nobody-at-all")).get("available"), True)


@pytest.mark.title("A user signs in by Telegram, and is who he is")
def test_telegram_user_is_who_he_is(onlyvips_api: httpx.Client, left_behind: Callable[[str], None]) -> None:
    for number in ("900001", "900002", "900003"):  # 1 % of tokens hold "--" and are refused: then another person
        person = {"id": number, "auth_date": int(time.time()), "first_name": "Smoke"}
        token = token_of(onlyvips_api.post("/api/auth/telegram", json=person))
        left_behind(f"backend-api: the Telegram account {number}")
        if "--" not in token:
            break
    same("telegram_id", str(body_of(me(onlyvips_api, token)).get("telegram_id")), number)


@pytest.mark.title("An old Telegram sign-in is refused")
def test_old_telegram_sign_in_is_refused(onlyvips_api: httpx.Client) -> None:
    person = {"id": "900001", "auth_date": int(time.time()) - 48 * HOUR, "first_name": "Smoke"}
    answered(onlyvips_api.post("/api/auth/telegram", json=person), 401)


@pytest.mark.title("A token can be renewed, and the new one works")
def test_renewed_token_works(onlyvips_api: httpx.Client, user: User) -> None:
    token = token_of(onlyvips_api.post("/api/auth/refresh", headers=user.headers))
    if "--" in token:  # the platform refuses it; a token is one per user and second
        time.sleep(1 - time.time() % 1)
        token = token_of(onlyvips_api.post("/api/auth/refresh", headers=user.headers))
    same("username", body_of(me(onlyvips_api, token)).get("username"), user.name)


@pytest.mark.severity("normal")
@pytest.mark.title("A user can sign out")
def test_user_can_sign_out(onlyvips_api: httpx.Client, user: User) -> None:
    field(body_of(onlyvips_api.post("/api/auth/logout", headers=user.headers)), "message", str)


GUARDED = {
    "me": ("GET", "/api/auth/me"),
    "refresh": ("POST", "/api/auth/refresh"),
    "logout": ("POST", "/api/auth/logout"),
    "tasks": ("GET", "/api/tasks/list"),
    "stats": ("GET", "/api/tasks/stats"),
    "progress": ("GET", "/api/tasks/user/smokecheck01"),
    "complete": ("POST", "/api/tasks/complete"),
    "verify": ("POST", "/api/tasks/verify"),
    "pending": ("GET", "/api/tasks/pending"),
    "reset": ("GET", "/api/tasks/reset-daily"),
    "badge": ("POST", "/api/tasks/assign-badge"),
}
SENT = {"user_id": "smokecheck01", "task_id": 999, "badge_id": "none"}
"""A body that does nothing, should the call be open."""


@pytest.mark.parametrize("call", GUARDED)
@pytest.mark.title("Who is not signed in is refused: {call}")
def test_without_token_it_is_refused(onlyvips_api: httpx.Client, call: str) -> None:
    method, path = GUARDED[call]
    answered(onlyvips_api.request(method, path, json=SENT if method == "POST" else None), 401)


@pytest.mark.parametrize("call", ["verify", "pending", "reset", "badge"])
@pytest.mark.title("A user may not do an admin's work: {call}")
def test_user_may_not_do_an_admins_work(onlyvips_api: httpx.Client, user: User, call: str) -> None:
    method, path = GUARDED[call]
    sent = SENT if method == "POST" else None
    answered(onlyvips_api.request(method, path, json=sent, headers=user.headers), 403)


@pytest.mark.title("One user cannot see the tasks of another")
def test_other_users_tasks_are_refused(onlyvips_api: httpx.Client, user: User) -> None:
    answered(onlyvips_api.get("/api/tasks/user/somebodyelse", headers=user.headers), 403)


@pytest.mark.title("One user cannot complete a task for another")
def test_task_for_another_is_refused(onlyvips_api: httpx.Client, user: User) -> None:
    wanted = {"user_id": "somebodyelse", "task_id": 2}
    answered(onlyvips_api.post("/api/tasks/complete", json=wanted, headers=user.headers), 403)


def altered(token: str) -> str:
    """The token with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


UNSIGNED = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJkZW1vIiwicm9sZSI6InVzZXIiLCJleHAiOjQxMDI0NDQ4MDB9."
"""A token for `demo` that says that it needs no signature."""


@pytest.mark.title("A token that nobody issued is refused")
def test_invented_token_is_refused(onlyvips_api: httpx.Client) -> None:
    answered(me(onlyvips_api, "not.a.token"), 401)


@pytest.mark.title("A token whose signature was altered is refused")
def test_altered_token_is_refused(onlyvips_api: httpx.Client, user: User) -> None:
    answered(me(onlyvips_api, altered(user.token)), 401)


@pytest.mark.title("A token that claims to need no signature is refused")
def test_unsigned_token_is_refused(onlyvips_api: httpx.Client) -> None:
    answered(me(onlyvips_api, UNSIGNED), 401)
