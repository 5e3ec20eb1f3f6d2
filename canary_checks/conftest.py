"""What the canary checks share: the same request to both arms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from onlyvips_release.targets import Target

PATHS = {
    "backend-api": (
        "/",
        "/api/badges/list",
        "/api/content/?per_page=5",
        "/api/showcus/?per_page=5",
        "/api/health/health",
    ),
    "miniapp": ("/", "/health"),
    "showcu-panel": ("/", "/health"),
}


def shape_of(value: Any) -> Any:
    """Keys and types, without ids, times and order."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


@pytest.fixture
def paths(service: Target) -> tuple[str, ...]:
    """What is asked of both arms."""
    return PATHS[service.name]


@pytest.fixture(scope="session")
def shape() -> Callable[[Any], Any]:
    """Keys and types of an answer."""
    return shape_of


@pytest.fixture
def both(onlyvips_api: httpx.Client, stable_api: httpx.Client) -> tuple[httpx.Client, httpx.Client]:
    """Canary and stable."""
    return onlyvips_api, stable_api
