"""What the canary checks share: the same request to both arms, and what counts as worse.

Worse: another status, another type of content, a header, a field or an entry's field less, a field of another type,
an error where stable has none. Not worse: other ids, times, numbers, texts and orders, more fields, null where there
was a value (or the other way).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from onlyvips_release.expect import Mismatch, Target, body_of

ACCOUNTS = tuple({"username": f"canarycheck{n:02}", "password": "plain-words-2026"} for n in range(1, 6))
"""A small pool, on both arms; no character that the platform's input filter refuses."""
DOERS = tuple({"username": f"canarydo{n:02}", "password": "plain-words-2026"} for n in range(1, 6))
"""They complete tasks."""

PASSING = {
    *("connection", "content-length", "date", "keep-alive", "server", "set-cookie", "transfer-encoding", "vary", "via"),
    *("age", "etag", "last-modified", "x-request-id", "x-envoy-upstream-service-time", "x-onlyvips-arm"),
    *("x-onlyvips-revision", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
}
"""Headers that come and go with connections, encodings, routers and limits."""

Both = tuple[httpx.Client, httpx.Client]


def lost(canary: Any, stable: Any, place: str = "") -> Iterator[str]:
    """What the canary's JSON lacks of stable's, by place."""
    if canary is None or stable is None:
        return
    if kind_of(canary) != kind_of(stable):
        yield f"{place or 'the answer'} is {kind_of(canary)}, not {kind_of(stable)}"
    elif isinstance(stable, dict):
        for key, value in stable.items():
            where = f"{place}.{key}".lstrip(".")
            if key in canary:
                yield from lost(canary[key], value, where)
            else:
                yield f"{where} is gone"
    elif isinstance(stable, list) and stable:
        pattern = common(stable)
        if not canary:
            yield f"{place}[] is empty"
        for entry in canary:
            yield from lost(entry, pattern, f"{place}[]")


def common(entries: list[Any]) -> Any:
    """What all entries have: null stands for anything, where they differ in type or one of them is null."""
    first = entries[0]
    if None in entries or len({kind_of(entry) for entry in entries}) > 1:
        return None
    if isinstance(first, list):
        inner = [value for entry in entries for value in entry]
        return [common(inner)] if inner and all(entries) else []
    if isinstance(first, dict):
        return {key: common([entry[key] for entry in entries]) for key in first if all(key in e for e in entries)}
    return first


def kind_of(value: Any) -> str:
    """JSON's name of a type; whole and broken numbers are one."""
    if isinstance(value, bool):
        return "true or false"
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}
    return kinds[type(value)]


def error_in(body: Any) -> str:
    """The error in an answer with status 200; "" = none."""
    wrong = isinstance(body, dict) and ("error" in body or body.get("status") in ("error", "failed", "unhealthy"))
    return f"an error with status 200: {body}" if wrong else ""


def differences(canary: httpx.Response, stable: httpx.Response) -> list[str]:
    """Everything by which the canary's answer is worse than stable's."""
    if canary.status_code != stable.status_code:
        return [f"HTTP {canary.status_code}, not {stable.status_code}"]
    worse = []
    kinds = [answer.headers.get("content-type", "none").partition(";")[0].lower() for answer in (canary, stable)]
    if kinds[0] != kinds[1]:
        worse.append(f"content-type {kinds[0]}, not {kinds[1]}")
    gone = {name.lower() for name in stable.headers} - {name.lower() for name in canary.headers} - PASSING
    worse += [f"header {name} is gone" for name in sorted(gone - {"content-type"})]
    if "json" in kinds[1] and canary.text[:1] in "{[":
        bodies = canary.json(), stable.json()
        error = error_in(bodies[0])
        worse += [error] if error and not error_in(bodies[1]) else []
        worse += sorted(set(lost(*bodies)))
    return worse


@pytest.fixture(scope="session")
def no_worse() -> Callable[[httpx.Response, httpx.Response], None]:
    """`no_worse(canary, stable)`: a failure that names everything by which one answer is worse than the other."""

    def compare(canary: httpx.Response, stable: httpx.Response) -> None:
        if found := differences(canary, stable):
            path = canary.request.url.path
            raise Mismatch(f"{path} regressed", "as good as stable's answer", "; ".join(found), "no difference")

    return compare


@dataclass(frozen=True)
class User:
    """One user, signed in on both arms; `headers` prove it to canary and stable."""

    name: str
    headers: tuple[dict[str, str], dict[str, str]] = field(repr=False)


def enter(both: Both, account: dict[str, str]) -> User | None:
    """Sign in on both arms, which share no users. None: a token holds `--` (1 % do), which is refused everywhere."""
    for client in both:
        client.post("/api/auth/register", json=account)
    answers = [body_of(client.post("/api/auth/login", data=account)) for client in both]
    first, second = ({"Authorization": f"Bearer {body.get('access_token')}"} for body in answers)
    refused = "--" in first["Authorization"] + second["Authorization"]
    return None if refused else User(account["username"], (first, second))


@pytest.fixture(scope="session")
def _users() -> dict[str, User]:
    """Who is signed in, by name of the account."""
    return {}


@pytest.fixture
def both(onlyvips_api: httpx.Client, stable_api: httpx.Client) -> Both:
    """Canary and stable."""
    return onlyvips_api, stable_api


SignIn = Callable[[tuple[dict[str, str], ...]], Iterator[User]]


@pytest.fixture
def people(both: Both, service: Target, left_behind: Callable[[str], None], _users: dict[str, User]) -> SignIn:
    """`people(accounts)`: users who are signed in on both arms, one after the other."""

    def each(accounts: tuple[dict[str, str], ...]) -> Iterator[User]:
        for account in accounts:
            name = account["username"]
            left_behind(f"{service.name}, both arms: the account {name}")
            if name not in _users and (found := enter(both, account)):
                _users[name] = found
            if name in _users:
                yield _users[name]

    return each


@pytest.fixture
def user(people: SignIn) -> User:
    """A user who is signed in on both arms."""
    return next(people(ACCOUNTS))


@pytest.fixture
def doers(people: SignIn) -> Callable[[], Iterator[User]]:
    """`doers()`: users who complete tasks."""
    return lambda: people(DOERS)
