"""The canary really is the canary: what the router says, what the app claims, and what the process table shows."""

from __future__ import annotations

from typing import Any

import httpx
import psutil
import pytest

from onlyvips_release.clients.process import birth
from onlyvips_release.expect import Target, answered, output_of, require, same

pytestmark = pytest.mark.severity("blocker")
BROKEN = ("Traceback (most recent call last)", "CRITICAL", "panic:", "crash:")


def health(service: Target) -> str:
    """What every target answers."""
    return str(service.facts.get("health") or "/")


@pytest.mark.needs("pins")
@pytest.mark.title("{service}: a request that asks for the arm under test is answered by it")
def test_pin_reaches_the_arm_under_test(service: Target, onlyvips_api: httpx.Client) -> None:
    same("x-onlyvips-arm", answered(onlyvips_api.get(health(service))).headers.get("x-onlyvips-arm"), service.arm)


@pytest.mark.needs("pins", "revision")
@pytest.mark.title("{service}: the answer comes from the revision under test")
def test_pin_reaches_the_revision_under_test(service: Target, onlyvips_api: httpx.Client) -> None:
    found = onlyvips_api.get(health(service)).headers.get("x-onlyvips-revision")
    same("x-onlyvips-revision", found, service.revision)


@pytest.mark.needs("pins")
@pytest.mark.title("{service}: a request that asks for stable is answered by stable, and well")
def test_pin_reaches_stable(service: Target, stable_api: httpx.Client) -> None:
    same("x-onlyvips-arm", answered(stable_api.get(health(service))).headers.get("x-onlyvips-arm"), "stable")
    same("x-onlyvips-revision", stable_api.get(health(service)).headers.get("x-onlyvips-revision"),
         service.revision_of("stable"))  # fmt: skip


@pytest.mark.needs("identity", "revision")
@pytest.mark.title("{service} itself claims to be the revision under test")
def test_app_claims_the_revision_under_test(service: Target, onlyvips_api: httpx.Client) -> None:
    answer = onlyvips_api.get(health(service))
    identity = service.facts["identity"]
    found: Any = answer.headers.get(identity["header"]) if identity.get("header") else answer.json()
    for key in identity["json"].split(".") if not identity.get("header") else ():
        found = found.get(key) if isinstance(found, dict) else None
    same("the app's own claim", found, service.revision)


@pytest.mark.needs("process")
@pytest.mark.title("{service}: the very process that was started for this revision is alive")
def test_process_is_the_one_that_was_started(service: Target) -> None:
    require(service.instances, "instances", expected=f"one of {service.revision}", got="none")
    for instance in service.instances:
        pid, identity = instance["pid"], instance["identity"]
        alive = instance["alive"] and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        require(alive, f"process {pid}", expected=f"alive, {identity}", got="it has ended")
        started = f"started {birth(pid):.2f}"
        require(started in identity, f"process {pid}", expected=identity, got=f"another process, {started}")


@pytest.mark.needs("process", "http")
@pytest.mark.title("{service}: the process of this revision holds its port")
def test_process_holds_its_port(service: Target) -> None:
    for instance in service.instances:
        process = psutil.Process(instance["pid"])
        family = [process, *process.children(recursive=True)]
        ports = {c.laddr.port for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        require(instance["port"] in ports, "listening ports", expected=instance["port"], got=sorted(ports) or "none")


@pytest.mark.severity("critical")
@pytest.mark.needs("log")
@pytest.mark.title("{service}: its log tells of no crash")
def test_log_tells_of_no_crash(service: Target) -> None:
    for log in service.logs:
        bad = next((line for line in output_of(log).splitlines() if any(word in line for word in BROKEN)), "")
        require(not bad, f"log {log}", expected="no crash, no traceback", got=bad[:200])
