"""The judge: right in the long run, quick where it matters, silent where there is nothing to say."""

from __future__ import annotations

import doctest
import math
import random
import statistics
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onlyvips_release.core.judge
from onlyvips_release.core.judge import Compare, Dispersion, History, Judgement, Lines, ReleaseJudge
from onlyvips_release.core.judge.buckets import bucket
from onlyvips_release.core.judge.compare import MIXTURE, likelihood_ratios, project
from onlyvips_release.core.judge.forecast import to_find, to_promote
from onlyvips_release.core.judge.ingest import Ingest, Side
from onlyvips_release.core.judge.numbers import kl
from onlyvips_release.core.model import Arm, Counters, Series, Verdict
from onlyvips_release.core.plan import JudgePlan, SloLimits
from tests.testing.chance import binomial, poisson

DEFAULT = Lines(1.2, 0.001, 1.5, 0.005)
HALF_HOUR = timedelta(minutes=30)
Rates = Callable[[float], tuple[float, float]]
"""Seconds -> bad share of (canary, stable)."""


def test_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(onlyvips_release.core.judge).failed == 0


# --- ingest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "increments"),
    [
        pytest.param([100, 150, math.nan, 170, 5, 9], [0, 50, 0, 20, 5, 4], id="resets, gaps and nonsense in one row"),
        pytest.param([0, -1, 10], [0, 0, 10], id="negative is skipped, the next carries it"),
        pytest.param([5, math.inf, 7], [0, 0, 2], id="infinite is skipped"),
        pytest.param([7, 7, 7], [0, 0, 0], id="zero traffic"),
    ],
)
def test_cumulative_counts_become_increments(values: list[float], increments: list[int]) -> None:
    ingest = Ingest()
    got = [ingest.take("s", Arm.CANARY, [Series("i", "0", v, 0)]).total for v in values]  # type: ignore[arg-type]
    assert got == increments


def test_new_start_is_a_reset_even_when_the_counter_is_higher() -> None:
    ingest = Ingest()
    ingest.take("s", Arm.CANARY, [Series("i", "boot 1", 100, 0)])
    assert ingest.take("s", Arm.CANARY, [Series("i", "boot 2", 150, 3)]) == Side(3, 153)


def test_instance_that_appears_later_is_a_baseline_only() -> None:
    ingest = Ingest()
    ingest.take("s", Arm.CANARY, [Series("a", "0", 10, 0)])
    assert ingest.take("s", Arm.CANARY, [Series("a", "0", 12, 0), Series("b", "0", 1000, 5)]) == Side(0, 2)


# --- one comparison ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a1", "b1", "nc", "nb", "rho", "delta"),
    [
        (0.3, 0.01, 10, 90, 1.2, 0.001),
        (0.02, 0.01, 5, 45, 1.0, 0.0),
        (0.004, 0.003, 10, 90, 1.5, 0.005),
        (0.9, 0.5, 1, 9, 1.2, 0.0),
    ],
)
def test_projection_is_the_nearest_point_of_the_line(
    a1: float, b1: float, nc: float, nb: float, rho: float, delta: float
) -> None:
    def cost(b: float) -> float:
        return nc * kl(a1, rho * b + delta) + nb * kl(b1, b)

    (b0,) = project([a1], b1, nc, nb, rho, delta)
    grid = [b for b in (i / 100_000 for i in range(1, 100_000)) if 0 < rho * b + delta < 1]
    assert cost(b0) <= min(map(cost, grid)) + 1e-9


def expected_factor(nc: int, nb: int, a: float, b: float, ratio: Callable[[int, int], float]) -> float:
    """Exact expectation of exp(LLR) over all outcomes of one tick."""

    def pmf(n: int, p: float) -> list[float]:
        return [math.comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(n + 1)]

    canary, stable = pmf(nc, a), pmf(nb, b)
    pairs = product(enumerate(canary), enumerate(stable))
    return sum(pc * ps * math.exp(min(ratio(xc, xb), 700)) for (xc, pc), (xb, ps) in pairs if pc * ps > 0)


