"""What single events change of a release, and which events follow from its state: no world, no runner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Event, Phase
from onlyvips_release.core.judge import Judgement
from onlyvips_release.core.lifecycle import IllegalEvent, Release, fold
from onlyvips_release.core.model import Arm, Instance, Probe, SuiteResult, Verdict
from onlyvips_release.core.outcome import ending
from onlyvips_release.core.plan import Accept, OnInconclusive, ReleasePlan, Step
from onlyvips_release.core.policy import (
    after_request,
    after_signal,
    after_suite,
    after_takeover,
    decide,
    end_of_step,
    too_late,
)
from onlyvips_release.core.reasons import Reason
from tests.testing.crash_world import started
from tests.testing.plans import make_plan

FIVE = timedelta(minutes=5)
TWO_STEPS = (Step(10, FIVE), Step(50, FIVE))
ROUTED = ("backend-api", "miniapp", "showcu-panel")
CANARY = tuple(Instance(name, Arm.CANARY, "v2", name, alive=True) for name in ROUTED)


def suite(name: str = "smoke", arm: Arm = Arm.CANARY, verdict: Verdict = Verdict.PASS, weight: int = 0) -> SuiteResult:
    """How a suite ended."""
    return SuiteResult(name, arm, weight, verdict, "tested", 1, 1)


def baking(plan: ReleasePlan | None = None, *more: Event) -> Release:
    """At the first weight; then `more`."""
    plan = plan or make_plan(steps=TWO_STEPS)
    passed: list[Event] = [events.SuiteRan(suite(arm=arm)) for arm in Arm]
    begun: list[Event] = [started(plan), events.Prepared({}), events.CanaryStarted(CANARY, 10)]
    return fold([*begun, *passed, events.SmokePassed(Arm.STABLE), events.Shifted(10, "", 1.0), *more])


def committed(*more: Event) -> Release:
    """Behind the point of no return, then `more`."""
    way: list[Event] = [
        events.BakePassed(),
        events.CanaryStarted(CANARY, 100),
        events.Shifted(100, "", 1.0),
        events.Committed(100),
    ]
    return baking(None, *way, *more)


def applied(release: Release, *more: Event) -> Release:
    """The same release, later."""
    for event in more:
        release.apply(event)
    return release


# --- the fold ---------------------------------------------------------------------------------------------------------


def test_safe_weight_is_100_until_the_last_service_is_replaced() -> None:
    release = committed()
    for name in ROUTED[:-1]:
        assert applied(release, events.Replaced({name: "v2"}, ())).safe_weight == 100
    assert applied(release, events.Replaced({ROUTED[-1]: "v2"}, ())).safe_weight == 0


def test_way_back_behind_the_point_of_no_return_is_safe_at_100_until_all_are_old_again() -> None:
    release = committed(events.Replaced({ROUTED[0]: "v2"}, ()), events.RollbackStarted("tested"))
    for name in ROUTED[:-1]:
        assert applied(release, events.Replaced({name: "v1"}, ())).safe_weight == 100
    assert applied(release, events.Replaced({ROUTED[-1]: "v1"}, ())).safe_weight == 0


def test_evidence_and_checks_of_one_weight_say_nothing_of_the_next() -> None:
    checks = suite("canary", weight=10)
    release = baking(None, *(events.Sampled(n, {}) for n in range(5)), events.SuiteRan(checks))
    assert release.checked == checks
    assert release.evidence.baked > 0
    applied(release, events.StepPassed(), events.Shifted(50, "", 1.0))
    assert release.checked is None
    assert release.evidence.baked == 0
    assert not release.evidence.has_baseline


def test_same_weight_once_more_leaves_evidence_and_checks() -> None:
    """After a router's restart, say."""
    release = baking(None, *(events.Sampled(n, {}) for n in range(5)), events.SuiteRan(suite("canary", weight=10)))
    before = release.evidence.baked
    applied(release, events.Shifted(10, "", 1.0))
    assert (release.checked is not None, release.evidence.baked) == (True, before)


@pytest.mark.parametrize(("confirmed", "weight"), [(True, 0), (False, None)])
def test_weight_that_the_guardian_could_not_confirm_is_not_known(confirmed: bool, weight: int | None) -> None:
    assert baking(None, events.GuardianActed(0, "", confirmed)).weight == weight


