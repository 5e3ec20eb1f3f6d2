"""What must hold of the judge whatever comes in: properties, checked on random releases."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlyvips_release.core.judge import Compare, Lines, ReleaseJudge
from onlyvips_release.core.judge.buckets import bucket
from onlyvips_release.core.model import Arm, Counters, Series, Verdict
from onlyvips_release.core.plan import JudgePlan

pytestmark = pytest.mark.slow
PLAN = JudgePlan(block=timedelta(seconds=8), warm_up=timedelta(seconds=4))
SERVICES = ("a", "b", "c")


def counters(source: random.Random, sums: dict[Any, list[float]]) -> Counters:
    """A random step of every counter."""
    found: dict[str, dict[Arm, tuple[Series, ...]]] = {}
    for name in SERVICES:
        for arm in Arm:
            have = sums.setdefault((name, arm), [0.0] * 5)
            more = source.randint(0, 30), source.choice((0, 0, 1, 3)), source.randint(0, 5), source.random() * 0.1
            have[:] = [old + new for old, new in zip(have, (*more, 0), strict=True)]
            latency = ((bucket(20), int(have[0])), (bucket(300), int(have[1])))
            one = Series("i", "0", int(have[0]), int(have[1]), latency, int(have[2]), have[3], source.randint(10, 12))
            found.setdefault(name, {})[arm] = (one,)
    return found


def run(
    seed: int, *, shift: int = 0, names: tuple[str, ...] = SERVICES, ticks: int = 40, freeze: int = -1
) -> ReleaseJudge:
    """A random release; at tick `freeze` the judge is written down and read again."""
    source, sums = random.Random(seed), dict[Any, list[float]]()
    judge = ReleaseJudge(PLAN, names, timedelta(minutes=2), business=names)
    judge.begin_step(10, counters(source, sums))
    for tick in range(1, ticks + 1):
        judge.fold(tick + shift, counters(source, sums))
        if tick == freeze:
            judge = pickle.loads(pickle.dumps(judge))
    return judge


def evidence(judge: ReleaseJudge) -> dict[tuple[str, str], tuple[float, float | None]]:
    """Of every metric."""
    return {(m.service, m.kind.metric): (m.kind.evidence, m.kind.proof) for m in judge.metrics}


@given(seed=st.integers(0, 10_000), order=st.permutations(SERVICES), shift=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_order_of_services_and_shift_of_time_change_nothing(seed: int, order: list[str], shift: int) -> None:
    assert evidence(run(seed)) == evidence(run(seed, names=tuple(order), shift=shift))


@given(seed=st.integers(0, 10_000), freeze=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_judge_that_is_written_down_and_read_again_is_bit_equal(seed: int, freeze: int) -> None:
    whole, halved = run(seed), run(seed, freeze=freeze)
    assert evidence(whole) == evidence(halved)
    assert whole.look() == halved.look()


@given(seed=st.integers(0, 10_000), order=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_order_of_metrics_does_not_matter(seed: int, order: random.Random) -> None:
    judge = run(seed)
    before = judge.end()
    order.shuffle(judge.metrics)
    after = judge.end()
    assert pytest.approx(before.R) == after.R
    assert (after.verdict, after.reason) == (before.verdict, before.reason)


@given(silence=st.integers(1, 300), judged=st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_zero_traffic_changes_nothing_but_the_start_weight(silence: int, judged: int) -> None:
    compare = Compare(Lines(1.2, 0.001, 1.5, 0.005), 2, 10_000)
    for _ in range(judged):
        compare.fold(1, 20, 2, 180)
    proof, rate, before = compare.promote_evidence, compare.guess, compare.mixture.W
    paid = list(compare.mixture.A)
    for _ in range(silence):
        compare.fold(0, 0, 0, 0)
    more = compare.mixture.W - before
    assert (compare.promote_evidence, compare.guess) == (proof, rate)
    assert [a - more for a in compare.mixture.A] == pytest.approx(paid, abs=1e-9)


@given(ticks=st.integers(1, 500))
@settings(max_examples=25, deadline=None)
def test_ticks_without_a_sample_at_once_are_the_same_as_one_by_one(ticks: int) -> None:
    one, many = (Compare(Lines(1.2, 0.001, 1.5, 0.005), 2, 300) for _ in range(2))
    for compare in (one, many):
        for _ in range(25):
            compare.fold(2, 20, 3, 180)
        compare.fold(1, 20, 0, 0)
    for _ in range(ticks):
        one.fold(0, 0, 0, 0)
    many.idle(ticks)
    for compare in (one, many):
        compare.fold(1, 20, 3, 180)
    assert many.evidence == pytest.approx(one.evidence)
    assert many.promote_evidence == pytest.approx(one.promote_evidence)
    assert many.dispersion.phi == pytest.approx(one.dispersion.phi)


WORDS = (-1, 0, 1, 7, 2**60, float("nan"), float("inf"), None, "many", 1e300, True)


@given(source=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_nonsense_in_any_field_never_raises_and_never_promotes(source: random.Random) -> None:
    judge = ReleaseJudge(PLAN, ["a"], timedelta(minutes=1), business=["a"])

    def nonsense() -> Counters:
        def one() -> Series:
            def pick() -> Any:
                return source.choice(WORDS)

            latency: Any = source.choice((None, (), ((pick(), pick()), (3, pick()))))
            return Series(source.choice("xy"), source.choice("01"), pick(), pick(), latency, pick(), pick(), pick())

        return {"a": {arm: (one(), one()) for arm in Arm}}

    judge.begin_step(10, nonsense())
    for tick in (1, 2, 2, 5, 4, 30, 31):
        judge.fold(tick, nonsense())
        assert judge.look().verdict is not Verdict.PASS
    assert judge.end().verdict is not Verdict.PASS


@pytest.mark.parametrize("value", [1e-9, 1 - 1e-9, 0.5])
def test_limits_at_the_ends_of_what_a_plan_may_say_never_raise(value: float) -> None:
    guard = Compare(Lines(0.0, value, 0.0, value), 2, 100)
    line = Compare(Lines(100.0, value, 100.0, value), 2, 100)
    for compare in (guard, line):
        for counts in ((0, 10, 0, 90), (10, 10, 90, 90), (10, 10, 0, 90), (0, 10, 90, 90)):
            compare.fold(*counts)
        assert compare.evidence >= 0


def test_memory_of_instances_that_come_and_go_is_bounded() -> None:
    judge = ReleaseJudge(PLAN, ["a"], timedelta(minutes=5))
    for tick in range(300):
        judge.fold(tick, {"a": {Arm.CANARY: (Series(f"pod {tick}", "0", tick, 0), Series("stays", "0", tick, 0))}})
    assert len(judge.ingest.last["a", Arm.CANARY]) <= 64
    assert replace(PLAN) == PLAN
