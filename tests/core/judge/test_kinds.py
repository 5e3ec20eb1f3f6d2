"""The other metrics of one service: each kind of fault is found and named, equal arms are left in peace."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from onlyvips_release.core.judge import Judgement, ReleaseJudge, ServiceHistory
from onlyvips_release.core.judge.buckets import LAST, bucket, edge
from onlyvips_release.core.judge.gauge import Gauge, Leak, spread
from onlyvips_release.core.judge.history import Record, learn
from onlyvips_release.core.judge.ingest import Ingest, Seen, Side
from onlyvips_release.core.judge.latency import choose, share_at, slower_than
from onlyvips_release.core.judge.volume import Volume
from onlyvips_release.core.limits import JudgePlan, MemoryLimits, SloLimits
from onlyvips_release.core.model import Arm, Series, Verdict
from tests.testing.chance import binomial, poisson


class Arms:
    """Two arms of one service that are equal but for `change(canary)`, at 100 requests a second, 10 % of them there."""

    def __init__(self, seed: int, change: Callable[[dict[str, float]], None] = lambda canary: None) -> None:
        self.random = random.Random(seed)
        healthy = {"errors": 0.002, "ms": 20.0, "business": 0.1, "cpu": 0.004, "memory": 1e8, "share": 1.0, "leak": 0.0}
        healthy |= {"late": 0.0, "late_share": 1.0}
        self.now = {Arm.CANARY: dict(healthy), Arm.STABLE: dict(healthy)}
        change(self.now[Arm.CANARY])
        self.sums = {arm: {"good": 0, "bad": 0, "business": 0, "cpu": 0.0} for arm in Arm}
        self.latency: dict[Arm, dict[int, int]] = {arm: {} for arm in Arm}
        self.time = 0.0

    def tick(self, dt: float) -> dict[str, dict[Arm, tuple[Series, ...]]]:
        """Counters after another tick."""
        self.time += dt
        found: dict[Arm, tuple[Series, ...]] = {}
        for arm, weight in ((Arm.CANARY, 0.1), (Arm.STABLE, 0.9)):
            how, sums = self.now[arm], self.sums[arm]
            n = poisson(self.random, 100 * dt * weight * how["share"])
            bad = binomial(self.random, n, how["errors"])
            sums["good"] += n - bad
            sums["bad"] += bad
            sums["business"] += binomial(self.random, n, how["business"])
            sums["cpu"] += n * how["cpu"] * math.exp(self.random.gauss(0, 0.05)) + 0.005 * dt
            for _ in range(n):
                late = how["late"] if how["late"] and self.random.random() < how["late_share"] else 0.0
                k = bucket(how["ms"] * math.exp(self.random.gauss(0, 0.5)) + late)
                self.latency[arm][k] = self.latency[arm].get(k, 0) + 1
            memory = how["memory"] * (1 + how["leak"] * self.time / 60) * math.exp(self.random.gauss(0, 0.005))
            found[arm] = (
                Series(
                    "i", "0", int(sums["good"]), int(sums["bad"]), tuple(self.latency[arm].items()),
                    int(sums["business"]), sums["cpu"], int(memory),
                ),
            )  # fmt: skip
        return {"api": found}


PLAN = JudgePlan(tick=timedelta(seconds=2), block=timedelta(seconds=20), warm_up=timedelta(seconds=20))


def release(
    arms: Arms, *, seconds: float = 600, plan: JudgePlan = PLAN, known: ServiceHistory | None = None
) -> tuple[ReleaseJudge, Judgement, float]:
    """Judge, last word, seconds until it was final (inf = never)."""
    dt = plan.tick.total_seconds()
    judge = ReleaseJudge(
        plan, ["api"], timedelta(seconds=seconds), business=["api"], known={"api": known} if known else {}
    )
    judge.begin_step(10, arms.tick(dt))
    for tick in range(1, round(seconds / dt) + 1):
        judge.fold(tick, arms.tick(dt))
        if (word := judge.look()).final:
            return judge, word, tick * dt
    return judge, judge.end(), math.inf


def at(key: str, value: float) -> Callable[[dict[str, float]], None]:
    """A canary that differs in this."""

    def change(canary: dict[str, float]) -> None:
        canary[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "metric", "words", "seconds"),
    [
        pytest.param(at("ms", 40), "latency", "of canary answers took longer than", 60, id="twice as slow"),
        pytest.param(at("ms", 150), "latency", "of canary answers took longer than", 30, id="seven times as slow"),
        pytest.param(at("business", 0.02), "volume", "good business calls", 120, id="business calls are lost"),
        pytest.param(at("share", 0.1), "share", "where 10 % was set", 120, id="hardly any traffic comes"),
        pytest.param(at("cpu", 0.012), "cpu", "cpu of the canary is 2.7 times stable's", 420, id="three times the CPU"),
        pytest.param(
            at("memory", 2e8), "memory", "memory of the canary is 2 times stable's", 420, id="twice the memory"
        ),
        pytest.param(at("errors", 0.05), "errors", "of canary requests failed", 60, id="errors"),
    ],
)
def test_fault_of_each_kind_is_rolled_back_by_a_sentence_that_names_it(
    change: Callable[[dict[str, float]], None], metric: str, words: str, seconds: float
) -> None:
    _, word, when = release(Arms(1, change))
    assert word.verdict is Verdict.FAIL
    assert word.reason == f"rollback:{metric}", word.sentence
    assert words in word.sentence
    assert when <= seconds


def test_equal_arms_are_promoted_and_every_metric_was_judged() -> None:
    judge, word, _ = release(Arms(2))
    assert word.verdict is Verdict.PASS, word.sentence
    assert judge.states() == {}
    assert {m.kind.metric for m in judge.metrics} == {
        "errors", "latency", "slo_errors", "slo_latency", "volume", "share", "cpu", "memory",
    }  # fmt: skip
    assert sum(m.weight for m in judge.metrics) == pytest.approx(1)


@pytest.mark.slow
def test_equal_arms_are_left_in_peace_in_20_seeds() -> None:
    assert [seed for seed in range(20) if release(Arms(seed), seconds=300)[1].verdict is Verdict.FAIL] == []


def test_absolute_limit_of_a_gauge_needs_no_history_and_no_statistics() -> None:
    plan = replace(PLAN, memory=MemoryLimits(0.1, 1.5e8))
    _, word, when = release(Arms(1, at("memory", 2e8)), plan=plan)
    assert (word.verdict, word.reason) == (Verdict.FAIL, "limit:memory")
    assert "199 MB for 3 ticks in a row; your absolute limit is 150 MB" in word.sentence
    assert when == 6


def test_slow_answers_beyond_the_absolute_limit_are_stopped_by_it() -> None:
    plan = replace(PLAN, slower=0.0)
    _, word, _ = release(Arms(1, at("ms", 700)), plan=plan)
    assert word.reason == "rollback:slo_latency"
    assert "took longer than 500 ms" in word.sentence
    assert "your absolute limit is 1 %" in word.sentence


def test_guard_that_stable_misses_from_the_start_is_off_and_says_so() -> None:
    def slow(arms: Arms) -> Arms:
        arms.now[Arm.STABLE]["ms"] = arms.now[Arm.CANARY]["ms"] = 400
        return arms

    judge, word, _ = release(slow(Arms(3)))
    assert word.verdict is Verdict.PASS, word.sentence
    assert "off: stable itself misses it" in judge.states()["api slo_latency"]


def test_source_without_latency_promotes_nothing_that_asks_for_it() -> None:
    class Blind(Arms):
        def tick(self, dt: float) -> dict[str, dict[Arm, tuple[Series, ...]]]:
            found = super().tick(dt)["api"]
            return {"api": {arm: (replace(one, latency=None),) for arm, (one,) in found.items()}}

    _, word, _ = release(Blind(4))
    assert (word.verdict, word.reason) == (Verdict.INCONCLUSIVE, "not_seen")
    assert "slo_latency of api cannot be proven" in word.sentence
    _, word, _ = release(Blind(4), plan=replace(PLAN, slo=SloLimits(slower_than=None)))
    assert word.verdict is Verdict.PASS


def test_sticky_users_are_not_counted_against_the_weight() -> None:
    judge = ReleaseJudge(PLAN, ["api"], timedelta(minutes=5), sticky=True)
    assert "share" not in {m.kind.metric for m in judge.metrics}


# --- the pieces -------------------------------------------------------------------------------------------------------


def test_bucket_and_edge_belong_together() -> None:
    for k in range(LAST + 1):
        assert bucket(edge(k)) == k
        assert bucket(edge(k) * 1.0001) == min(k + 1, LAST)
    assert bucket(0) == bucket(-5) == 0
    assert bucket(1e9) == LAST


def test_edges_are_where_stable_has_a_half_a_tenth_a_hundredth_and_a_thousandth() -> None:
    source = random.Random(1)
    counts: dict[int, int] = {}
    for _ in range(100_000):
        k = bucket(100 * math.exp(source.gauss(0, 0.6)))
        counts[k] = counts.get(k, 0) + 1
    edges = choose(slower_than(counts), 0.1)
    assert [round(one.share, 3) for one in edges] == pytest.approx([0.5, 0.1, 0.01, 0.001], rel=0.35)
    assert [one.ms for one in edges] == sorted(one.ms for one in edges)
    assert all(1 < one.rho < 2 for one in edges)


def test_share_between_edges_is_read_on_the_normal_scale() -> None:
    pairs = [(50.0, 0.875), (100.0, 0.5), (200.0, 0.125)]
    assert share_at(pairs, 100) == pytest.approx(0.5)
    assert share_at(pairs, 141.42) == pytest.approx(0.283, abs=0.005)
    assert share_at(pairs, 1) == 0.875
    assert share_at(pairs, 999) == 0.125


def test_volume_with_swapped_arms_finds_a_rise() -> None:
    fall, rise = Volume(0.9, 5, 100), Volume(0.9, 5, 100)
    for _ in range(30):
        fall.fold(20, 100, 100, 1000)
        rise.fold(100, 1000, 20, 100)
    assert fall.evidence < 1
    assert rise.evidence > 100


def test_gauge_needs_three_blocks_to_know_how_much_it_wanders() -> None:
    assert spread([0.1, 0.2], 0.03) is None
    assert spread([0.1, 0.1, 0.1], 0.03) == pytest.approx(1.25 * 0.03)
    own, pairs = spread([0.0, 0.2, 0.4], 0.03, pairs=False), spread([0.0, 0.2, 0.4], 0.03)
    assert own == pytest.approx(math.sqrt(2) * (pairs or 0))


def test_missing_block_changes_nothing_and_both_directions_can_be_watched() -> None:
    gauge, both = Gauge(0.2, 0.05, 30), Gauge(0.2, 0.05, 30, low=True)
    for value in (None, math.nan, math.inf):
        gauge.fold(value)
    assert gauge.evidence == pytest.approx(1)
    for _ in range(10):
        gauge.fold(-0.7)
        both.fold(-0.7)
    assert gauge.evidence < 1
    assert both.evidence > 100


def test_leak_is_a_slope_and_not_a_level() -> None:
    level, slope = Leak(0.02, 0.0), Leak(0.02, 0.0)
    source = random.Random(5)
    for scrape in range(120):
        minutes = scrape / 4
        level.fold(0.5 + source.gauss(0, 0.02), minutes)
        slope.fold(0.01 * minutes + source.gauss(0, 0.02), minutes)
    assert level.evidence < 20
    assert slope.evidence > 1000


def test_gap_in_what_was_told_is_carried_by_the_next_increment() -> None:
    ingest = Ingest()
    rows = [
        Series("i", "0", 100, 0, ((3, 100),), 10, 1.0, 5),
        Series("i", "0", 150, 0, None, None, None, None),
        Series("i", "0", 200, 0, ((3, 150), (4, 50)), 20, 2.0, 7),
    ]
    _, dark, after = (ingest.take("s", Arm.CANARY, [row]) for row in rows)
    assert (dark.latency, dark.business, dark.cpu, dark.memory) == (None, None, None, None)
    assert (after.latency, after.business, after.business_of) == ({3: 50, 4: 50}, 10, 100)
    assert (after.cpu, after.memory) == (1.0, 7)


# --- history ----------------------------------------------------------------------------------------------------------


def taught(seed: int, *, equal: bool = True, seconds: float = 600) -> ServiceHistory:
    """What a release of equal arms teaches."""
    arms, ingest, records = Arms(seed), Ingest(), []
    for _ in range(round(seconds / 2)):
        counters = arms.tick(2)["api"]
        canary, stable = (ingest.take("api", arm, counters[arm]) for arm in (Arm.CANARY, Arm.STABLE))
        records.append(Record(10, Seen(canary, stable)))
    lesson = learn("r0001", "2026-11-24T12:00:00+00:00", "v1", 2.0, records[1:], 10, equal=equal)
    assert lesson
    return lesson


def test_release_of_equal_arms_teaches_rate_dispersion_and_spread() -> None:
    lesson = taught(7)
    assert lesson.rate == pytest.approx(0.002, rel=0.5)
    assert lesson.rps == pytest.approx(100, rel=0.05)
    assert lesson.phi0
    assert max(lesson.phi0) < 2
    assert lesson.latency_phi0
    assert len(lesson.latency_phi0) == 4
    assert len(lesson.cpu) == len(lesson.memory) == 29


def test_release_that_was_not_promoted_teaches_of_stable_alone() -> None:
    lesson = taught(7, equal=False)
    assert (lesson.phi0, lesson.latency_phi0, lesson.cpu, lesson.memory_noise) == (None, None, (), None)
    assert len(lesson.cpu_own) == 29


def test_history_finds_faults_and_proves_equality_earlier() -> None:
    lesson = taught(7)
    fresh, known = (release(Arms(8, at("errors", 0.012)), known=k)[2] for k in (None, lesson))
    assert known < fresh
    gauges = [release(Arms(8, at("cpu", 0.012)), known=k)[2] for k in (None, lesson)]
    assert gauges[1] < gauges[0] < math.inf


def test_slow_leak_is_found_where_history_tells_how_memory_wanders() -> None:
    plan = replace(PLAN, memory=MemoryLimits(10.0))
    _, word, _ = release(Arms(9, at("leak", 0.03)), plan=plan, known=taught(7), seconds=1200)
    assert word.reason == "rollback:memory"


def test_too_short_a_record_teaches_nothing() -> None:
    side = Side(0, 10)
    assert learn("r1", "t", "v1", 2.0, [Record(10, Seen(side, side))] * 10, 10, equal=True) is None


def test_fast_service_may_be_a_little_slower_but_not_forty_milliseconds() -> None:
    def fast(ms: float) -> Arms:
        arms = Arms(6, at("ms", ms))
        arms.now[Arm.STABLE]["ms"] = 0.6
        return arms

    _, word, _ = release(fast(1.2))
    assert word.verdict is Verdict.PASS, word.sentence
    _, word, when = release(fast(40))
    assert (word.reason, when < 30) == ("rollback:latency", True)


@pytest.mark.parametrize(
    ("canary", "reason", "ratio"),
    [
        pytest.param(0.0001, None, 1, id="equal"),
        pytest.param(0.0015, None, 1, id="what idling may use"),
        pytest.param(0.06, "rollback:cpu", 29, id="burns half a core"),
    ],
)
def test_stable_that_uses_next_to_no_cpu_is_compared_at_what_can_be_told_from_nothing(
    canary: float, reason: str | None, ratio: float
) -> None:
    arms = Arms(3, at("cpu", canary))
    arms.now[Arm.STABLE]["cpu"] = 0.0001
    judge, word, _ = release(arms)
    assert (word.reason == reason) is (reason is not None), word.sentence
    cpu = next(m.kind for m in judge.metrics if m.kind.metric == "cpu")
    assert cpu.state == ""
    assert cpu.ratio == pytest.approx(ratio, rel=0.1)  # type: ignore[attr-defined]


def test_ticks_that_use_less_than_idling_may_are_told_to_history_as_equal() -> None:
    def side(cpu: float, total: int) -> Side:
        return Side(0, total, cpu=cpu)

    hardly = [Record(10, Seen(side(0.02 + 1e-17, 20), side(0.01 * (i % 3), 180))) for i in range(60)]
    lesson = learn("r1", "t", "v1", 1.0, hardly, 10, equal=True)
    assert lesson
    assert lesson.cpu == (0.0,) * 6