def test_rollback_knows_no_weight_until_it_was_set_again_and_keeps_its_first_cause() -> None:
    release = baking(None, events.RollbackStarted("first"), events.RollbackStarted("second", tool=True))
    assert release.weight is None
    assert release.cause == events.RollbackStarted("first")
    assert applied(release, events.Shifted(0, "", 1.0)).weight == 0


def test_pinned_requests_must_fail_in_a_row_to_count() -> None:
    def seen(*status: int) -> events.Observed:
        return events.Observed((), tuple(Probe("miniapp", one) for one in status))

    release = baking(None, seen(503), seen(503))
    assert release.failed_probes == {"miniapp": 2}
    assert applied(release, seen(200)).failed_probes == {"miniapp": 0}
    assert applied(release, seen(503)).failed_probes == {"miniapp": 1}


def test_take_over_forgets_what_must_be_proven_again() -> None:
    release = baking(None, events.SuiteRan(suite("canary", weight=10)))
    release.smoke, release.attempts = {Arm.CANARY: suite()}, {Arm.CANARY: 2}
    applied(release, events.Requested("abort", "x", 2), events.Resumed("ops", taken_over=True))
    assert (release.weight, release.proven, release.prepared, release.signal) == (None, False, False, 0)
    assert (release.smoke, release.attempts, release.replaced, release.observed) == ({}, {}, (), None)


def test_resume_of_a_held_pause_keeps_what_is_proven() -> None:
    release = baking(None, events.Paused("tested", 10), events.Resumed("ops"))
    assert (release.phase, release.weight, release.proven) == (Phase.BAKING, 10, True)


def test_nothing_but_a_guardians_act_or_a_delivery_follows_the_end() -> None:
    end: list[Event] = [events.RollbackStarted("tested"), events.Shifted(0, "", 1.0), events.RolledBack("")]
    release = baking(None, *end)
    applied(release, ending(release))
    for event in (events.Noted("x"), events.Requested("abort", "ops"), events.Resumed("ops"), events.Prepared({})):
        with pytest.raises(IllegalEvent):
            release.apply(event)
    applied(release, events.GuardianActed(0, "", confirmed=True), events.Notified("slack", "x"))


# --- the end of a step ------------------------------------------------------------------------------------------------


@dataclass
class Opinion:
    """A judge that has made up its mind."""

    verdict: Verdict = Verdict.PASS
    reason: str = "promote"
    R: float = 1.0
    quiet: tuple[str, ...] = ()

    def look(self) -> Judgement:
        """Nothing yet."""
        return Judgement(Verdict.INCONCLUSIVE, "continue", "", False, self.R, 20.0)

    def end(self) -> Judgement:
        """What it is asked when the bake is over."""
        return Judgement(self.verdict, self.reason, "the judge's sentence", True, self.R, 20.0)

    def silent(self) -> tuple[str, ...]:
        """Services without a judged tick."""
        return self.quiet


UNDECIDED = Opinion(Verdict.INCONCLUSIVE, "not_enough_evidence")


def held(
    opinion: Opinion, plan: ReleasePlan, *, seconds: float = 300, checks: Verdict | None = Verdict.PASS
) -> Release:
    """A step that was held for so long, and its judge's opinion."""
    release = baking(plan)
    tick = plan.judge.tick.total_seconds()
    release.evidence.first_tick, release.evidence.last_tick = 0, round(seconds / tick) + 1
    release.evidence.judge = opinion  # type: ignore[assignment]  # only these three methods are asked
    release.checked = suite("canary", verdict=checks, weight=10) if checks else None
    return release


LAST = make_plan(patience=timedelta(minutes=1))
FIRST = make_plan(steps=TWO_STEPS, patience=timedelta(minutes=1))
LENIENT = make_plan(accept=Accept.NO_EVIDENCE_OF_HARM, patience=timedelta(minutes=1))