@pytest.mark.parametrize("seed", range(25))
def test_no_design_bets_at_favourable_odds_against_a_tolerated_canary(seed: int) -> None:
    """Row F6 of the acceptance table in small; catches a wrong projection, or an alternative inside the null."""
    source = random.Random(seed)
    nc, nb = source.randint(1, 12), source.randint(1, 30)
    b1 = 10 ** source.uniform(-5, math.log10(0.9))
    rho, delta = source.uniform(1, 2), source.uniform(0, 0.02)
    line = min(rho * b1 + delta, 0.96)
    a1 = source.uniform(line, 0.97)
    for b in (1e-6, 0.001, 0.01, 0.1, 0.3, 0.6, 0.9):
        for below in (1.0, 0.5):
            a = min((rho * b + delta) * below, 0.999999)
            got = expected_factor(
                nc, nb, a, b, lambda xc, xb: likelihood_ratios((xc, nc, xb, nb), [a1], b1, rho, delta)[0]
            )
            assert got <= 1 + 1e-6, (nc, nb, b1, rho, delta, a1, a, b)


def test_mixture_and_late_starts_weigh_one_in_all() -> None:
    compare = Compare(DEFAULT, 5, 360)
    assert sum(MIXTURE) == pytest.approx(1)
    for _ in range(400):
        compare.fold(0, 0, 0, 0)
    assert pytest.approx(1) == compare.mixture.W
    assert compare.evidence == pytest.approx(1)


def test_one_tick_cannot_convict_however_bad() -> None:
    compare = Compare(DEFAULT, 2, 900)
    compare.fold(10_000, 10_000, 0, 90_000)
    assert compare.evidence < 100


def test_zero_traffic_leaves_evidence_as_it_is() -> None:
    compare = Compare(DEFAULT, 2, 900)
    for _ in range(100):
        compare.fold(0, 0, 0, 50)
    assert compare.evidence == pytest.approx(1)
    assert compare.promote_evidence == pytest.approx(1)


