"""What the smoke checks share: signed-in users of a small pool of accounts that is used again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from onlyvips_release.expect import Mismatch, Target, answered, body_of, require, same
from onlyvips_release.expect import field as field_of

PASSWORD = "plain-words-2026"
"""No character that the platform's input filter refuses."""
READERS = ("smokecheck01", "smokecheck02", "smokecheck03")
"""They only look. Three, because 1 % of the platform's tokens hold `--` and are refused everywhere."""
PURPOSES = ("do", "twice", "see", "approved", "rejected")
WORKERS = {purpose: tuple(f"smoke{purpose}{number:02}" for number in (1, 2, 3)) for purpose in PURPOSES}
"""They complete tasks; each check that does has its own, so that checks may run side by side."""
TASKS = (2, 3, 4, 6, 7, 8, 9, 10)
"""Tasks that end in `pending`; 1 and 5 answer 500 although they are done."""

Json = dict[str, Any]


@dataclass(frozen=True)
class User:
    """A signed-in user; `headers` prove it."""

    name: str
    headers: dict[str, str] = field(repr=False)

    @property
    def token(self) -> str:
        """The bearer token."""
        return self.headers["Authorization"].removeprefix("Bearer ")


def bearer(answer: httpx.Response) -> dict[str, str]:
    """The headers that the token of a sign-in makes."""
    body = body_of(answer)
    same("token_type", field_of(body, "token_type", str), "bearer")
    return {"Authorization": f"Bearer {field_of(body, 'access_token', str)}"}


def accepted(headers: dict[str, str]) -> bool:
    """Whether the platform takes this token: its filter answers 500 to each that holds `--`."""
    return "--" not in headers["Authorization"]


SignIn = Callable[[str], User]


@pytest.fixture(scope="session")
def _signed_in() -> dict[tuple[str, str], User]:
    """Who is signed in: a sign-in costs 31 ms, and the platform limits them."""
    return {}


@pytest.fixture
def sign_in(
    onlyvips_api: httpx.Client,
    service: Target,
    left_behind: Callable[[str], None],
    _signed_in: dict[tuple[str, str], User],
) -> SignIn:
    """`sign_in(name)`: registered (or found there) and signed in with the form, once in a session."""

    def enter(name: str) -> User:
        key = (service.name, name)
        if key not in _signed_in:
            account = {"username": name, "password": PASSWORD}
            created = onlyvips_api.post("/api/auth/register", json=account)
            if created.status_code != 400:
                answered(created)
            left_behind(f"{service.name}: the account {name}")
            _signed_in[key] = User(name, bearer(onlyvips_api.post("/api/auth/login", data=account)))
        return _signed_in[key]

    return enter


@pytest.fixture
def user(sign_in: SignIn) -> User:
    """A signed-in user who only looks."""
    return first_accepted(sign_in, READERS)


def first_accepted(sign_in: SignIn, names: tuple[str, ...]) -> User:
    """The first of these users whose token the platform takes."""
    for name in names:
        found = sign_in(name)
        if accepted(found.headers):
            return found
    raise Mismatch("sign-in", "a token without '--'", f"{len(names)} tokens with it, which the platform refuses")


def progress_of(client: httpx.Client, user: User) -> dict[int, Json]:
    """A user's tasks by number."""
    found = body_of(client.get(f"/api/tasks/user/{user.name}", headers=user.headers))
    return {task["id"]: task for task in field_of(found, "tasks", list)}


Completed = tuple[User, int]


@pytest.fixture
def complete(onlyvips_api: httpx.Client, sign_in: SignIn) -> Callable[[str], Completed | None]:
    """`complete(purpose)`: which user of that purpose completed which task now; None = all was done earlier today."""

    def one(purpose: str) -> Completed | None:
        for name in WORKERS[purpose]:
            user = sign_in(name)
            known = progress_of(onlyvips_api, user) if accepted(user.headers) else {}
            for number in TASKS:
                task = known.get(number)
                if task and task["status"] == "available" and not task["max_attempts_reached"]:
                    wanted = {"user_id": user.name, "task_id": number}
                    done = body_of(onlyvips_api.post("/api/tasks/complete", json=wanted, headers=user.headers))
                    require(done.get("status") == "pending", f"task {number}", expected="status pending", got=done)
                    same("pending_verification_id", done.get("pending_verification_id"), f"{user.name}_{number}")
                    return user, number
        return None

    return one


@pytest.fixture
def tried(onlyvips_api: httpx.Client, sign_in: SignIn) -> Callable[[str], Completed]:
    """`tried(purpose)`: a user and a task that he has tried today; a platform that forgot all of them is broken."""

    def one(purpose: str) -> Completed:
        for name in WORKERS[purpose]:
            user = sign_in(name)
            known = progress_of(onlyvips_api, user) if accepted(user.headers) else {}
            for number in TASKS:
                if number in known and known[number]["status"] != "available":
                    return user, number
        raise Mismatch("what was done earlier today", "a task that waits or is completed", "none: tasks are lost")

    return one


@pytest.fixture
def admin(service: Target) -> dict[str, str]:
    """Headers of an admin."""
    return {"Authorization": f"Bearer {service.facts['admin']}"}