@pytest.mark.parametrize(
    ("opinion", "plan", "more", "outcome"),
    [
        pytest.param(Opinion(), LAST, {}, (Verdict.PASS, "promote"), id="proven"),
        pytest.param(Opinion(), LAST, {"seconds": 298}, None, id="a tick too short"),
        pytest.param(Opinion(), LAST, {"checks": None}, None, id="no checks yet"),
        pytest.param(Opinion(), LAST, {"checks": Verdict.INCONCLUSIVE}, None, id="checks did not pass: patience"),
        pytest.param(
            Opinion(), LAST, {"checks": Verdict.INCONCLUSIVE, "seconds": 360}, (Verdict.INCONCLUSIVE, "canary_checks"),
            id="checks did not pass",
        ),
        pytest.param(Opinion(quiet=("miniapp",)), LAST, {}, None, id="a silent service: patience"),
        pytest.param(
            Opinion(quiet=("miniapp",)), LAST, {"seconds": 360}, (Verdict.INCONCLUSIVE, "no_traffic"),
            id="a silent service",
        ),
        pytest.param(UNDECIDED, LAST, {}, None, id="undecided: patience"),
        pytest.param(
            UNDECIDED, LAST, {"seconds": 360}, (Verdict.INCONCLUSIVE, "not_enough_evidence"), id="undecided"
        ),
        pytest.param(UNDECIDED, FIRST, {}, (Verdict.PASS, "step"), id="a step before the last needs no proof"),
        pytest.param(replace(UNDECIDED, R=2.5), FIRST, {}, None, id="but nothing that smoulders"),
        pytest.param(replace(UNDECIDED, quiet=("a",)), FIRST, {}, None, id="and traffic"),
        pytest.param(UNDECIDED, FIRST, {"checks": Verdict.INCONCLUSIVE}, None, id="and its checks"),
        pytest.param(UNDECIDED, LENIENT, {}, (Verdict.PASS, "no_evidence_of_harm"), id="the plan asks for no proof"),
        pytest.param(replace(UNDECIDED, R=2.5), LENIENT, {}, None, id="smouldering is evidence of harm"),
    ],
)  # fmt: skip
def test_end_of_a_step(
    opinion: Opinion, plan: ReleasePlan, more: dict[str, object], outcome: tuple[Verdict, str] | None
) -> None:
    judged = end_of_step(held(opinion, plan, **more))  # type: ignore[arg-type]
    assert (judged and (judged.verdict, str(judged.reason))) == outcome


def kinds(found: list[Event]) -> list[str]:
    """Names of events."""
    return [type(event).__name__ for event in found]


@pytest.mark.parametrize(
    ("opinion", "plan", "follow"),
    [
        pytest.param(Opinion(), LAST, ["Judged", "BakePassed"], id="the last step"),
        pytest.param(Opinion(), FIRST, ["Judged", "StepPassed"], id="a step before"),
        pytest.param(Opinion(), replace(LAST, steps=(Step(10, FIVE, approve=True),)), ["Paused"], id="to be approved"),
        pytest.param(UNDECIDED, replace(LAST, patience=timedelta(0)), ["Judged", "RollbackStarted"], id="undecided"),
        pytest.param(
            UNDECIDED, replace(LAST, patience=timedelta(0), on_inconclusive=OnInconclusive.PAUSE), ["Judged", "Paused"],
            id="undecided, and to be paused",
        ),
    ],
)  # fmt: skip
def test_what_a_verdict_leads_to(opinion: Opinion, plan: ReleasePlan, follow: list[str]) -> None:
    assert kinds(decide(held(opinion, plan))) == follow


# --- suites, signals, requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "result", "follow"),
    [
        pytest.param((), suite(), [], id="one arm passed"),
        pytest.param((Arm.CANARY,), suite(arm=Arm.STABLE), ["SmokePassed"], id="both passed"),
        pytest.param((), suite(verdict=Verdict.FAIL), ["RollbackStarted"], id="failed"),
        pytest.param((), suite(verdict=Verdict.INCONCLUSIVE), [], id="inconclusive once"),
        pytest.param((), suite("canary", verdict=Verdict.FAIL), [], id="other checks"),
    ],
)
def test_what_a_suite_leads_to(passed: tuple[Arm, ...], result: SuiteResult, follow: list[str]) -> None:
    release = fold([started(make_plan()), events.Prepared({}), events.CanaryStarted(CANARY, 10)])
    applied(release, *(events.SuiteRan(suite(arm=arm)) for arm in passed), events.SuiteRan(result))
    assert kinds(after_suite(release, result)) == follow


