"""Which tests are slices (too long for ten minutes of `make test`: `make slices` runs them), and the order of all.

With ONLYVIPS_TEST_ORDER tests run in an order drawn from that text: none may depend on another one.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as users have it: a command does not compile the library again

SLICES = (
    "browser",
    "crash",
    "reporting",
    "cli/test_progress.py",
    "telemetry/test_sources.py",
    "e2e/test_ci.py",
    "e2e/test_examples.py",
    "e2e/test_external.py",
    "e2e/test_faults.py",
    "e2e/test_metrics.py",
    "e2e/test_state.py",
    "suites/test_canary_checks.py",
    "suites/test_suites.py",
    "suites/test_traps.py",
)


ALONE = ("suites/test_hostile_suites.py",)
"""Files whose deadlines leave no room for another file beside them."""

LONGEST = ("e2e/test_release.py", "e2e/test_troubles.py", "traffic/test_envoy.py", "crash", "e2e")
"""Files that take minutes: begun first, so that no processor is idle at the end."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` looks at the marks."""
    for item in items:
        if any(within(item, part) for part in SLICES):
            item.add_marker(pytest.mark.slice)
        if any(within(item, part) for part in ALONE):
            item.add_marker(pytest.mark.alone)
    if seed := os.environ.get("ONLYVIPS_TEST_ORDER"):
        random.Random(seed).shuffle(items)
    items.sort(key=lambda item: next((n for n, part in enumerate(LONGEST) if within(item, part)), len(LONGEST)))


def within(item: pytest.Item, part: str) -> bool:
    """Whether a test stands in this file or folder below tests/."""
    return item.path.is_relative_to(Path(__file__).parent / part)
