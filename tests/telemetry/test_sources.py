"""Each kind of metric from its real source: latency and business from Envoy's log, CPU and memory from /proc."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from onlyvips_release.clients.attempt_log import BUSINESS
from onlyvips_release.core.judge.buckets import edge
from onlyvips_release.core.model import Arm, Sample, Series
from onlyvips_release.telemetry.envoy import NO_ROUTE, EnvoySource
from onlyvips_release.telemetry.gauges import GaugedSource
from onlyvips_release.traffic.envoy_config import routes
from tests.testing.router_rig import TOKEN, Bench, bench

pytestmark = pytest.mark.slow
VIEW = "/api/content/content_1/view"


@pytest.fixture(scope="module")
def plain() -> Iterator[Bench]:
    """Healthy arms."""
    with bench() as made:
        yield made


@pytest.fixture
def even(plain: Bench) -> Bench:
    """At 50 %, with a source that has just begun."""
    plain.source = plain.new_source()
    plain.router.set_weight(50)
    both(plain)
    return plain


def both(made: Bench) -> tuple[Series, Series]:
    """Stable's and the canary's series, of one sample."""
    time.sleep(0.3)
    found = made.source.sample().arms["backend-api"]
    return found[Arm.STABLE][0], found[Arm.CANARY][0]


def slower(series: Series, milliseconds: float) -> int:
    """Answers in buckets that begin at or after this."""
    assert series.latency is not None
    return sum(count for k, count in series.latency if edge(k - 1) >= milliseconds)


def answers(series: Series) -> int:
    """All answers with a latency."""
    assert series.latency is not None
    return sum(count for _, count in series.latency)


def test_every_answered_attempt_has_its_latency_in_its_arm(even: Bench) -> None:
    before = [series.good + series.bad for series in both(even)]
    seen = even.ask(600)
    after = both(even)
    for series, earlier, arm in zip(after, before, Arm, strict=True):
        assert answers(series) == series.good + series.bad - earlier == seen.count(arm)


def test_slow_canary_is_slow_in_its_own_buckets_only_also_when_its_gets_are_tried_again_on_stable() -> None:
    with bench(faults=("latency_ms=50", "errors=0.5")) as made:
        both(made)
        made.router.set_weight(50)
        seen = made.ask(100)
        assert not [arm for arm in seen if arm.startswith("HTTP")]
        stable, canary = both(made)
    assert answers(canary) == slower(canary, 45) > 30
    assert abs(canary.bad - answers(canary) / 2) <= 1
    assert answers(stable) + answers(canary) == 100, "the second tries are nobody's"
    assert slower(stable, 45) <= 2, "a busy machine may stall a request"


def test_dead_canary_has_errors_and_no_latency() -> None:
    with bench() as made:
        both(made)
        made.router.set_weight(50)
        made.processes[1].kill()
        made.processes[1].wait()
        assert set(made.ask(200)) == {"stable"}
        _, canary = both(made)
    assert canary.bad > 60
    assert (canary.latency, canary.business) == ((), 0)
    assert (canary.cpu, canary.memory) == (None, None)


def test_business_is_counted_by_arm_and_pins_are_not(even: Bench) -> None:
    seen = even.ask(200, method="POST", path=f"{VIEW}?token=x")
    even.ask(50, [{"x-onlyvips-pin": f"canary-{TOKEN}"}], "POST", VIEW)
    even.prober().probe(Arm.CANARY, 20)
    stable, canary = both(even)
    assert (stable.business, canary.business) == (seen.count("stable"), seen.count("canary"))
    assert answers(stable) + answers(canary) == 200


def test_refused_business_lowers_the_volume_and_no_error_rate() -> None:
    with bench(faults=("business_refused=1",)) as made:
        made.router.set_weight(50)
        stable, canary = both(made)
        bad = canary.bad
        seen = made.ask(100, method="POST", path=VIEW)
        stable, canary = both(made)
    assert (stable.business, canary.business) == (seen.count("stable"), 0)
    assert answers(canary) == seen.count("canary") > 20
    assert canary.bad == bad


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", VIEW),
        ("POST", "/api/content/view"),
        ("POST", f"{VIEW}/"),
        ("POST", f"/x{VIEW}"),
        ("POST", "/?a=" + VIEW),
    ],
)
def test_other_calls_are_no_business(even: Bench, method: str, path: str) -> None:
    even.ask(20, method=method, path=path)
    assert [series.business for series in both(even)] == [0, 0]


def test_business_of_a_user_without_a_cookie_counts_and_gives_the_cookie() -> None:
    with bench(sticky=("cookie:ov_uid",)) as made:
        both(made)
        made.ask(10, method="POST", path=VIEW)
        assert made.cookie.startswith("ov_uid=")
        made.ask(5, [{"cookie": "ov_uid=1"}], "POST", VIEW)
        stable, _ = both(made)
    assert stable.business == 15


def used(series: Series) -> tuple[float, int]:
    """CPU seconds and bytes, which must be seen."""
    assert series.cpu is not None
    assert series.memory is not None
    return series.cpu, series.memory


def test_burnt_processor_time_and_a_leak_are_seen_on_their_arm() -> None:
    with bench(faults=("cpu_burn=0.8", "leak_mb_per_s=20")) as made:
        first, end, grown = [used(series) for series in both(made)], time.monotonic() + 15, [(0.0, 0)] * 2
        while grown[1][0] < 0.8 or grown[1][1] < 20e6:
            assert time.monotonic() < end, grown
            now = [used(series) for series in both(made)]
            grown = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(first, now, strict=True)]
    assert grown[0][0] < 0.4
    assert grown[0][1] < 5e6


def test_nothing_of_a_request_but_its_route_is_in_the_log(even: Bench) -> None:
    even.ask(20, [{"authorization": "Bearer hunter2", "cookie": "s=hunter2"}], "POST", f"{VIEW}/hunter2?token=hunter2")
    both(even)
    data = even.layout.attempts_log.read_bytes()
    assert data
    assert b"hunter2" not in data
    assert TOKEN.encode() not in data
    assert even.layout.attempts_log.stat().st_mode & 0o077 == 0


def test_new_controller_begins_at_zero_and_sees_what_comes(even: Bench) -> None:
    even.ask(50)
    time.sleep(0.3)
    even.source = EnvoySource(even.layout, even.plan)
    assert [series.latency for series in both(even)] == [(), ()]
    even.ask(40)
    stable, canary = both(even)
    assert answers(stable) + answers(canary) == 40
    assert (stable.cpu, stable.memory) == (None, None), "no instances were given"


def test_business_routes_match_their_path_and_nothing_else_also_for_users_without_a_cookie(plain: Bench) -> None:
    sticky = replace(plain.plan, sticky=("cookie:ov_uid",))
    (host,) = routes(sticky, 10, "v")["resources"][0]["virtual_hosts"]
    found = [route for route in host["routes"] if route["name"].startswith(BUSINESS.decode())]
    assert [route["name"] for route in found] == ["business-new"] * 2 + ["business"] * 2
    assert all("safe_regex" in route["match"] and "prefix" not in route["match"] for route in found)


def test_restarted_envoy_gives_new_series_whose_log_begins_at_zero() -> None:
    with bench() as made:
        made.ask(10)
        old, _ = both(made)
        made.ask(20)
        pid = json.loads((made.state / "live" / "envoy.pid.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        while made.router.running():
            time.sleep(0.01)
        made.router.revive()
        made.ask(50)
        new, _ = both(made)
        assert new.start != old.start
        assert (new.good, new.latency, new.business) == (50, (), 0)
        made.ask(30)
        new, _ = both(made)
        assert (new.good, answers(new)) == (80, 30)


def test_dead_log_pump_blinds_latency_and_business_and_nothing_else() -> None:
    with bench() as made:
        made.ask(50)
        both(made)
        (pump,) = [
            p for p in psutil.process_iter(["cmdline"]) if str(made.layout.attempts_log) in (p.info["cmdline"] or ())
        ]
        pump.kill()
        pump.wait()
        for _ in range(3):
            assert set(made.ask(100)) == {"stable"}
            stable, _ = both(made)
        assert (stable.latency, stable.business) == (None, None)
        assert stable.good == 350
        assert stable.cpu is not None
        made.layout.attempts_log.unlink()
        made.source = EnvoySource(made.layout, made.plan)
        assert both(made)[0] == replace(stable, cpu=None, memory=None)
        assert made.router.running()


# --- what no arm answered ---------------------------------------------------------------------------------------------


def test_request_that_found_no_instance_is_lost_and_belongs_to_no_arm() -> None:
    with bench() as made:
        made.router.set_weight(50)
        made.router.point(Arm.CANARY, {"backend-api": []})
        before = made.counts(Arm.STABLE)
        seen = made.ask(200, method="POST")
        sample = made.source.sample()
        assert sample.lost == {"backend-api": seen.count("HTTP 503"), "": 0}
        assert sample.lost["backend-api"] > 60
        assert sum(made.counts(Arm.STABLE)) - sum(before) == seen.count("stable")
        assert sample.arms["backend-api"][Arm.CANARY] == ()


def test_pinned_request_that_found_no_instance_is_nobodys_loss() -> None:
    with bench() as made:
        made.router.point(Arm.CANARY, {"backend-api": []})
        assert {probe.status for probe in made.prober().probe(Arm.CANARY, 10)} == {503}
        assert made.source.sample().lost == {"backend-api": 0, "": 0}


def test_retry_that_finds_no_instance_is_counted_once_by_the_arm_that_failed_first() -> None:
    with bench(faults=("errors=1.0",)) as made:
        made.router.set_weight(100)
        made.router.point(Arm.STABLE, {"backend-api": []})
        _, bad = made.counts(Arm.CANARY)
        made.ask(30)
        assert made.counts(Arm.CANARY)[1] - bad == 30
        assert made.source.sample().lost["backend-api"] == 0


def test_request_of_no_service_is_counted_apart(plain: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    source = EnvoySource(plain.layout, plain.plan)
    assert source.admin.stats(f"^{NO_ROUTE}$") == {NO_ROUTE: "0"}, "the counter has this name"
    monkeypatch.setattr(source.admin, "stats", lambda pattern: {NO_ROUTE: "3"})
    assert source.sample().lost == {"backend-api": 0, "": 3}


def test_ordinary_request_of_ours_goes_where_users_go(plain: Bench) -> None:
    for weight, arm, revision in ((0, Arm.STABLE, "v1"), (100, Arm.CANARY, "v2")):
        plain.router.set_weight(weight)
        counted = sum(plain.counts(arm))
        assert {(p.status, p.arm, p.revision) for p in plain.prober().probe(None, 5)} == {(200, arm, revision)}
        assert sum(plain.counts(arm)) == counted + 5
    plain.router.set_weight(0)


class Counted:
    """A source of one series."""

    lag = 2.5

    def sample(self) -> Sample:
        """Without gauges."""
        return Sample({"api": {Arm.STABLE: (Series("one", "s", 1, 0), Series("two", "s", 2, 0))}}, {"api": 7})


class Fixed:
    """Gauges of one instance."""

    def read(self) -> dict[str, tuple[float, int]]:
        """By the name of its series."""
        return {"one": (1.5, 10), "three": (9.0, 9)}


def test_gauges_join_the_series_of_their_instance_and_change_nothing_else() -> None:
    source = GaugedSource(Counted(), Fixed())
    counted, gauged = Counted().sample(), source.sample()
    one, two = counted.arms["api"][Arm.STABLE]
    assert gauged.arms == {"api": {Arm.STABLE: (replace(one, cpu=1.5, memory=10), two)}}
    assert (gauged.lost, source.lag) == ({"api": 7}, 2.5)