def test_suite_that_is_inconclusive_twice_or_with_users_ends_the_release() -> None:
    doubtful = suite(verdict=Verdict.INCONCLUSIVE)
    release = fold([started(make_plan()), events.Prepared({}), events.CanaryStarted(CANARY, 10)])
    applied(release, events.SuiteRan(doubtful), events.SuiteRan(doubtful))
    assert kinds(after_suite(release, doubtful)) == ["RollbackStarted"]
    late = replace(doubtful, weight=100)
    promoting = baking(None, events.BakePassed(), events.SuiteRan(late))
    assert kinds(after_suite(promoting, late)) == ["RollbackStarted"]


@pytest.mark.parametrize(
    ("more", "follow"),
    [
        pytest.param((), ["RollbackStarted"], id="in the bake"),
        pytest.param((events.RollbackStarted("x"), events.Requested("abort", "x", 2)), [], id="first, in a rollback"),
        pytest.param(
            (events.RollbackStarted("x"), *[events.Requested("abort", "x", 2)] * 2), ["Finished"], id="second signal"
        ),
    ],
)
def test_what_a_signal_leads_to(more: tuple[Event, ...], follow: list[str]) -> None:
    assert kinds(after_signal(baking(None, *more))) == follow


def test_bake_clock_begins_again_when_a_release_is_gone_on_with() -> None:
    ticks = [events.Sampled(tick, {}) for tick in range(1, 9)]
    held = baking(None, *ticks, events.Paused("lunch", 10))
    assert held.evidence.baked > 0
    held.apply(events.Resumed("ops"))
    assert held.evidence.baked == 0


@pytest.mark.parametrize(
    ("release", "arm", "cause"),
    [
        pytest.param(fold([started(make_plan()), events.Prepared({}), events.CanaryStarted(CANARY, 10)]), Arm.STABLE,
                     "stable itself does not pass", id="stable, before anybody is moved"),
        pytest.param(fold([started(make_plan()), events.Prepared({}), events.CanaryStarted(CANARY, 10)]), Arm.CANARY,
                     "smoke tests on the canary", id="the canary"),
        pytest.param(committed(), Arm.STABLE, "smoke tests on the stable", id="the new stable"),
    ],
)  # fmt: skip
def test_rollback_names_the_arm_whose_smoke_tests_failed(release: Release, arm: Arm, cause: str) -> None:
    (back,) = after_suite(release, suite(arm=arm, verdict=Verdict.FAIL))
    assert isinstance(back, events.RollbackStarted)
    assert back.cause.startswith(cause)


def test_signals_of_an_earlier_command_do_not_count_for_the_next_one() -> None:
    back = (events.Requested("abort", "signal 2", 2), events.RollbackStarted("interrupted"))
    release = baking(None, *back, events.Resumed("ops", taken_over=True))
    assert (release.signal, release.signals) == (0, 0)


def test_verdict_is_reported_again_after_a_tick_that_could_be_judged() -> None:
    held = events.Judged(Verdict.INCONCLUSIVE, Reason.ENVIRONMENT, "held", final=False)
    assert baking(None, held).reported == Reason.ENVIRONMENT
    assert baking(None, held, events.Sampled(1, {})).reported == ""


def test_signal_behind_the_point_of_no_return_only_ends_the_watch() -> None:
    signal = events.Requested("abort", "x", 2)
    assert after_signal(committed(signal)) == []
    replaced = events.Replaced(dict.fromkeys(ROUTED, "v2"), ())
    watching = committed(replaced, events.Shifted(0, "", 1.0), events.Promoted(""), signal)
    assert kinds(after_signal(watching)) == ["Watched"]


PAUSED = events.Paused("tested", 10)
APPROVAL = events.Paused("tested", 10, approval=True)


