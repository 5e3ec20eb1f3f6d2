"""The Envoy router: exact splits, users kept whole, counters that tell the truth, writes that are confirmed."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.clients.envoy_process import find_envoy
from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import Identity
from onlyvips_release.errors import Interfered, LeaseLost, NotConfirmed, Refused, Unavailable
from onlyvips_release.state.files import StagedFiles
from onlyvips_release.state.layout import Layout
from onlyvips_release.telemetry.probe import claim
from onlyvips_release.traffic import envoy, envoy_config
from onlyvips_release.traffic.envoy_config import TOTAL, entries, offset
from tests.testing.router_rig import TOKEN, Bench, bench, share

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain() -> Iterator[Bench]:
    """Healthy arms, users do not stick."""
    with bench() as made:
        yield made


@pytest.fixture(scope="module")
def sick() -> Iterator[Bench]:
    """The canary answers 500 to everything but health."""
    with bench(faults=("errors=1.0",)) as made:
        yield made


@pytest.mark.parametrize("weight", [10, 50])
def test_split_is_within_four_standard_errors(plain: Bench, weight: int) -> None:
    plain.router.set_weight(weight)
    n = 4000
    canary = share(plain.ask(n))["canary"]
    assert abs(canary - n * weight / 100) <= 4 * (n * weight / 100 * (1 - weight / 100)) ** 0.5


@pytest.mark.parametrize(("weight", "arm"), [(0, "stable"), (100, "canary")])
def test_nothing_and_everything_are_exact(plain: Bench, weight: int, arm: str) -> None:
    plain.router.set_weight(weight)
    assert set(plain.ask(2000)) == {arm}
    assert plain.router.read_weight() == weight


def test_pinned_requests_reach_their_arm_and_are_not_counted(plain: Bench) -> None:
    plain.router.set_weight(0)
    before = plain.counts(Arm.STABLE), plain.counts(Arm.CANARY)
    prober = plain.prober()
    for arm, revision in ((Arm.CANARY, "v2"), (Arm.STABLE, "v1")):
        probes = prober.probe(arm, 20)
        assert {(p.status, p.arm, p.revision, p.claim) for p in probes} == {(200, arm, revision, None)}
    assert (plain.counts(Arm.STABLE), plain.counts(Arm.CANARY)) == before


def test_wrong_token_is_an_ordinary_user(plain: Bench) -> None:
    plain.router.set_weight(0)
    good, _ = plain.counts(Arm.STABLE)
    assert set(plain.ask(20, [{"x-onlyvips-pin": "canary-wrong"}])) == {"stable"}
    assert plain.counts(Arm.STABLE)[0] == good + 20


def test_after_reset_no_pin_is_known(plain: Bench) -> None:
    plain.router.set_weight(30)
    plain.router.reset()
    assert set(plain.ask(50, [{"x-onlyvips-pin": f"canary-{TOKEN}"}])) == {"stable"}
    assert TOKEN not in (plain.state / "live" / "router" / "rds.json").read_text()


def test_sick_canary_costs_get_users_nothing_and_its_counters_say_everything(sick: Bench) -> None:
    sick.router.set_weight(50)
    good, bad = sick.counts(Arm.CANARY)
    stable = sum(sick.counts(Arm.STABLE))
    seen = sick.ask(1000)
    assert set(seen) == {"stable"}
    canary_good, canary_bad = sick.counts(Arm.CANARY)
    assert canary_good == good
    attempts = canary_bad - bad
    assert attempts + sum(sick.counts(Arm.STABLE)) - stable == 1000, "retries must be in neither"
    assert abs(attempts - 500) < 4 * 250**0.5


def test_post_to_a_sick_canary_is_not_repeated(sick: Bench) -> None:
    sick.router.set_weight(100)
    assert set(sick.ask(20, method="POST")) == {"HTTP 500"}


def test_killed_canary_costs_get_users_nothing() -> None:
    with bench() as made:
        made.router.set_weight(50)
        made.processes[1].kill()
        made.processes[1].wait()
        assert set(made.ask(1000)) == {"stable"}
        assert made.counts(Arm.CANARY)[1] > 400


@pytest.mark.parametrize("rule", ["header:x-user-id", "cookie:ov_uid"])
def test_users_stick_and_nobody_leaves_the_canary_on_a_step_up(rule: str) -> None:
    name = rule.partition(":")[2]
    users = [{name: f"u{n}"} if rule.startswith("header") else {"cookie": f"{name}=u{n}"} for n in range(3000)]
    with bench(sticky=(rule,)) as made:
        before: set[int] = set()
        for weight in (10, 25, 50):
            made.router.set_weight(weight)
            first, again = made.ask(3000, users), made.ask(3000, users)
            assert first == again
            now = {n for n, arm in enumerate(first) if arm == "canary"}
            assert before <= now
            assert abs(len(now) - 30 * weight) <= 4 * (30 * weight * (1 - weight / 100)) ** 0.5
            before = now
        made.router.set_weight(0)
        assert set(made.ask(3000, users)) == {"stable"}


def test_user_without_a_cookie_is_given_one_and_keeps_the_side() -> None:
    with bench(sticky=("header:x-user-id", "cookie:ov_uid")) as made:
        made.router.set_weight(50)
        for _ in range(60):
            (first,) = made.ask(1)
            assert made.cookie.startswith("ov_uid=")
            mine = {"cookie": made.cookie.split(";")[0]}
            assert made.ask(3, [mine]) == [first] * 3
            assert made.cookie == ""


def test_one_client_stays_on_one_side() -> None:
    with bench(sticky=("client",)) as made:
        made.router.set_weight(50)
        assert len(set(made.ask(50))) == 1


def test_other_users_go_first_in_the_next_release() -> None:
    arcs = [{tuple(sorted(e.items())) for e in entries("s", 10, offset(f"r{n:04d}"))} for n in range(20)]
    assert len({frozenset(arc) for arc in arcs}) == 20


@pytest.mark.parametrize("start", [0, 5, 9_000, 9_999])
@pytest.mark.parametrize("weight", [0, 0.1, 0.3, 1, 10, 33.3, 50, 99, 99.9, 100])
def test_arcs_of_the_ring_are_whole(weight: float, start: int) -> None:
    found = entries("s", weight, start)
    assert sum(e["weight"] for e in found) == TOTAL
    assert sum(e["weight"] for e in found if e["cluster_name"] == "s__canary") == round(weight * 100)
    assert all(e["weight"] > 0 for e in found)


def test_promotion_by_endpoints_under_load_fails_nobody(plain: Bench) -> None:
    from onlyvips_release.sandbox.load import Load  # noqa: PLC0415

    router = plain.router
    stable, canary = plain.at("stable", "v1"), plain.at("canary", "v2")
    with Load(f"http://127.0.0.1:{plain.ports['router']}", rate=400) as load:
        time.sleep(0.5)
        for old, new in ((stable, canary), (canary, stable)) * 2:
            router.point(Arm.CANARY, {"backend-api": [new]})
            router.set_weight(100)
            router.point(Arm.STABLE, {"backend-api": [new]})
            router.set_weight(0)
            router.point(Arm.CANARY, {"backend-api": []})
            assert old != new
        result = load.stop()
    router.point(Arm.CANARY, {"backend-api": [canary]})
    assert result["failed"] == 0, result["failures"]
    assert result["sent"] > 150


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda text: text[:200], id="truncated"),
        pytest.param(lambda text: text.replace("backend-api__stable", "backend-api__nope"), id="unknown cluster"),
        pytest.param(lambda text: text.replace('"weight":1}', '"weight":1,"colour":2}'), id="unknown field"),
    ],
)
def test_file_that_envoy_refuses_is_taken_back_and_users_notice_nothing(
    plain: Bench, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.router.set_weight(0)
    honest = envoy_config.dumped
    monkeypatch.setattr(envoy_config, "dumped", lambda value: broken(honest(value).decode()).encode())  # type: ignore[operator]
    with pytest.raises((NotConfirmed, ValueError)):
        plain.router.set_weight(50)
    monkeypatch.undo()
    assert set(plain.ask(100)) == {"stable"}
    plain.router.set_weight(10)
    assert plain.router.read_weight() == 10
    plain.router.set_weight(0)


@pytest.mark.parametrize("weight", [0.5, 12.3])
def test_tenth_of_a_percent_is_in_force_and_read_back(plain: Bench, weight: float) -> None:
    plain.router.set_weight(weight)
    assert plain.router.read_weight() == weight
    routes = json.loads((plain.state / "live" / "router" / "rds.json").read_text())
    assert routes["version_info"].endswith(f".w{weight}")
    assert set(weights_in(routes)) == {round(weight * 100)}
    plain.router.set_weight(0)


def test_weight_in_the_version_of_an_older_tool_is_understood(plain: Bench) -> None:
    plain.router.set_weight(10)
    version = json.loads((plain.state / "live" / "router" / "rds.json").read_text())["version_info"]
    assert re.fullmatch(r"r0001\.\d+\.[0-9a-f]{12}\.w10", version), "as it always was"
    plain.router.set_weight(0)


def weights_in(value: Any) -> Iterator[int]:
    """Every share of the canary in a routes file."""
    if isinstance(value, dict):
        if str(value.get("cluster_name", "")).endswith("__canary"):
            yield value["weight"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from weights_in(each)


def test_routes_of_somebody_else_are_interference(plain: Bench) -> None:
    path = plain.state / "live" / "router" / "rds.json"
    routes = json.loads(path.read_text())
    routes["version_info"] = "by hand"
    (path.parent / "x").write_text(json.dumps(routes))
    (path.parent / "x").rename(path)
    time.sleep(0.3)
    with pytest.raises(Interfered, match="by hand"):
        plain.router.read_weight()
    plain.router.set_weight(0)


def test_write_without_the_claim_moves_nobody(plain: Bench) -> None:
    plain.router.set_weight(0)
    stage = plain.lease.files
    assert stage is not None
    stage.stage.rename(stage.stage.with_name("revoked"))
    with pytest.raises(LeaseLost):
        plain.router.set_weight(50)
    stage.stage.with_name("revoked").rename(stage.stage)
    assert plain.router.read_weight() == 0


def test_weight_0_is_written_even_while_envoy_hangs_and_holds_when_it_wakes() -> None:
    with bench() as made:
        made.router.set_weight(50)
        pid = json.loads((made.state / "live" / "envoy.pid.json").read_text())["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(NotConfirmed):
                made.router.set_weight(0)
        finally:
            os.kill(pid, signal.SIGCONT)
        end = time.monotonic() + 3
        while made.router.read_weight() != 0:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert set(made.ask(200)) == {"stable"}


def test_envoy_that_dies_while_a_write_is_waited_for_is_told_at_once() -> None:
    with bench() as made:
        pid = json.loads((made.state / "live" / "envoy.pid.json").read_text())["pid"]
        os.kill(pid, signal.SIGSTOP)
        death = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        death.start()
        with pytest.raises(Unavailable):
            made.router.set_weight(50)
        death.join()
        assert made.router.revive() == ("router",)


def test_envoy_sees_nothing_of_our_environment(plain: Bench) -> None:
    pid = json.loads((plain.state / "live" / "envoy.pid.json").read_text())["pid"]
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""


def test_killed_envoy_is_back_in_two_seconds_with_its_weight_and_new_counters() -> None:
    with bench() as made:
        made.router.set_weight(30)
        made.ask(100)
        start = made.source.sample().arms["backend-api"][Arm.STABLE][0].start
        pid = json.loads((made.state / "live" / "envoy.pid.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        while made.router.running():
            time.sleep(0.01)
        with pytest.raises(Unavailable):
            made.router.read_weight()
        assert made.another("r0001").revive() == ("router",)
        assert time.monotonic() - begun < 2
        assert made.router.read_weight() == 30
        assert made.router.revive() == ()
        fresh = made.source.sample().arms["backend-api"][Arm.STABLE][0]
        assert fresh.start != start
        assert fresh.good < 100


def test_router_whose_port_is_taken_when_it_must_come_back_is_unavailable_and_tried_again() -> None:
    with bench() as made:
        pid = json.loads((made.state / "live" / "envoy.pid.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        while made.router.running():
            time.sleep(0.001)
        with socket.create_server(made.plan.listen), pytest.raises(Unavailable, match="is taken by pid"):
            made.router.revive()
        assert made.router.revive() == ("router",)


def test_second_router_on_the_port_is_refused_by_name_and_the_first_stays_ours(plain: Bench, tmp_path: Path) -> None:
    from onlyvips_release.state.lease import FileLease  # noqa: PLC0415

    lease = FileLease(tmp_path / "live", plain.clock)
    lease.acquire("test")
    second = envoy.EnvoyRouter(Layout.at(tmp_path), plain.plan, lease, plain.clock)
    with pytest.raises(Refused, match=rf"port {plain.ports['router']} is taken by pid \d+"):
        second.start()
    lease.release()
    plain.router.set_weight(0)


def test_long_state_folder_still_has_a_socket(tmp_path: Path) -> None:
    from onlyvips_release.state.lease import FileLease  # noqa: PLC0415

    with bench() as made:
        made.router.stop()
        deep = tmp_path / ("d" * 90)
        lease = FileLease(deep / "live", made.clock)
        lease.acquire("test")
        router = envoy.EnvoyRouter(Layout.at(deep), made.plan, lease, made.clock)
        router.start()
        assert router.read_weight() == 0
        socket = deep / "live" / "router" / "admin.sock"
        assert socket.stat().st_mode & 0o777 == 0o600
        router.stop()
        assert not socket.exists()
        lease.release()


def test_other_services_need_another_router(plain: Bench) -> None:
    from dataclasses import replace  # noqa: PLC0415

    plan = replace(plain.plan, services=(replace(plain.plan.services[0], name="other"),))
    with pytest.raises(Refused, match="other services"):
        envoy.EnvoyRouter(plain.layout, plan, plain.lease, plain.clock).start()


def test_binary_that_is_no_new_envoy_is_refused(tmp_path: Path) -> None:
    fake = tmp_path / "envoy"
    fake.write_text("#!/bin/sh\necho 'envoy  version: x/1.30.0/Clean'\n")
    fake.chmod(0o755)
    with pytest.raises(Refused, match=r"not Envoy >= 1\.40"):
        find_envoy(fake)


@pytest.mark.parametrize(
    ("identity", "headers", "body", "told"),
    [
        (None, {}, b"", None),
        (Identity(header="X-Rev"), {"x-rev": "42"}, b"", "42"),
        (Identity(header="X-Rev"), {}, b"", ""),
        (Identity(json="build.id"), {}, b'{"build": {"id": 42}}', "42"),
        (Identity(json="build.id"), {}, b"<html>", ""),
    ],
)
def test_claim_of_the_app_is_read_where_the_plan_says(
    identity: Identity | None, headers: dict[str, str], body: bytes, told: str | None
) -> None:
    assert claim(identity, headers, body) == told


def test_router_that_was_told_of_no_release_keeps_its_pins_until_reset(plain: Bench) -> None:
    """Catches a helper (`status`, a supervisor) whose write would send test traffic to users' arms."""
    plain.router.set_weight(0)
    pinned = [{"x-onlyvips-pin": f"canary-{TOKEN}"}]
    plain.another("", "").set_weight(10)
    assert plain.ask(5, pinned) == ["canary"] * 5
    plain.another("", "").set_weight(0)
    assert plain.ask(5, pinned) == ["canary"] * 5
    plain.another("", "").reset()
    assert plain.ask(5, pinned) == ["stable"] * 5
    plain.router.set_weight(0)


def test_edit_under_our_own_version_is_interference(plain: Bench) -> None:
    plain.router.set_weight(0)
    path = plain.state / "live" / "router" / "rds.json"
    before = path.read_bytes()
    other = before.replace(b'"weight":10000', b'"weight":9000', 1)
    assert other != before
    for data in (other, before):
        (path.parent / "x").write_bytes(data)
        (path.parent / "x").rename(path)
        time.sleep(0.2)
        if data is other:
            with pytest.raises(Interfered, match="edited"):
                plain.router.read_weight()
    assert plain.router.read_weight() == 0
    path.write_bytes(other)
    plain.router.set_weight(0)
    assert plain.router.read_weight() == 0


@pytest.mark.parametrize("safe", [0, 100])
def test_safe_weights_need_no_disk_space_once_they_were_prepared(
    plain: Bench, monkeypatch: pytest.MonkeyPatch, safe: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plain.router.set_weight(10)
    plain.router.prepare_safe_weights()
    monkeypatch.setattr(StagedFiles, "prepare", full)
    plain.router.set_weight(safe)
    plain.router.set_weight(safe)
    assert plain.router.read_weight() == safe
    monkeypatch.undo()
    plain.router.set_weight(0)
