"""What the smoke checks share: sign-in on a small pool of named accounts, and failures that a QA person can read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

ACCOUNT = {"username": "smokecheck01", "password": "plain-words-2026"}
"""One of few accounts that are used again and again; no character that the platform's input filter refuses."""

Json = dict[str, Any]


def told(answer: httpx.Response) -> str:
    """Request and answer in one line, without secrets."""
    body = answer.text[:200].replace("\n", " ")
    if "token" in body:
        body = "(masked: it holds a token)"
    return f"{answer.request.method} {answer.request.url.path} -> {answer.status_code} {body}"


def checked(answer: httpx.Response, status: int = 200) -> Json:
    """The answer's JSON, if its status is the expected one."""
    assert answer.status_code == status, f"expected HTTP {status}, got {told(answer)}"
    if "json" not in answer.headers.get("content-type", ""):
        return {}
    found = answer.json()
    return found if isinstance(found, dict) else {"value": found}


@pytest.fixture(scope="session")
def expect() -> Callable[..., Json]:
    """`expect(answer, status=200)`: the answer's JSON, or a failure that says what came instead."""
    return checked


@pytest.fixture(scope="session")
def account() -> dict[str, str]:
    """The account that `sign_in` uses."""
    return ACCOUNT


def signed_in(api: httpx.Client) -> dict[str, str]:
    """Headers of a signed-in user. 1 % of the platform's tokens are refused everywhere: then it signs in again.

    A token is a function of user and second, so another one is only to be had in the next second.
    """
    created = api.post("/api/auth/register", json=ACCOUNT)
    assert created.status_code in (200, 400), f"expected 200 or 400 (exists), got {told(created)}"
    for _ in range(4):
        token = checked(api.post("/api/auth/login", data=ACCOUNT))["access_token"]
        if "--" not in token:
            break
        time.sleep(1.0 - time.time() % 1.0)
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def sign_in(onlyvips_api: httpx.Client) -> Callable[[], dict[str, str]]:
    """`sign_in()`: headers of a signed-in user."""
    return lambda: signed_in(onlyvips_api)
