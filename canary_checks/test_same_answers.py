"""Is the canary worse than stable? The same requests, pinned to either arm, compared."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

Both = tuple[httpx.Client, httpx.Client]
SLACK = 0.05
"""Seconds by which a median may differ, whatever the ratio."""


@pytest.mark.severity("critical")
@pytest.mark.service("backend-api", "miniapp", "showcu-panel")
@pytest.mark.title("{service}: same status, type and shape of the answers on both arms")
def test_answers_have_the_same_shape(paths: tuple[str, ...], both: Both, shape: Callable[[Any], Any]) -> None:
    for path in paths:
        canary, stable = (client.get(path) for client in both)
        assert canary.status_code == stable.status_code, (
            f"{path}: canary {canary.status_code}, stable {stable.status_code}"
        )
        kinds = [answer.headers.get("content-type") for answer in (canary, stable)]
        assert kinds[0] == kinds[1], f"{path}: content-type regressed from {kinds[1]} to {kinds[0]}"
        lost = {name for name in stable.headers if name not in canary.headers}
        assert not lost, f"{path}: the canary lost the headers {sorted(lost)}"
        if "json" in (kinds[0] or ""):
            assert shape(canary.json()) == shape(stable.json()), f"{path}: the canary's answer has another shape"


@pytest.mark.severity("critical")
@pytest.mark.service("backend-api")
@pytest.mark.title("Who is not signed in is refused on the canary too")
def test_missing_sign_in_is_refused_alike(both: Both) -> None:
    for path in ("/api/auth/me", "/api/tasks/list"):
        canary, stable = (client.get(path).status_code for client in both)
        assert canary == stable == 401, f"{path}: expected 401, got {canary} (stable {stable})"


@pytest.mark.severity("critical")
@pytest.mark.service("miniapp", "showcu-panel")
@pytest.mark.title("{service}: the canary's page names assets that the canary has")
def test_assets_of_the_canarys_page_are_there(both: Both) -> None:
    canary, _ = both
    for path in re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', canary.get("/").text):
        assert canary.get(path).status_code == 200, f"{path} is missing on the canary"


@pytest.mark.service("backend-api", "miniapp", "showcu-panel")
@pytest.mark.title("{service}: the canary is not several times slower than stable")
def test_latency_is_in_the_band(paths: tuple[str, ...], both: Both) -> None:
    path = paths[0]
    canary, stable = (statistics.median(timed(client, path) for _ in range(10)) for client in both)
    assert canary <= 3 * stable + SLACK, f"median {canary * 1000:.0f} ms, stable {stable * 1000:.0f} ms"


def timed(client: httpx.Client, path: str) -> float:
    """Seconds of one request."""
    begun = time.perf_counter()
    client.get(path)
    return time.perf_counter() - begun
