"""A small canary suite for the committed releases."""

from __future__ import annotations

import httpx
import pytest


def types(value: dict[str, object]) -> dict[str, str]:
    """Fields and their types."""
    return {name: type(inner).__name__ for name, inner in value.items()}


@pytest.mark.title("Both arms answer {path} with the same status")
@pytest.mark.service("backend-api")
@pytest.mark.parametrize("path", ["/", "/api/badges/list", "/api/content/?per_page=5"])
def test_status_is_the_same(api: httpx.Client, stable_api: httpx.Client, path: str) -> None:
    assert api.get(path).status_code == stable_api.get(path).status_code


@pytest.mark.severity("critical")
@pytest.mark.title("The content list has the same fields of the same types on both arms")
@pytest.mark.service("backend-api")
def test_content_has_the_same_types(api: httpx.Client, stable_api: httpx.Client) -> None:
    canary, stable = (client.get("/api/content/?per_page=1").json() for client in (api, stable_api))
    assert types(canary) == types(stable)


@pytest.mark.title("{service}: the front page names the same assets on both arms")
@pytest.mark.service("miniapp", "showcu-panel")
def test_front_page_is_alike(api: httpx.Client, stable_api: httpx.Client) -> None:
    assert api.get("/").text.count("/assets/") == stable_api.get("/").text.count("/assets/")