@pytest.mark.parametrize(
    ("more", "what", "follow"),
    [
        ((), "abort", ["RollbackStarted"]),
        ((), "pause", ["Paused"]),
        ((), "promote", ["Judged", "BakePassed"]),
        ((), "resume", []),
        ((), "nonsense", []),
        ((PAUSED,), "abort", ["RollbackStarted"]),
        ((PAUSED,), "pause", []),
        ((PAUSED,), "promote", ["Judged", "BakePassed"]),
        ((PAUSED,), "resume", ["Resumed"]),
        ((APPROVAL,), "resume", ["Judged", "StepPassed"]),
        ((APPROVAL,), "promote", ["Judged", "BakePassed"]),
        ((events.RollbackStarted("x"),), "promote", []),
        ((events.RollbackStarted("x"),), "pause", []),
    ],
    ids=str,
)
def test_what_a_request_leads_to(more: tuple[Event, ...], what: str, follow: list[str]) -> None:
    assert kinds(after_request(baking(None, *more), events.Requested(what, "ops"))) == ["Requested", *follow]


@pytest.mark.parametrize("what", ["abort", "pause", "promote", "resume"])
def test_only_an_abort_awaits_the_end_of_a_release_that_can_no_longer_obey(what: str) -> None:
    request = events.Requested(what, "ops")
    assert too_late(baking(), request) == too_late(baking(None, PAUSED), request) == ""
    late = [too_late(release, request) for release in (baking(None, events.RollbackStarted("x")), committed())]
    assert [bool(why) for why in late] == [what != "abort"] * 2
    ended = fold([started(make_plan()), events.RollbackStarted("x"), events.RolledBack("")])
    assert ("goes back already" in too_late(ended, request)) == (what != "abort")


def test_abort_behind_the_point_of_no_return_is_recorded_and_not_obeyed() -> None:
    assert kinds(after_request(committed(), events.Requested("abort", "ops"))) == ["Requested"]


REPLACED = events.Replaced(dict.fromkeys(ROUTED, "v2"), ())


@pytest.mark.parametrize(
    ("release", "what", "back"),
    [
        pytest.param(baking(), "recover", True, id="recover in the bake"),
        pytest.param(baking(), "abort", True, id="abort in the bake"),
        pytest.param(baking(), "resume", False, id="resume in the bake"),
        pytest.param(committed(), "recover", True, id="recover behind the point of no return"),
        pytest.param(committed(), "resume", False, id="resume behind the point of no return"),
        pytest.param(committed(REPLACED), "recover", False, id="recover with every stable proven new"),
        pytest.param(committed(REPLACED), "abort", False, id="abort with every stable proven new"),
        pytest.param(
            committed(events.Replaced({ROUTED[0]: "v2"}, ())), "recover", True, id="recover with one stable proven new"
        ),
    ],
)
def test_take_over_goes_back_unless_every_stable_was_proven_new(release: Release, what: str, back: bool) -> None:
    found = kinds(after_takeover(release, events.Requested(what, "ops")))
    assert found == ["Requested", "Resumed", *(["RollbackStarted"] if back else [])]


# --- how it ends ------------------------------------------------------------------------------------------------------

BACK = (events.Shifted(0, "", 1.0, proven=True), events.RolledBack(""))
SIGNAL = events.Requested("abort", "signal 2", 2)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        pytest.param((events.RollbackStarted("bad"), *BACK), 3, "ROLLED BACK: bad", id="rolled back"),
        pytest.param((events.RollbackStarted("bug", tool=True), *BACK), 1, "ROLLED BACK: bug", id="a bug"),
        pytest.param((SIGNAL, events.RollbackStarted("stop"), *BACK), 130, "ROLLED BACK: stop", id="a signal"),
        pytest.param((events.RollbackStarted("bad"), BACK[0]), 3, "users are on stable", id="clean-up left out"),
        pytest.param(
            (events.RollbackStarted("bad"), events.Shifted(0, "", 1.0)), 4, "NOT CONFIRMED", id="stable not proven"
        ),
        pytest.param((events.RollbackStarted("bad"),), 4, "NOT CONFIRMED", id="weight not known"),
        pytest.param((events.Paused("why", 10),), 5, "PAUSED, users are on stable: why", id="paused"),
    ],
)
def test_exit_code_and_sentence(more: tuple[Event, ...], code: int, words: str) -> None:
    end = ending(baking(None, *more))
    assert (end.exit, end.sentence.startswith(words)) == (code, True), end


def test_way_back_behind_the_point_of_no_return_that_is_given_up_is_exit_4_whatever_was_proven() -> None:
    assert ending(committed(events.RollbackStarted("bad"), BACK[0])).exit == 4
