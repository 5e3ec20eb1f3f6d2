"""The judge's rules one by one, on a few numbers each: what counts, what does not, and what is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from onlyvips_release.core.judge import (
    Compare,
    Dispersion,
    History,
    Interval,
    Lines,
    ReleaseJudge,
    Volume,
    forecast,
    sentences,
)
from onlyvips_release.core.judge import dispersion as dispersions
from onlyvips_release.core.judge.buckets import bucket, edge
from onlyvips_release.core.judge.decision import MetricView
from onlyvips_release.core.judge.gauge import DRIFT, Gauge, Leak
from onlyvips_release.core.judge.gauge_metrics import Memory
from onlyvips_release.core.judge.history import Record, learn
from onlyvips_release.core.judge.ingest import Ingest, Seen, Side
from onlyvips_release.core.judge.latency import Edge, Latency
from onlyvips_release.core.judge.metric import Setting
from onlyvips_release.core.judge.request_metrics import SloLatency, Slower, TrafficShare
from onlyvips_release.core.limits import MemoryLimits, SloLimits
from onlyvips_release.core.model import Arm, Counters, Series, Verdict
from onlyvips_release.core.plan import JudgePlan

LINES = Lines(1.2, 0.001, 1.5, 0.005)
HALF_HOUR = timedelta(minutes=30)
PLAN = JudgePlan(tick=timedelta(seconds=2), slo=SloLimits(errors=None, slower_than=None))


# --- one comparison ---------------------------------------------------------------------------------------------------


def test_more_dispersion_weakens_what_one_tick_may_add_by_its_root() -> None:
    def added(phi: float) -> float:
        compare = Compare(LINES, 5, 360, History(0.01, 10_000, (phi, phi, phi)))
        compare.fold(50, 50, 0, 450)
        return math.log(compare.evidence)

    calm, clumped = added(1.0), added(16.0)
    assert calm - clumped == pytest.approx(4 - 1, abs=0.35)


def test_guess_of_history_is_the_rate_that_was_measured() -> None:
    assert Compare(LINES, 5, 360, History(0.02, 10_000)).guess.b1 == pytest.approx(0.02)
    assert Compare(LINES, 5, 360).guess.b1 == pytest.approx(0.01)


def test_pooled_ticks_are_judged_by_the_guess_before_the_first_of_them() -> None:
    """Else the judge would have seen what it bets on."""
    apart, together = (Compare(LINES, 2, 900, History(0.01, 1_000, (1.0, 1.0, 1.0))) for _ in range(2))
    for _ in range(3):
        apart.fold(20, 20, 0, 0)
    apart.fold(0, 20, 2, 200)
    together.fold(60, 80, 2, 200)
    assert apart.judged == together.judged == 1
    assert apart.promote_evidence == pytest.approx(together.promote_evidence, rel=1e-6)


def test_counts_of_one_arm_wait_half_a_minute_for_the_others_and_no_longer() -> None:
    def proof(silent: int) -> float:
        compare = Compare(LINES, 2, 900, History(0.01, 1_000, (1.0, 1.0, 1.0)))
        compare.fold(20, 20, 0, 0)
        for _ in range(silent):
            compare.fold(0, 0, 0, 0)
        compare.fold(0, 20, 2, 200)
        return compare.promote_evidence

    fresh = Compare(LINES, 2, 900, History(0.01, 1_000, (1.0, 1.0, 1.0)))
    fresh.fold(0, 20, 2, 200)
    assert proof(5) < fresh.promote_evidence * 0.5
    assert proof(13) < fresh.promote_evidence * 0.5
    assert proof(14) > fresh.promote_evidence * 0.5


def test_canary_alone_is_not_compared_but_an_absolute_guard_needs_no_stable() -> None:
    compare, guard = Compare(LINES, 2, 900), Compare(Lines(0.0, 0.01, 0.0, 0.01), 2, 900)
    for _ in range(30):
        compare.fold(20, 20, 0, 0)
        guard.fold(20, 20, 0, 0)
    assert compare.judged == 0
    assert compare.evidence == pytest.approx(1)
    assert guard.judged == 30
    assert guard.evidence > 100


# --- dispersion -------------------------------------------------------------------------------------------------------


def clumps(every: int, ticks: int = 400, dt: float = 5.0) -> Dispersion:
    """The canary fails for a while, then stable does."""
    found = Dispersion(dt)
    for tick in range(ticks):
        mine = tick // every % 2
        found.fold((20 * mine, 100, 180 * (1 - mine), 900))
    return found


def test_phi_is_that_of_the_scale_that_clumps_most() -> None:
    found = clumps(24)
    assert found.phi == max(scale.phi for scale in found.scales)
    assert found.phi > min(scale.phi for scale in found.scales) + 1


@pytest.mark.parametrize(("scale", "ticks"), [(0, 24), (1, 48), (2, 48)])
def test_residuals_count_minutes_late_so_that_a_fault_cannot_mute_its_own_alarm(scale: int, ticks: int) -> None:
    found = Dispersion(5)
    for _ in range(240):
        found.fold((1, 100, 9, 900))
    before, tick = found.scales[scale].Z, 0
    while found.scales[scale].Z - before <= 20:
        found.fold((90, 100, 9, 900))
        tick += 1
    assert ticks <= tick <= ticks + 2 * found.scales[scale].length


def test_failures_that_come_evenly_are_no_better_than_chance() -> None:
    even = Dispersion(5)
    for _ in range(600):
        even.fold((1, 100, 9, 900))
    assert even.phi == 1


def test_one_block_counts_only_so_much() -> None:
    assert dispersions.residual((100, 100, 0, 900), (10, 1000, 90, 9000), 100.0) == 100.0
    assert dispersions.residual((0, 0, 0, 900), (10, 1000, 90, 9000), 100.0) != 100.0


def test_earlier_blocks_are_forgotten_by_and_by() -> None:
    found = Dispersion(5)
    for _ in range(10):
        found.fold((1, 100, 9, 900))
    assert found.scales[0].earlier[1] == pytest.approx(100 * (1 - 0.8**10) / 0.2)


@pytest.mark.parametrize("ticks", [1, 5, 23, 24, 25, 100, 1000])
def test_silent_ticks_at_once_are_as_many_blocks_as_one_by_one(ticks: int) -> None:
    one, many = Dispersion(5), Dispersion(5)
    for tick in range(60):
        for found in (one, many):
            found.fold((tick % 3, 100, 9, 900))
    for _ in range(ticks):
        one.fold((0, 0, 0, 0))
    many.idle(ticks)
    for tick in range(60):
        for found in (one, many):
            found.fold((2 + tick % 5, 100, 9, 900))
            assert found.phi >= 1
    assert [scale.K for scale in one.scales] == [scale.K for scale in many.scales]
    assert many.phi == pytest.approx(one.phi)


def test_newest_ticks_of_a_record_weigh_most() -> None:
    older, newer = [(10, 100)] * 200 + [(0, 100)] * 200, [(0, 100)] * 200 + [(10, 100)] * 200
    assert dispersions.start(older, 5)[0] < 0.02
    assert dispersions.start(newer, 5)[0] > 0.08


# --- gauges -----------------------------------------------------------------------------------------------------------


def test_growth_within_the_tolerated_drift_is_no_leak() -> None:
    leak = Leak(0.005, 0.0)
    for scrape in range(240):
        leak.fold(DRIFT * scrape / 4, scrape / 4)
    assert leak.evidence < 2
    steeper = Leak(0.005, 0.0)
    for scrape in range(240):
        steeper.fold(6 * DRIFT * scrape / 4, scrape / 4)
    assert steeper.evidence > 100


def test_gauge_within_its_margin_convicts_nobody() -> None:
    within, beyond = Gauge(0.2, 0.05, 30), Gauge(0.2, 0.05, 30)
    for _ in range(30):
        within.fold(math.log(1.18))
        beyond.fold(math.log(1.5))
    assert within.evidence < 2
    assert beyond.evidence > 100


def test_gap_ends_a_run_of_scrapes() -> None:
    """A level that changed while nobody looked is no slope."""
    whole, gap = Leak(0.01, 0.9), Leak(0.01, 0.9)
    for leak in (whole, gap):
        for scrape in range(40):
            leak.fold(0.0, scrape / 4)
    gap.fold(None, 10.0)
    before = gap.evidence
    for leak in (whole, gap):
        leak.fold(3.0, 10.25)
    assert gap.evidence == before
    assert whole.evidence != pytest.approx(before, rel=0.01)


def memory(canary: Sequence[float], most: float | None = None) -> Memory:
    """A gauge of blocks of 4 ticks after 2 ticks of warm-up; stable uses 100 bytes."""
    plan = JudgePlan(
        tick=timedelta(seconds=1),
        block=timedelta(seconds=4),
        warm_up=timedelta(seconds=2),
        memory=MemoryLimits(0.1, most),
    )
    assert plan.memory
    found = Memory(Setting(plan, 1.0, 100), plan.memory)
    for value in canary:
        found.fold(Seen(Side(memory=value), Side(memory=100.0)))
    return found


def test_limit_of_a_gauge_convicts_for_three_ticks_in_a_row() -> None:
    assert memory([500.0, 500.0, 100.0, 500.0, 500.0, 100.0], most=400.0).tripped == ""
    assert memory([500.0, 500.0], most=400.0).tripped == ""
    assert "for 3 ticks in a row" in memory([100.0, 500.0, 500.0, 500.0], most=400.0).tripped


def test_gauge_is_not_judged_while_it_warms_up() -> None:
    assert memory([100.0] * 5).own == []
    assert len(memory([100.0] * 6).own) == 1


# --- latency, business, share -----------------------------------------------------------------------------------------


def test_a_few_more_slow_answers_than_none_are_tolerated() -> None:
    """A thousandth, so that an edge that stable never passes convicts nobody by itself."""
    latency = Latency([Edge(100.0, 1e-6, 1.0, 100.0)], 5, 360, 10_000, [(1.0, 1.0, 1.0)])
    assert latency.compares[0].lines == Lines(1.0, 0.001)


def test_evidence_over_the_edges_is_their_mean() -> None:
    latency = Latency([Edge(10.0, 0.5, 1.2, 10.0), Edge(100.0, 0.01, 1.2, 100.0)], 5, 360, 1000)
    assert latency.evidence == pytest.approx(1)
    for _ in range(10):
        latency.fold([25, 10], 50, [225, 4], 450)
    low, high = (compare.evidence for compare in latency.compares)
    assert low != high
    assert latency.evidence == pytest.approx((low + high) / 2)


def slow(milliseconds: float) -> SloLatency:
    """An absolute limit."""
    return SloLatency(Setting(PLAN, 2.0, 100), milliseconds, 0.01)


@pytest.mark.parametrize("milliseconds", [500.0, 7.0, edge(40)])
def test_limit_between_two_edges_is_stopped_by_the_later_and_proven_by_the_earlier_one(milliseconds: float) -> None:
    guard = slow(milliseconds)
    assert edge(guard.below) <= milliseconds <= edge(guard.beyond)
    assert guard.beyond - guard.below == (0 if milliseconds == edge(40) else 1)


def answers(*milliseconds: float) -> Side:
    """Of one arm."""
    counts: dict[int, int] = {}
    for one in milliseconds:
        counts[bucket(one)] = counts.get(bucket(one), 0) + 1
    return Side(0, len(milliseconds), counts)


def test_edges_are_learnt_from_two_hundred_answers_of_stable() -> None:
    metric = Slower(Setting(PLAN, 2.0, 100))
    metric.fold(Seen(answers(20.0), answers(*[20.0] * 199)))
    assert metric.state == "learning: 199 of 200 answers of stable"
    metric.fold(Seen(answers(20.0), answers(20.0)))
    metric.fold(Seen(answers(20.0), answers(20.0)))
    assert metric.state == ""


@pytest.mark.parametrize(("known", "margin"), [(True, 0.10), (False, 0.25)])
def test_slower_by_a_tenth_is_tolerated_with_history_and_by_a_quarter_without(known: bool, margin: float) -> None:
    records = [Record(10, Seen(answers(*[20.0 + n % 7] * 4), answers(*[20.0 + n % 7] * 36))) for n in range(60)]
    lesson = learn("r1", "t", "v1", 2.0, records, 10, equal=True)
    assert lesson
    metric = Slower(Setting(PLAN, 2.0, 100, lesson if known else None))
    if not known:
        metric.fold(Seen(answers(20.0), answers(*[20.0] * 200)))
    assert metric.margin == margin


def test_share_of_the_traffic_is_compared_with_the_weight_of_now() -> None:
    metric = TrafficShare(Setting(JudgePlan(), 2.0, 400))
    for weight, canary in ((10, 20), (50, 100)):
        metric.new_weight(weight)
        for _ in range(60):
            metric.fold(Seen(Side(0, canary), Side(0, 200 - canary)))
        assert metric.evidence < 2
    metric.new_weight(50)
    for _ in range(60):
        metric.fold(Seen(Side(0, 20), Side(0, 180)))
    assert metric.evidence > 100
    assert metric.story().startswith("the canary got 10 %")


def test_business_that_fell_to_what_is_tolerated_convicts_nobody() -> None:
    within, beyond = Volume(0.9, 5, 100), Volume(0.9, 5, 100)
    for _ in range(100):
        within.fold(92, 1000, 900, 9000)
        beyond.fold(60, 1000, 900, 9000)
    assert within.evidence < 2
    assert beyond.evidence > 100


# --- the interval -----------------------------------------------------------------------------------------------------


def test_interval_has_two_and_a_half_percent_at_each_end() -> None:
    from onlyvips_release.core.judge.interval import THRESHOLD  # noqa: PLC0415 - the one number under test

    assert math.exp(-THRESHOLD) == pytest.approx(0.025)


def test_interval_is_wider_where_failures_clump() -> None:
    calm, clumped = Interval(0.01, 5), Interval(0.01, 5)
    for _ in range(60):
        calm.fold(3, 50, 5, 450)
        clumped.fold(3, 50, 5, 450, phi=5.0)
    assert calm.bounds[0] > clumped.bounds[0]
    assert calm.bounds[1] < clumped.bounds[1]


# --- counters and history ---------------------------------------------------------------------------------------------


def test_instance_that_is_named_twice_counts_once() -> None:
    ingest = Ingest()
    ingest.take("s", Arm.CANARY, [Series("i", "0", 10, 0)])
    assert ingest.take("s", Arm.CANARY, [Series("i", "0", 15, 1), Series("i", "0", 99, 9)]) == Side(1, 6)
    assert ingest.take("s", Arm.CANARY, [Series("i", "0", 20, 1)]) == Side(0, 5)


def test_instance_whose_counts_are_nonsense_hides_no_other_one() -> None:
    ingest, nonsense = Ingest(), Series("a", "0", -1, 0)
    ingest.take("s", Arm.CANARY, [nonsense, Series("b", "0", 10, 0)])
    assert ingest.take("s", Arm.CANARY, [nonsense, Series("b", "0", 15, 1)]) == Side(1, 6)


def test_memory_of_an_arm_is_that_of_one_instance() -> None:
    rows = [Series(name, "0", 1, 0, memory=value) for name, value in (("a", 100), ("b", 300))]
    assert Ingest().take("s", Arm.CANARY, rows).memory == 200


def test_history_keeps_how_fast_stable_answers() -> None:
    records = [Record(10, Seen(answers(500.0), answers(20.0, 20.0))) for _ in range(40)]
    lesson = learn("r1", "t", "v1", 2.0, records, 10, equal=True)
    assert lesson
    assert lesson.latency == ((bucket(20.0), 80),)


# --- the decision -----------------------------------------------------------------------------------------------------


def counters(*arms: tuple[int, int, int, int], start: str = "0") -> Counters:
    """(good, bad) of canary and stable for services s0, s1 ..., each answered in 20 ms."""

    def one(name: str, good: int, bad: int) -> tuple[Series, ...]:
        return (Series(name, start, good, bad, ((bucket(20.0), good + bad),)),)

    return {
        f"s{n}": {Arm.CANARY: one("c", cg, cb), Arm.STABLE: one("b", bg, bb)} for n, (cg, cb, bg, bb) in enumerate(arms)
    }


def judged(*rates: tuple[int, int, int, int], ticks: int = 60, plan: JudgePlan = PLAN) -> ReleaseJudge:
    """The same counts in every tick: (good, bad) of canary and stable, by service."""
    judge = ReleaseJudge(plan, [f"s{n}" for n in range(len(rates))], HALF_HOUR)
    judge.begin_step(10, counters(*[(0, 0, 0, 0)] * len(rates)))
    for tick in range(1, ticks + 1):
        judge.fold(tick, counters(*[(tick * a, tick * b, tick * c, tick * d) for a, b, c, d in rates]))
    return judge


FINE = (20, 0, 180, 0)


@pytest.mark.parametrize(("times", "verdict"), [(0.99, Verdict.INCONCLUSIVE), (1.01, Verdict.FAIL)])
def test_release_is_stopped_at_one_over_alpha(times: float, verdict: Verdict) -> None:
    judge = judged(FINE, ticks=400)
    errors = judge.metrics[0]
    others = judge.look().R - errors.raw
    weigh(judge, (times / PLAN.alpha - others) / errors.weight)
    assert pytest.approx(times / PLAN.alpha) == judge.look().R
    assert judge.look().verdict is verdict


def weigh(judge: ReleaseJudge, evidence: float) -> None:
    """Give the errors of the first service this evidence."""
    mixture = judge.metrics[0].kind.compare.mixture  # type: ignore[attr-defined]
    mixture.A, mixture.W = [evidence] * 8, 1.0


def test_every_required_metric_must_be_proven_for_a_promotion() -> None:
    judge = judged(FINE, FINE, ticks=400)
    assert judge.end().verdict is Verdict.PASS
    weakest = next(metric for metric in judge.metrics if metric.service == "s1" and metric.kind.required)
    weakest.kind.compare.B = [0.1, 0.1, 0.1]  # type: ignore[attr-defined]
    assert (judge.end().verdict, judge.end().reason) == (Verdict.INCONCLUSIVE, "not_enough_evidence")


@pytest.mark.parametrize(("times", "verdict"), [(0.99, Verdict.INCONCLUSIVE), (1.01, Verdict.PASS)])
def test_canary_is_proven_at_one_over_beta(times: float, verdict: Verdict) -> None:
    judge = judged(FINE, ticks=400)
    for metric in judge.metrics:
        if metric.kind.required:
            metric.kind.compare.B = [times / PLAN.beta / 3] * 3  # type: ignore[attr-defined]
    assert judge.end().verdict is verdict


def test_evidence_that_smoulders_holds_a_promotion_up() -> None:
    judge = judged(FINE, ticks=400)
    weigh(judge, 2.5 / judge.metrics[0].weight)
    assert 2 < judge.look().R < judge.threshold
    assert (judge.end().verdict, judge.end().reason) == (Verdict.INCONCLUSIVE, "smouldering")


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        pytest.param(
            (0, 0, 180, 0), "no_traffic", "no user request reached the canary of s1", id="nobody on the canary"
        ),
        pytest.param((20, 0, 0, 0), "no_traffic", "no user request reached stable of s1", id="nobody on stable"),
        pytest.param((0, 0, 0, 0), "no_traffic", "no user request reached the canary of s1", id="nobody at all"),
    ],
)
def test_silence_of_one_service_promotes_nothing_and_is_named(
    row: tuple[int, int, int, int], reason: str, words: str
) -> None:
    end = judged(FINE, row, ticks=400, plan=replace(PLAN, traffic_share=None)).end()
    assert (end.verdict, end.reason) == (Verdict.INCONCLUSIVE, reason)
    assert words in end.sentence


def test_counts_of_a_tick_that_must_not_be_judged_are_dropped_for_good() -> None:
    judge = ReleaseJudge(PLAN, ["s0"], HALF_HOUR)
    judge.begin_step(10, counters((0, 0, 0, 0)))
    judge.fold(1, counters((20, 0, 180, 0)))
    judge.skip(2, counters((20, 900, 180, 0)))
    judge.fold(3, counters((40, 900, 360, 0)))
    assert judge.views()[0].canary_bad == 0
    assert judge.views()[0].canary_total == 40


def test_missed_ticks_pass_without_evidence() -> None:
    judge = ReleaseJudge(PLAN, ["s0"], HALF_HOUR)
    judge.begin_step(10, counters((0, 0, 0, 0)))
    judge.fold(1, counters((20, 0, 180, 0)))
    judge.fold(11, counters((40, 0, 360, 0)))
    assert {metric.kind.compare.mixture.t for metric in judge.metrics if metric.kind.metric == "errors"} == {11}  # type: ignore[attr-defined]


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.996, "over 99 %"),
        (0.9949, "99 %"),
        (0.0123, "1.2 %"),
        (0.12, "12 %"),
        (1e-7, "under 0.0001 %"),
        (0.001, "0.1 %"),
    ],
)
def test_share_is_shown_with_two_digits_and_never_rounded_to_nothing_or_to_all(value: float, words: str) -> None:
    assert sentences.percent(value) == words


@pytest.mark.parametrize(("number", "shown"), [(7, 7), (99, 99), (101, 110), (1234, 1300), (1200, 1200)])
def test_what_lacks_is_rounded_up_to_two_digits(number: float, shown: int) -> None:
    assert sentences.round_up(number) == shown


def view(service: str = "api", total: int = 500) -> MetricView:
    """A metric as it stands."""
    return MetricView(service, "errors", 1, total, 2, 4500, 1.0, 1.0, 0.3, 1.0, True, "a story", "a limit")


def test_rollback_names_the_other_guilty_services() -> None:
    assert "Convicted on their own too: web, bot." in sentences.rollback(view(), 0.01, ("api", "web", "bot"))
    assert "Convicted" not in sentences.rollback(view(), 0.01, ("api",))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        pytest.param(sentences.Option(10, 0.0, 0.0), "not proven to be better than the limit", id="had enough"),
        pytest.param(sentences.Option(10, -5.0, -1.0), "not proven to be better than the limit", id="had more"),
        pytest.param(sentences.Option(10, 1234, 20), "about 1,300 more are needed, 20 min at 10 % or 4 min", id="some"),
        pytest.param(sentences.Option(10, 1234, math.inf), "are not enough evidence", id="nobody comes"),
    ],
)
def test_undecided_end_asks_for_what_lacks(now: sentences.Option, words: str) -> None:
    assert words in sentences.not_enough(view(), [now, sentences.Option(50, 1234, 4)])


def test_no_tick_finds_a_fault_faster_than_its_cap_allows() -> None:
    many, few = (forecast.seconds(1.0, 1000.0, 5.0, phi, 20 * services) for phi, services in ((9.0, 100), (1.0, 1)))
    assert many == 5 * math.ceil(3 / 4 * math.log(2 * 2000))
    assert few == 10
    assert forecast.seconds(1.0, 1000.0, 5.0, 1.0, 20, late=True) == 15
    assert forecast.seconds(1.0, 0.0, 5.0, 1.0, 20) == math.inf


def test_latency_edges_are_where_stable_has_few_slower_answers() -> None:
    found = [one.share for one in learned_edges()]
    assert all(high > low for high, low in pairwise(found))


def learned_edges() -> list[Edge]:
    """Of a service with a long tail."""
    metric = Slower(Setting(PLAN, 2.0, 100))
    metric.fold(Seen(answers(20.0), answers(*[10.0 * 1.05**n for n in range(100) for _ in range(100 - n)])))
    assert metric.latency
    return list(metric.latency.edges)
