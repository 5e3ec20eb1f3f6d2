"""Is it there, and does it say so in time? Health is read as a body: a 200 alone says nothing here."""

from __future__ import annotations

import time

import httpx
import pytest

from onlyvips_release.expect import Target, answered, body_of, field, require, same

BACKEND = pytest.mark.service("backend-api")
FRONTS = ("miniapp", "showcu-panel")
HEALTHY = ("healthy", "ok", "alive", "ready")
IN_TIME = 2.0
"""Seconds for a health answer. Without its Redis the platform takes 3.4 s and more, and still says that it is well."""


def health_path(service: Target) -> str:
    """Of the plan; without one, the platform's own."""
    return str(service.facts.get("health") or ("/health" if service.name in FRONTS else "/api/health/health"))


@pytest.mark.severity("blocker")
@pytest.mark.title("{service} says that it is healthy")
def test_health_says_healthy(service: Target, onlyvips_api: httpx.Client) -> None:
    answer = answered(onlyvips_api.get(health_path(service)))
    is_json = "json" in answer.headers.get("content-type", "")
    status = str(body_of(answer).get("status")) if is_json else answer.text
    require(status.strip().lower() in HEALTHY, "health", expected=f"one of {', '.join(HEALTHY)}", got=repr(status[:80]))


@pytest.mark.severity("critical")
@pytest.mark.title("{service} answers its health request in time")
def test_health_answers_in_time(service: Target, onlyvips_api: httpx.Client) -> None:
    begun = time.monotonic()
    onlyvips_api.get(health_path(service))
    took = time.monotonic() - begun
    require(took <= IN_TIME, "time to answer", expected="an answer in time", got=f"{took:.1f} s", limit=f"{IN_TIME} s")


@BACKEND
@pytest.mark.severity("critical")
@pytest.mark.title("The API's general health names its data store")
def test_general_health_names_its_store(onlyvips_api: httpx.Client) -> None:
    body = body_of(onlyvips_api.get("/api/health"))
    same("status", body.get("status"), "healthy")
    known = ("memory_only", "connected")
    require(body.get("db_status") in known, "db_status", expected=f"one of {known}", got=body.get("db_status"))


@BACKEND
@pytest.mark.severity("critical")
@pytest.mark.title("The API's detailed health says that its database is well")
def test_detailed_health_finds_the_database_well(onlyvips_api: httpx.Client) -> None:
    body = body_of(onlyvips_api.get("/api/health/health/detailed"))
    checks = field(body, "checks", dict)
    same("checks.database.status", field(checks, "database", dict).get("status"), "healthy")
    require(body.get("status") != "unhealthy", "status", expected="healthy or degraded", got=body.get("status"))


@BACKEND
@pytest.mark.severity("critical")
@pytest.mark.title("The API is ready, or says that it waits for its database")
def test_readiness_is_told(onlyvips_api: httpx.Client) -> None:
    answer = onlyvips_api.get("/api/health/health/readiness")
    waits = answer.status_code == 503 and body_of(answer, 503) == {"detail": "Database not ready"}
    if not waits:  # with MongoDB as its store this platform always says so, however well it is
        same("status", body_of(answer).get("status"), "ready")


@BACKEND
@pytest.mark.severity("critical")
@pytest.mark.title("The API is alive, and says for how long")
def test_liveness_tells_the_uptime(onlyvips_api: httpx.Client) -> None:
    body = body_of(onlyvips_api.get("/api/health/health/liveness"))
    same("status", body.get("status"), "alive")
    seconds = field(body, "uptime_seconds", (int, float))
    require(seconds > 0, "uptime_seconds", expected="more than 0", got=seconds)


@BACKEND
@pytest.mark.severity("normal")
@pytest.mark.title("The API exports its request counters for Prometheus")
def test_metrics_are_exported(onlyvips_api: httpx.Client) -> None:
    text = answered(onlyvips_api.get("/api/health/metrics")).text
    require("# TYPE http_requests_total counter" in text, "metrics", expected="http_requests_total", got=text[:200])


@BACKEND
@pytest.mark.severity("normal")
@pytest.mark.title("The exported counters tell errors from successes by `status_code`")
def test_metrics_have_the_status_label(onlyvips_api: httpx.Client) -> None:
    lines = [line for line in onlyvips_api.get("/api/health/metrics").text.splitlines() if "requests_total{" in line]
    bad = next((line for line in lines if 'status_code="' not in line), "")
    require(not bad, "a counter's labels", expected="status_code", got=bad)


@BACKEND
@pytest.mark.severity("critical")
@pytest.mark.title("The API's root names the API")
def test_root_names_the_api(onlyvips_api: httpx.Client) -> None:
    body = body_of(onlyvips_api.get("/"))
    same("service", body.get("service"), "OnlyVips API")
    same("status", body.get("status"), "active")


@BACKEND
@pytest.mark.severity("normal")
@pytest.mark.title("A path that does not exist is refused by the API, not answered with a page")
def test_unknown_path_is_refused(onlyvips_api: httpx.Client) -> None:
    field(body_of(onlyvips_api.get("/api/never-built"), 404), "detail", str)


@BACKEND
@pytest.mark.severity("normal")
@pytest.mark.title("The API's description names the calls that its users live on")
def test_description_names_the_calls(onlyvips_api: httpx.Client) -> None:
    paths = field(body_of(onlyvips_api.get("/api/openapi.json")), "paths", dict)
    wanted = {"/api/auth/login", "/api/auth/me", "/api/tasks/list", "/api/tasks/complete", "/api/badges/list"}
    require(
        wanted <= set(paths), "described calls", expected=sorted(wanted), got=f"without {sorted(wanted - set(paths))}"
    )


@BACKEND
@pytest.mark.severity("minor")
@pytest.mark.title("The API's documents are a page that finds the description")
def test_documents_find_the_description(onlyvips_api: httpx.Client) -> None:
    answer = answered(onlyvips_api.get("/api/docs"))
    require("html" in answer.headers.get("content-type", ""), "content type", expected="html", got=answer.headers)
    require("openapi.json" in answer.text, "page", expected="a link to openapi.json", got=answer.text[:200])
