"""Is it there, does it answer, and is it what it should be?"""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import psutil
import pytest

from onlyvips_release.clients.processes import birth
from onlyvips_release.pytest_plugin import Target

HEALTHY = {"healthy", "ok", "alive", "ready"}


@pytest.mark.severity("blocker")
@pytest.mark.title("{service} answers its health request in time, and says that it is healthy")
def test_health_says_healthy(service: Target, onlyvips_api: httpx.Client) -> None:
    answer = onlyvips_api.get(service.facts.get("health", "/api/health/health"), timeout=5)
    assert answer.status_code == 200, f"expected HTTP 200, got {answer.status_code}"
    word = answer.json()["status"] if "json" in answer.headers["content-type"] else answer.text
    assert word.strip().lower() in HEALTHY, f"expected one of {sorted(HEALTHY)}, got {word[:80]!r}"


@pytest.mark.severity("blocker")
@pytest.mark.title("{service}: the answer comes from the arm and the revision under test")
def test_answer_comes_from_the_revision_under_test(service: Target, onlyvips_api: httpx.Client) -> None:
    answer = onlyvips_api.get(service.facts.get("health", "/"))
    told = (answer.headers.get("x-onlyvips-arm"), answer.headers.get("x-onlyvips-revision"))
    expected = (service.arm, service.revision) if service.facts.get("pins") else (None, None)
    assert told == expected, f"expected arm and revision {expected}, the router says {told}"
    identity = service.facts.get("identity")
    if identity and identity["header"]:
        assert answer.headers.get(identity["header"]) == service.revision


@pytest.mark.severity("blocker")
@pytest.mark.title("{service}: the process of the revision under test lives and holds its port")
@pytest.mark.service("backend-api", "miniapp", "showcu-panel", "flirt-bot")
def test_process_lives(service: Target) -> None:
    mine = [instance for instance in service.instances if instance["pid"]]
    assert all(instance["alive"] for instance in mine), f"expected living instances, got {mine}"
    for instance in mine:
        process = psutil.Process(instance["pid"])
        assert f"started {birth(process.pid):.2f} " in instance["identity"], "another process has taken over this pid"
        if instance["port"]:
            family = [process, *process.children(recursive=True)]
            ports = {c.laddr.port for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
            assert instance["port"] in ports, f"expected a listener on {instance['port']}, got {sorted(ports)}"


@pytest.mark.severity("critical")
@pytest.mark.title("{service} is at work: it handles updates")
@pytest.mark.service("flirt-bot")
def test_bot_is_at_work(service: Target) -> None:
    logs = [Path(instance["log"]) for instance in service.instances]
    assert logs, "no instance to look at"

    def handled() -> list[int]:
        return [log.read_text(errors="replace").count("handled update") if log.exists() else 0 for log in logs]

    before, end = handled(), time.monotonic() + 5
    while time.monotonic() < end:
        if all(now > then for now, then in zip(handled(), before, strict=True)):
            return
        time.sleep(0.05)
    pytest.fail(f"expected new 'handled update' lines within 5 s, got none; logs: {[str(log) for log in logs]}")
