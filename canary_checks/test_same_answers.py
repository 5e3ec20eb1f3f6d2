"""Is the canary worse than stable? The same requests, pinned to either arm, compared."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx
import pytest

from onlyvips_release.expect import Target, require

if TYPE_CHECKING:
    from canary_checks.conftest import Both, User

NoWorse = Callable[[httpx.Response, httpx.Response], None]
BACKEND, FRONTS = pytest.mark.service("backend-api"), pytest.mark.service("miniapp", "showcu-panel")
CRITICAL = pytest.mark.severity("critical")

PUBLIC = (
    "/",
    "/api/health/health",
    "/api/badges/list",
    "/api/content/?page=1&per_page=10",
    "/api/content/content_1",
    "/api/showcus/?per_page=10",
    "/api/showcus/showcu_1",
    "/api/openapi.json",
)
PRIVATE = ("/api/auth/me", "/api/tasks/list", "/api/tasks/user/ME", "/api/tasks/stats")
PAGES = ("/", "/health", "/some/page/of/the/app", "/assets/never-built.js")

ROUNDS = 10
FACTOR, SLACK = 3, 0.05
"""The canary's median may be so many times stable's, and so many seconds more: generous, the judge knows better."""


@CRITICAL
@BACKEND
@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.title("{service}: {path} answers alike on both arms")
def test_public_answer_is_as_good(path: str, both: Both, no_worse: NoWorse) -> None:
    canary, stable = (client.get(path) for client in both)
    no_worse(canary, stable)


@CRITICAL
@BACKEND
@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.title("{service}: {path} answers a signed-in user alike on both arms")
def test_private_answer_is_as_good(path: str, both: Both, user: User, no_worse: NoWorse) -> None:
    own = path.replace("ME", user.name)
    canary, stable = (client.get(own, headers=headers) for client, headers in zip(both, user.headers, strict=True))
    no_worse(canary, stable)


@CRITICAL
@BACKEND
@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.title("{service}: {path} refuses who is not signed in, on both arms")
def test_missing_sign_in_is_refused_alike(path: str, both: Both, no_worse: NoWorse) -> None:
    canary, stable = (client.get(path) for client in both)
    got = f"HTTP {canary.status_code} (stable: {stable.status_code})"
    require(canary.status_code == 401, f"{path} without a token", expected="HTTP 401", got=got)
    no_worse(canary, stable)


@CRITICAL
@FRONTS
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.title("{service}: {path} answers alike on both arms")
def test_page_is_as_good(path: str, both: Both, no_worse: NoWorse) -> None:
    canary, stable = (client.get(path) for client in both)
    no_worse(canary, stable)


@CRITICAL
@FRONTS
@pytest.mark.title("{service}: the canary's page names at least as many files, and they are as good as stable's")
def test_files_of_the_canarys_page_are_there(both: Both, no_worse: NoWorse) -> None:
    canary, stable = (files_of(client) for client in both)
    require(len(canary) >= len(stable), "files that the page names", expected=f"{len(stable)}, as stable's", got=canary)
    for ending in sorted({path.rpartition(".")[2] for path in canary}):
        theirs = [path for path in stable if path.endswith(ending)]
        for path in (path for path in canary if path.endswith(ending)):
            answer = both[0].get(path)
            require(answer.status_code == 200, path, expected="HTTP 200", got=f"HTTP {answer.status_code}")
            if theirs:
                no_worse(answer, both[1].get(theirs[0]))


LATENCY = {"backend-api": ("/", "/api/content/?page=1&per_page=10", "/api/badges/list")}


@pytest.mark.severity("normal")
@pytest.mark.parametrize("number", range(3))
@BACKEND
@pytest.mark.title("{service}: one of its often used paths ({number}) is not several times slower on the canary")
def test_latency_is_in_the_band(service: Target, number: int, both: Both) -> None:
    in_band(both, LATENCY[service.name][number])


@pytest.mark.severity("normal")
@FRONTS
@pytest.mark.title("{service}: its page is not several times slower on the canary")
def test_latency_of_the_page_is_in_the_band(service: Target, both: Both) -> None:
    in_band(both, f"/?of={service.name}")


def in_band(both: Both, path: str) -> None:
    """The canary's median time is in the band around stable's."""
    rounds = [[timed(client, path) for client in both] for _ in range(ROUNDS)]  # in turn: both see the same noise
    canary, stable = (statistics.median(times) * 1000 for times in zip(*rounds, strict=True))
    limit = FACTOR * stable + SLACK * 1000
    median = f"median of {ROUNDS}: {canary:.0f} ms"
    require(canary <= limit, path, expected=f"about {stable:.0f} ms, as stable", got=median, limit=f"{limit:.0f} ms")


def files_of(client: httpx.Client) -> list[str]:
    """What a front's page names of its own."""
    named = re.findall(r'(?:src|href)="(?!https?:|//|data:)([^"?#]+\.\w+)', client.get("/").text)
    return [urljoin("/", path) for path in named]


def timed(client: httpx.Client, path: str) -> float:
    """Seconds of one request."""
    begun = time.perf_counter()
    client.get(path)
    return time.perf_counter() - begun
