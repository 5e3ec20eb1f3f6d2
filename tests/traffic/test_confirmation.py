"""What the router takes for confirmed, and where users are when it is not: the real router, an Envoy in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onlyvips_release.core.model import Arm, Endpoint
from onlyvips_release.errors import Interfered, NotConfirmed, Refused, Unavailable
from onlyvips_release.traffic import envoy_config as config
from onlyvips_release.traffic.envoy import ROUTES
from tests.testing.plans import make_plan, service
from tests.testing.router_double import SERVICE, TOKEN, RouterBench, plan, router_bench

HERE, THERE = Endpoint("127.0.0.1", 20001, "v1"), Endpoint("127.0.0.1", 20002, "v2")
LEGS = [pytest.param(leg, arm, id=leg) for leg, arm in config.LEGS.items()]


@pytest.fixture
def bench(tmp_path: Path) -> RouterBench:
    """Weight 0."""
    return router_bench(tmp_path)


@pytest.mark.parametrize(("leg", "arm"), LEGS)
def test_arm_is_pointed_only_when_each_of_its_clusters_has_the_new_endpoints(
    bench: RouterBench, leg: str, arm: Arm
) -> None:
    bench.router.point(arm, {SERVICE: [HERE]})
    bench.envoy.deaf = {f"cluster.{SERVICE}__{leg}"}
    with pytest.raises(NotConfirmed):
        bench.router.point(arm, {SERVICE: [THERE]})


@pytest.mark.parametrize(("leg", "arm"), LEGS)
def test_endpoints_that_are_written_already_are_confirmed_once_more(bench: RouterBench, leg: str, arm: Arm) -> None:
    bench.envoy.deaf = {f"cluster.{SERVICE}__{leg}"}
    for _ in range(2):
        with pytest.raises(NotConfirmed):
            bench.router.point(arm, {SERVICE: [HERE]})
    bench.envoy.deaf = set()
    bench.router.point(arm, {SERVICE: [HERE]})
    assert bench.router.points_at(arm) == {SERVICE: [HERE]}


@pytest.mark.parametrize(("leg", "arm"), LEGS)
def test_each_leg_follows_the_arm_whose_requests_it_carries(bench: RouterBench, leg: str, arm: Arm) -> None:
    """A retry goes to stable, a pinned request to its own arm."""
    wanted = {"stable": "stable", "canary": "canary", "retry": "stable", "pin-stable": "stable", "pin-canary": "canary"}
    bench.router.point(arm, {SERVICE: [HERE]})
    written = bench.envoy.read(f"eds.{SERVICE}.{wanted[leg]}.json")
    assert bench.envoy.versions[f"cluster.{SERVICE}__{leg}"] == written["version_info"]
    assert str(arm) == wanted[leg]


def test_raise_that_is_not_confirmed_is_taken_back_in_the_file_too(bench: RouterBench) -> None:
    """Else it comes into force minutes later, when nobody looks."""
    bench.router.set_weight(10)
    bench.envoy.deaf = {ROUTES}
    with pytest.raises(NotConfirmed, match="50 % was not confirmed"):
        bench.router.set_weight(50)
    assert bench.written == 10
    bench.envoy.deaf = set()
    assert bench.router.read_weight() == bench.envoy.weight == 10


def test_way_back_that_is_not_confirmed_stays_written(bench: RouterBench) -> None:
    bench.router.set_weight(50)
    bench.envoy.deaf = {ROUTES}
    with pytest.raises(NotConfirmed):
        bench.router.set_weight(0)
    assert bench.written == 0
    with pytest.raises(NotConfirmed):
        bench.router.set_weight(0)
    bench.envoy.deaf = set()
    bench.router.set_weight(0)
    assert bench.envoy.weight == 0


def test_refused_routes_end_the_wait_at_once(bench: RouterBench) -> None:
    bench.envoy.refuses = {ROUTES}
    before = len(bench.envoy.looks)
    with pytest.raises(NotConfirmed):
        bench.router.set_weight(10)
    assert len(bench.envoy.looks) - before < 10
    assert bench.written == 0


def test_dead_router_gets_no_more_weight_but_every_way_back(bench: RouterBench) -> None:
    bench.router.set_weight(50)
    bench.envoy.lives = False
    with pytest.raises(Unavailable):
        bench.router.set_weight(100)
    assert bench.written == 50
    with pytest.raises(Unavailable, match="written for when it does"):
        bench.router.set_weight(0)
    assert bench.written == 0


def test_router_that_hangs_is_written_to_all_the_same(bench: RouterBench) -> None:
    bench.router.set_weight(50)
    bench.envoy.answers = False
    with pytest.raises(NotConfirmed):
        bench.router.set_weight(0)
    bench.envoy.answers = True
    assert bench.router.read_weight() == 0


@pytest.mark.parametrize(("leg", "arm"), LEGS)
def test_emptied_arm_is_waited_for_until_nothing_is_in_flight_there(bench: RouterBench, leg: str, arm: Arm) -> None:
    bench.router.point(arm, {SERVICE: [HERE]})
    bench.envoy.in_flight = {f"cluster.{SERVICE}__{leg}": 5}
    bench.router.point(arm, {SERVICE: []})
    assert sum(bench.envoy.in_flight.values()) == 0


def test_emptied_arm_is_not_waited_for_for_ever(bench: RouterBench) -> None:
    bench.router.point(Arm.CANARY, {SERVICE: [HERE]})
    bench.envoy.in_flight = {f"cluster.{SERVICE}__canary": 10**9}
    began = bench.router.clock.monotonic()
    bench.router.point(Arm.CANARY, {SERVICE: []})
    assert 9 < bench.router.clock.monotonic() - began < 15


def test_arm_that_is_pointed_elsewhere_is_not_waited_for(bench: RouterBench) -> None:
    bench.router.point(Arm.CANARY, {SERVICE: [HERE]})
    bench.envoy.in_flight = {f"cluster.{SERVICE}__canary": 5}
    bench.router.point(Arm.CANARY, {SERVICE: [THERE]})
    assert bench.envoy.in_flight == {f"cluster.{SERVICE}__canary": 5}


@pytest.mark.parametrize("safe", [0, 100])
def test_prepared_safe_weight_needs_no_disk_space(bench: RouterBench, safe: int) -> None:
    bench.router.set_weight(50)
    bench.router.prepare_safe_weights()
    bench.files.full = True
    with pytest.raises(OSError, match="No space left"):
        bench.router.set_weight(60)
    bench.router.set_weight(safe)
    assert (bench.envoy.weight, bench.router.read_weight()) == (safe, safe)


@pytest.mark.parametrize("safe", [0, 100])
def test_safe_weight_by_hand_lies_beside_the_live_files(bench: RouterBench, safe: int) -> None:
    bench.router.prepare_safe_weights()
    path = bench.files.live / "by-hand" / f"weight-{safe}.json"
    assert str(path) in bench.router.by_hand(safe)
    (bench.router.folder / "rds.json").write_bytes(path.read_bytes())
    assert bench.router.read_weight() == safe


def test_edit_under_our_own_version_is_interference(bench: RouterBench) -> None:
    path = bench.router.folder / "rds.json"
    routes = json.loads(path.read_bytes())
    routes["resources"][0]["name"] = "other"
    path.write_text(json.dumps(routes))
    with pytest.raises(Interfered, match="somebody edited it"):
        bench.router.read_weight()


def test_routes_of_ours_that_are_not_those_in_force_are_interference(bench: RouterBench) -> None:
    bench.router.set_weight(10)
    bench.envoy.deaf = {ROUTES}
    path = bench.router.folder / "rds.json"
    path.write_bytes(path.read_bytes().replace(b'"r0001.', b'"r0002.'))
    with pytest.raises(Interfered):
        bench.router.read_weight()


def test_routes_of_somebody_else_are_interference(bench: RouterBench) -> None:
    (bench.router.folder / "rds.json").write_text('{"version_info": "theirs", "resources": []}')
    with pytest.raises(Interfered, match="not written by this tool"):
        bench.router.read_weight()


def test_routes_of_a_plan_with_more_services_are_not_started_with(bench: RouterBench) -> None:
    """Envoy refuses a route to a cluster that it does not have, and would serve nobody."""
    more = make_plan(services=(service(SERVICE, 0), service("gone", 1)))
    (bench.router.folder / "rds.json").write_bytes(config.dumped(config.routes(more, 0, "r0001.1.ab.w0")))
    bench.router._first_files()
    assert config.routed(bench.envoy.read("rds.json")) == {SERVICE}
    before = bench.envoy.read("rds.json")
    bench.router._first_files()
    assert bench.envoy.read("rds.json") == before


def pins(bench: RouterBench) -> bool:
    """Whether pinned requests are known."""
    return "pin-canary" in json.dumps(bench.envoy.read("rds.json")["resources"]).replace("__pin-canary", "")


def test_router_without_a_token_keeps_the_pins_until_a_reset(bench: RouterBench, tmp_path: Path) -> None:
    assert pins(bench)
    other = router_bench(tmp_path, "", "")
    other.router.set_weight(10)
    assert pins(other)
    assert other.envoy.read("rds.json")["resources"] == config.routes(plan(), 10, "", "r0001", TOKEN)["resources"]
    other.router.reset()
    assert not pins(other)
    assert other.envoy.weight == other.written == 0


def test_port_that_is_taken_when_a_dead_router_must_come_back_is_tried_again(
    bench: RouterBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken() -> None:
        raise Refused("port 1 is taken", remedy="stop it")

    assert bench.router.revive() == ()
    bench.envoy.lives = False
    monkeypatch.setattr(bench.router, "start", taken)
    with pytest.raises(Unavailable, match="port 1 is taken"):
        bench.router.revive()