@given(bad=st.integers(0, 19), rest=st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_more_bad_canary_requests_in_a_tick_never_lower_the_evidence(bad: int, rest: int) -> None:
    def evidence(xc: int) -> float:
        compare = Compare(DEFAULT, 2, 900)
        compare.fold(xc, 20, 1, rest)
        return compare.evidence

    assert evidence(bad + 1) >= evidence(bad) - 1e-12


def test_bursts_raise_phi_and_quiet_counts_do_not() -> None:
    source = random.Random(1)
    calm, bursty = Dispersion(5), Dispersion(5)
    for _ in range(360):
        calm.fold((poisson(source, 1), 100, poisson(source, 9), 900))
        bursty.fold((12 * poisson(source, 1 / 12), 100, 12 * poisson(source, 9 / 12), 900))
    assert calm.phi < 3
    assert bursty.phi > 4


# --- a whole release --------------------------------------------------------------------------------------------------


def simulate(
    rps: float, rates: Rates, seed: int, *, seconds: int = 1800, dt: float = 2.0, weight: float = 0.1, services: int = 1
) -> tuple[ReleaseJudge, Judgement, float]:
    """Judge, its last look, and when it was final (inf = never); every service alike."""
    source = random.Random(seed)
    plan = JudgePlan(tick=timedelta(seconds=dt))
    names = [f"s{n}" for n in range(services)]
    judge = ReleaseJudge(plan, names, timedelta(seconds=seconds))
    sums = {(name, arm): [0, 0] for name in names for arm in Arm}
    judge.begin_step(10, cumulative(sums))
    for tick in range(1, int(seconds / dt) + 1):
        for name in names:
            for arm, share, rate in zip((Arm.CANARY, Arm.STABLE), (weight, 1 - weight), rates(tick * dt), strict=True):
                n = poisson(source, rps * dt * share)
                bad = binomial(source, n, rate)
                sums[name, arm][0] += n - bad
                sums[name, arm][1] += bad
        judge.fold(tick, cumulative(sums))
        if (word := judge.look()).final:
            return judge, word, tick * dt
    return judge, judge.look(), math.inf


def cumulative(sums: dict[tuple[str, Arm], list[int]]) -> Counters:
    """As a source gives them; every answer took 20 ms."""
    found: dict[str, dict[Arm, tuple[Series, ...]]] = {}
    for (name, arm), (good, bad) in sums.items():
        one = Series(f"{name}{arm}", "0", good, bad, ((bucket(20), good + bad),))
        found.setdefault(name, {})[arm] = (one,)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rps", [1, 10, 100])
def test_equal_canary_is_never_rolled_back_in_20_seeded_releases(rps: float) -> None:
    """The issue's bar. 2-s tick, 10 %, 30 min, 1 % errors on both arms."""
    words = [simulate(rps, lambda _: (0.01, 0.01), seed)[1] for seed in range(20)]
    assert all(word.verdict is not Verdict.FAIL for word in words)


def test_total_failure_is_found_in_three_ticks() -> None:
    times = [simulate(100, lambda _: (1.0, 0.001), seed, services=3)[2] for seed in range(10)]
    assert statistics.median(times) <= 6


@pytest.mark.parametrize(
    ("rps", "canary", "stable", "limit"),
    [
        pytest.param(100, 0.11, 0.01, 40, id="+10 points at 100/s"),
        pytest.param(10, 0.11, 0.01, 250, id="+10 points at 10/s"),
        pytest.param(100, 0.10, 0.05, 240, id="5 to 10 % at 100/s"),
    ],
)
def test_fault_is_found_in_time(rps: float, canary: float, stable: float, limit: float) -> None:
    """Without history and over two metrics, so slower than rows D3 and D6 of the table, which have both."""
    times = [simulate(rps, lambda _: (canary, stable), seed)[2] for seed in range(9)]
    assert statistics.median(times) <= limit, times


def test_late_fault_is_found() -> None:
    """Catches a judge without late starts."""
    times = [simulate(100, lambda at: (1.0 if at > 600 else 0.01, 0.01), seed)[2] - 600 for seed in range(5)]
    assert max(times) <= 20, times


def test_equal_canary_is_proven_at_100_requests_a_second() -> None:
    """Row P1 of the acceptance table has 150 s with history; without, phi starts at 2."""
    judge, _, _ = simulate(100, lambda _: (0.01, 0.01), 3, seconds=900)
    word = judge.end()
    assert (word.verdict, word.reason) == (Verdict.PASS, "promote")
    assert "proven no worse" in word.sentence


def test_equal_canary_with_history_is_proven_as_quickly_as_published() -> None:
    """Row P1 of the table: base 1 %, 100 requests/s, 10 %, median <= 150 s; catches a proof of the inner line."""

    def seconds(seed: int) -> float:
        source, compare = random.Random(seed), Compare(DEFAULT, 5, 360, History(0.01, 16_000, (1.0, 1.0, 1.0)))
        for tick in range(1, 361):
            compare.fold(binomial(source, 50, 0.01), 50, binomial(source, 450, 0.01), 450)
            if compare.promote_evidence >= 20:
                return tick * 5
        return math.inf

    assert statistics.median(seconds(seed) for seed in range(31)) <= 150


def test_long_silence_costs_no_evidence_and_does_not_spoil_the_guess() -> None:
    source, compare = random.Random(4), Compare(DEFAULT, 5, 720)
    for _ in range(40):
        compare.fold(binomial(source, 50, 0.01), 50, binomial(source, 450, 0.01), 450)
    before, guess = compare.promote_evidence, compare.guess
    for _ in range(2000):
        compare.fold(0, 0, 0, 0)
    assert (compare.promote_evidence, compare.guess) == (before, guess)


def test_evidence_that_stable_shares_still_counts_as_smouldering() -> None:
    """Promotion is held up by R, not by the adjusted one; catches a promotion beside a broken absolute guard."""
    judge, word, _ = simulate(100, lambda at: (0.4, 0.4) if at > 60 else (0.0, 0.0), 1, seconds=240)
    assert word.reason == "environment"
    assert word.threshold <= word.R
    assert "absolute limit" in word.sentence
    assert judge.end().verdict is Verdict.INCONCLUSIVE


def test_counts_that_wait_for_stable_do_not_cross_a_shift() -> None:
    judge = ReleaseJudge(JudgePlan(), ["s"], HALF_HOUR)
    zero = cumulative({("s", arm): [0, 0] for arm in Arm})
    judge.begin_step(10, zero)
    judge.fold(1, cumulative({("s", Arm.CANARY): [0, 20], ("s", Arm.STABLE): [0, 0]}))
    judge.begin_step(50, cumulative({("s", Arm.CANARY): [0, 20], ("s", Arm.STABLE): [0, 0]}))
    judge.fold(2, cumulative({("s", Arm.CANARY): [0, 20], ("s", Arm.STABLE): [90, 0]}))
    assert judge.silent() == ("s",)


@pytest.mark.slow
def test_canary_between_the_two_lines_is_not_told_that_one_more_request_would_do() -> None:
    ends = [simulate(100, lambda _: (0.0165, 0.01), seed, seconds=900)[0].end() for seed in range(8)]
    undecided = [word.sentence for word in ends if word.reason == "not_enough_evidence"]
    assert undecided
    assert all("not proven to be better than the limit" in sentence for sentence in undecided), undecided


def test_outage_that_both_arms_share_convicts_nobody() -> None:
    """Row F7 of the acceptance table: both arms 95 % bad for 25 minutes; catches an alternative inside the null."""
    source, compare = random.Random(2), Compare(DEFAULT, 5, 360)
    for tick in range(360):
        rate = 0.95 if tick > 60 else 0.002
        compare.fold(binomial(source, 50, rate), 50, binomial(source, 450, rate), 450)
        assert compare.evidence < 20, tick


@pytest.mark.slow
def test_canary_on_the_never_accept_line_is_hardly_ever_promoted() -> None:
    """beta = 5 %; catches a promotion that asks the tolerated line."""
    ends = [simulate(100, lambda _: (0.02, 0.01), seed, seconds=300)[0].end() for seed in range(30)]
    assert sum(word.verdict is Verdict.PASS for word in ends) <= 4


def test_both_arms_beyond_the_absolute_limit_is_the_environments_fault() -> None:
    rates = {
        seed: simulate(100, lambda at: (0.4, 0.4) if at > 60 else (0.0, 0.0), seed, seconds=240) for seed in range(5)
    }
    for _, word, _ in rates.values():
        assert word.verdict is not Verdict.FAIL, word.sentence
    assert any(word.reason == "environment" for _, word, _ in rates.values())


def test_no_traffic_is_said_and_never_blamed_on_the_canary() -> None:
    judge, _, _ = simulate(0, lambda _: (0.0, 0.0), 1, seconds=60)
    word = judge.end()
    assert (word.verdict, word.reason, word.final) == (Verdict.INCONCLUSIVE, "no_traffic", True)
    assert judge.silent() == ("s0",)
    assert "no user request" in word.sentence


def test_undecided_end_says_how_much_more_it_takes() -> None:
    judge, _, _ = simulate(2, lambda _: (0.01, 0.01), 1, seconds=300)
    word = judge.end()
    assert word.reason == "not_enough_evidence"
    assert "more are needed" in word.sentence
    assert "at 50 %" in word.sentence


def test_sentence_names_service_shares_limit_and_odds() -> None:
    _, word, _ = simulate(100, lambda _: (0.3, 0.01), 1)
    assert word.blame == "s0"
    for part in ("s0: ", "of canary requests failed", "on stable", "you tolerate", "fewer than 1 of 100 releases"):
        assert part in word.sentence


def test_one_point_of_total_failure_is_no_verdict_yet() -> None:
    judge = ReleaseJudge(JudgePlan(slo=SloLimits(None)), ["s"], HALF_HOUR)
    judge.begin_step(50, cumulative({("s", arm): [0, 0] for arm in Arm}))
    judge.fold(1, cumulative({("s", Arm.CANARY): [0, 1], ("s", Arm.STABLE): [1, 0]}))
    assert judge.look().verdict is Verdict.INCONCLUSIVE
    assert judge.end().verdict is Verdict.INCONCLUSIVE


@given(
    st.lists(st.sampled_from([math.nan, -5, 0, 3, 1e12, 1e300, None, "7", math.inf, 7]), min_size=2, max_size=40),
    st.randoms(),
)
@settings(max_examples=60, deadline=None)
def test_nonsense_never_raises_and_never_promotes(values: list[Any], source: random.Random) -> None:
    judge = ReleaseJudge(JudgePlan(), ["s"], HALF_HOUR)
    tick = 0
    for value in values:
        tick += source.choice([-1, 0, 1, 5])
        series = Series("i", source.choice("ab"), value, source.choice(values))
        judge.fold(tick, {"s": {Arm.CANARY: (series,)}, "other": {}})
    assert judge.end().verdict is not Verdict.PASS


def test_doubled_sample_counts_once() -> None:
    def run(*ticks: int) -> float:
        judge = ReleaseJudge(JudgePlan(), ["s"], HALF_HOUR)
        judge.begin_step(10, cumulative({("s", arm): [0, 0] for arm in Arm}))
        for tick in ticks:
            judge.fold(tick, cumulative({("s", Arm.CANARY): [0, 20 * tick], ("s", Arm.STABLE): [180 * tick, 0]}))
        return judge.look().R

    assert run(1, 2) == run(1, 1, 2, 2)


@given(st.permutations(["a", "b", "c"]), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_order_of_services_and_shift_of_time_change_nothing(names: list[str], shift: int) -> None:
    def run(order: list[str], start: int) -> float:
        judge = ReleaseJudge(JudgePlan(), order, HALF_HOUR)
        judge.begin_step(10, cumulative({(name, arm): [0, 0] for name in order for arm in Arm}))
        for tick in range(1, 4):
            sums = {(n, a): [50 * tick * (1 + (a is Arm.STABLE)), tick * len(n)] for n in order for a in Arm}
            judge.fold(start + tick, cumulative(sums))
        return judge.look().R

    assert run(names, shift) == pytest.approx(run(["a", "b", "c"], 0))


def test_skipped_tick_is_not_judged() -> None:
    judge = ReleaseJudge(JudgePlan(), ["s"], HALF_HOUR)
    judge.begin_step(10, cumulative({("s", arm): [0, 0] for arm in Arm}))
    for tick in range(1, 20):
        judge.skip(tick, cumulative({("s", Arm.CANARY): [0, 20 * tick], ("s", Arm.STABLE): [180 * tick, 0]}))
    assert pytest.approx(1) == judge.look().R
    assert judge.silent() == ("s",)


def test_history_makes_it_quicker() -> None:
    def ticks(history: History | None) -> int:
        compare = Compare(DEFAULT, 5, 360, history)
        source = random.Random(5)
        for tick in range(1, 400):
            compare.fold(binomial(source, 50, 0.02), 50, binomial(source, 450, 0.01), 450)
            if compare.evidence > 320:
                return tick
        return 400

    assert ticks(History(0.01, 10_000, (1.0, 1.0, 1.0))) < ticks(None)


# --- forecast, against published values ------------------------------------------------------------------------------


@pytest.mark.parametrize(("rps", "minutes", "q"), [(10, 22.5, 0.5), (10, 47, 0.9), (100, 2.3, 0.5), (1, 471, 0.9)])
def test_time_to_promote_an_equal_canary_is_as_published(rps: float, minutes: float, q: float) -> None:
    n = to_promote(0.01, 9, DEFAULT, 1.1, 0.05, q)
    assert n / (rps * 0.1) / 60 == pytest.approx(minutes, rel=0.03)


@pytest.mark.parametrize(
    ("bad", "rate", "rps", "seconds"),
    [(0.02, 0.01, 100, 575), (0.005, 0.001, 100, 690), (0.10, 0.05, 10, 850), (0.11, 0.01, 10, 75)],
)
def test_time_to_find_a_fault_is_as_published(bad: float, rate: float, rps: float, seconds: float) -> None:
    n = to_find(bad, rate, 9, DEFAULT, 1.1, 1 / (0.05 / 16), 0.5)
    assert n / (rps * 0.1) == pytest.approx(seconds, rel=0.05, abs=5)
