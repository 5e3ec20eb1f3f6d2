"""Checks of your own: `pytest examples/own_checks --release-target miniapp=http://...`, or `path:` in the plan.

What does not apply is not generated: without a release, or without stable, the rest is listed as "not tested".
"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from onlyvips_release.expect import Target, answered, require, same


@pytest.mark.severity("blocker")  # blocker and critical end the suite at once, and the release with it
@pytest.mark.title("{service} answers")  # {service} and your own parameters are filled in
def test_answers(service: Target, api: httpx.Client) -> None:
    answered(api.get(service.facts.get("health", "/")))


@pytest.mark.service("miniapp")  # without this marker a check exists once for every service with HTTP
@pytest.mark.severity("normal")
@pytest.mark.title("{service}: the page is no larger than stable's by half")
def test_page_has_not_grown(service: Target, api: httpx.Client, stable_api: httpx.Client) -> None:
    ours, theirs = (len(answered(client.get("/")).content) for client in (api, stable_api))
    limit = theirs * 1.5
    require(ours <= limit, f"{service}: page", expected=f"about {theirs} bytes", got=ours, limit=f"{limit:.0f} bytes")


@pytest.mark.needs("pins")  # only within a release: http stable pins revision process log identity admin
@pytest.mark.severity("critical")
@pytest.mark.title("{service}: the release says which revision answers, and it does")
def test_revision_is_the_one_that_is_released(service: Target, api: httpx.Client, release: dict[str, Any]) -> None:
    assert release["weight"] <= 50, "this check is not made for more"
    found = api.get(service.facts["health"]).headers["x-onlyvips-revision"]
    same("revision", found, service.revision)


@pytest.mark.severity("minor")  # below the gate of the plan: told, but no reason to roll back
@pytest.mark.title("The judge has counted no error on the canary")
def test_no_error_was_counted(service: Target, metrics: dict[str, Any]) -> None:
    bad, total = metrics.get(service.name, {}).get("errors", {}).get("canary", (0, 0))
    require(bad == 0, f"{service}: users' requests", expected="no error", got=f"{bad} of {total}")


@pytest.mark.service("miniapp")
@pytest.mark.severity("trivial")
@pytest.mark.title("What a check leaves on the platform is named")
def test_leftovers_are_named(service: Target, left_behind: Callable[[str], None]) -> None:
    left_behind(f"{service}: an example, of nothing")
