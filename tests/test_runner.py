"""The whole flow on the simulated world: what is promoted, what is rolled back, what is never promoted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.commands import next_command
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release, fold
from onlyvips_release.core.model import Arm, SuiteResult, Verdict
from onlyvips_release.core.plan import Accept, OnInconclusive, Step
from onlyvips_release.core.policy import after_takeover
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.errors import Interrupted, JournalError, NotConfirmed
from onlyvips_release.runner import Runner
from tests.testing.crash_world import all_on, carry_out, started
from tests.testing.plans import make_plan
from tests.testing.simulation import World

FIVE = timedelta(minutes=5)


def kinds(world: World) -> list[str]:
    """Names of the journalled events."""
    return [type(event).__name__ for event in world.journal]


def test_good_release_is_promoted_and_its_journal_tells_the_same() -> None:
    world = World(make_plan(), rps=100)
    release = carry_out(world)
    assert release.phase is Phase.PROMOTED
    assert release.finished is not None
    assert release.finished.exit == 0
    assert all_on(world, "v2")
    again = fold(world.journal)
    assert (again.phase, again.serving, again.finished) == (release.phase, release.serving, release.finished)
    assert kinds(world).index("Committed") < kinds(world).index("Promoted")


def test_weights_of_a_promotion_are_in_force_where_the_contract_wants_them() -> None:
    """Everybody is on the canary while anything is replaced, and on the new stable before the canary track goes.

    (weight, safe weight): behind the point of no return both are 100, and others know it before stable is touched.
    """
    world, seen = World(make_plan(), rps=100), dict[str, set[tuple[float, int]]]()
    world.on_call = lambda name: seen.setdefault(name, set()).add((world.weight, world.safe_weight))
    assert carry_out(world).phase is Phase.PROMOTED
    assert seen["workload.promote flirt-bot"] == {(100, 0)}
    assert seen["workload.promote miniapp"] == {(100, 100)}
    assert seen["workload.remove_canary miniapp"] == {(0, 0)}


def test_bad_canary_is_rolled_back_within_seconds_and_blamed_by_name() -> None:
    def rate(service: str, revision: str, at: float) -> float:
        return 1.0 if (service, revision) == ("miniapp", "v2") else 0.0

    world = World(make_plan(), rps=100, error_rate=rate)
    release = carry_out(world)
    assert release.phase is Phase.ROLLED_BACK
    assert release.finished is not None
    assert release.finished.exit == 3
    assert "miniapp" in release.finished.sentence
    assert all_on(world, "v1")
    sampled = [e for e in world.journal if isinstance(e, events.Sampled)]
    assert len(sampled) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("rps", [1, 10, 100])
def test_equal_canary_is_never_judged_a_failure(rps: float) -> None:
    for seed in range(4):
        plan = make_plan(steps=(Step(10, timedelta(minutes=30)),))
        release = carry_out(World(plan, rps=rps, seed=seed, error_rate=lambda *_: 0.01))
        assert release.outcome is not None
        assert release.outcome.verdict is not Verdict.FAIL, release.outcome.sentence


def test_no_traffic_is_inconclusive_and_never_blames_the_canary() -> None:
    world = World(make_plan(), rps=0)
    release = carry_out(world)
    assert release.phase is Phase.ROLLED_BACK
    assert release.finished is not None
    assert release.finished.exit == 3
    assert release.finished.sentence.startswith("INCONCLUSIVE")
    assert release.outcome is not None
    assert release.outcome.verdict is Verdict.INCONCLUSIVE
    assert "bad" not in release.finished.sentence
    assert all_on(world, "v1")


def test_undecided_end_waits_for_its_patience_and_then_pauses_if_the_plan_says_so() -> None:
    plan = make_plan(on_inconclusive=OnInconclusive.PAUSE, patience=timedelta(minutes=1))
    world = World(plan, rps=0.5)
    world.on_call = at_time(world, 500, lambda: world.requests.append(events.Requested("abort", "ops")))
    release = carry_out(world)
    paused = next(e for e in world.journal if isinstance(e, events.Paused))
    assert "not" in paused.why or "no decision" in paused.why
    assert release.finished is not None
    assert "aborted by ops" in release.finished.sentence


def at_time(world: World, seconds: float, act: Callable[[], object]) -> Callable[[str], None]:
    """Do something once, when the world's clock has come so far."""
    done: list[bool] = []

    def look(_: str) -> None:
        if not done and world.time >= seconds:
            done.append(True)
            act()

    return look


def test_second_canary_never_ready_leaves_all_on_the_old_revision() -> None:
    world = World(make_plan(), rps=100, never_ready={"miniapp"})
    release = carry_out(world)
    assert release.finished is not None
    assert release.finished.exit == 3
    assert all_on(world, "v1")
    assert not any(isinstance(e, events.Shifted) and e.weight > 0 for e in world.journal)


@pytest.mark.parametrize("service", ["backend-api", "miniapp", "showcu-panel", "flirt-bot"])
def test_promotion_that_fails_at_one_service_takes_all_back(service: str) -> None:
    world = World(make_plan(), rps=100)
    failed: list[str] = []

    def fail_once(name: str) -> None:
        if name == f"workload.promote {service}" and not failed:
            failed.append(name)
            raise NotConfirmed(f"{service}: planted")

    world.on_call = fail_once
    release = carry_out(world)
    assert failed
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert all_on(world, "v1")


def test_bot_that_dies_at_its_start_is_brought_back_in_its_old_revision() -> None:
    world = World(make_plan(), rps=100, dies_at_start={("flirt-bot", "v2")})
    release = carry_out(world)
    assert not release.committed
    assert release.phase is Phase.ROLLED_BACK
    assert all_on(world, "v1")


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
@pytest.mark.parametrize("arm", list(Arm))
def test_smoke_suite_that_does_not_pass_means_no_shift(arm: Arm, verdict: Verdict) -> None:
    asked: list[SuiteRequest] = []

    def smoke(request: SuiteRequest) -> Verdict:
        asked.append(request)
        return verdict if request.arm is arm else Verdict.PASS

    world = World(make_plan(), rps=100, smoke=smoke)
    release = carry_out(world)
    assert release.finished is not None
    assert release.finished.exit == 3
    assert not any(isinstance(e, events.Shifted) and e.weight > 0 for e in world.journal)
    assert sum(r.arm is arm for r in asked) == (2 if verdict is Verdict.INCONCLUSIVE else 1)
    assert all_on(world, "v1")


def test_canary_checks_that_fail_during_the_bake_end_it() -> None:
    world = World(make_plan(), rps=100, smoke=lambda r: Verdict.FAIL if r.name == "canary" else Verdict.PASS)
    release = carry_out(world)
    assert release.finished is not None
    assert release.finished.exit == 3
    assert release.outcome is not None
    assert release.outcome.reason == "canary_checks"


def test_canary_instance_that_dies_ends_it_without_statistics() -> None:
    world = World(make_plan(), rps=100)
    world.on_call = at_time(world, 60, lambda: world.kill("miniapp", Arm.CANARY))
    release = carry_out(world)
    assert release.outcome is not None
    assert release.outcome.reason == "hard_gate"
    assert "miniapp" in release.outcome.sentence
    assert all_on(world, "v1")


def test_somebody_else_changing_the_weight_ends_it() -> None:
    world = World(make_plan(), rps=100)
    world.on_call = at_time(world, 60, lambda: setattr(world, "weight", 30))
    release = carry_out(world)
    assert release.outcome is not None
    assert release.outcome.reason == "interference"
    assert all_on(world, "v1")


def test_router_that_dies_is_brought_back_and_the_release_goes_on() -> None:
    world = World(make_plan(), rps=100)
    world.on_call = at_time(world, 100, lambda: setattr(world, "router_up", False))
    release = carry_out(world)
    assert release.phase is Phase.PROMOTED
    assert any("router had died" in note for note in release.noted)


def test_stable_down_is_not_the_canarys_fault_and_stops_the_bake_clock() -> None:
    world = World(make_plan(), rps=100)
    world.on_call = at_time(world, 100, lambda: world.kill("miniapp", Arm.STABLE))
    release = carry_out(world)
    assert release.outcome is not None
    assert release.outcome.verdict is not Verdict.FAIL


@pytest.mark.parametrize("signal", [2, 15])
@pytest.mark.parametrize("seconds", [0.1, 30, 200])
def test_signal_before_the_point_of_no_return_takes_users_back(signal: int, seconds: float) -> None:
    world = World(make_plan(), rps=100)

    def stop() -> None:
        raise Interrupted(signal)

    world.on_call = only("clock.sleep", at_time(world, seconds, stop))
    release = carry_out(world)
    assert release.finished is not None
    assert release.finished.exit == 128 + signal
    assert all_on(world, "v1")


def only(name: str, look: Callable[[str], None]) -> Callable[[str], None]:
    """Only at this port call."""
    return lambda called: look(called) if called == name else None


def test_signal_while_watching_skips_the_watch_and_stays_promoted() -> None:
    world = World(make_plan(), rps=100)

    def stop(called: str) -> None:
        if called == "clock.sleep" and any(isinstance(e, events.Promoted) for e in world.journal) and not stopped:
            stopped.append(True)
            raise Interrupted(2)

    stopped: list[bool] = []
    world.on_call = stop
    release = carry_out(world)
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.PROMOTED, 130)
    assert "v2" in release.finished.sentence
    assert all_on(world, "v2")


def test_new_stable_that_breaks_while_watched_is_restored() -> None:
    def rate(service: str, revision: str, at: float) -> float:
        promoted = any(isinstance(e, events.Promoted) for e in world.journal)
        return 1.0 if promoted and revision == "v2" else 0.0

    world = World(make_plan(watch=timedelta(minutes=2)), rps=100, error_rate=rate)
    release = carry_out(world)
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert any(isinstance(e, events.Restored) for e in world.journal)
    assert all_on(world, "v1")


def test_rollback_that_cannot_be_confirmed_is_exit_4_and_stays_open() -> None:
    world = World(make_plan(), rps=100, error_rate=lambda s, r, at: 1.0 if r == "v2" else 0.0)

    def broken(name: str) -> None:
        if name == "router.set_weight" and any(isinstance(e, events.RollbackStarted) for e in world.journal):
            raise NotConfirmed("planted")

    world.on_call = broken
    release = carry_out(world)
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLING_BACK, 4)
    assert any(isinstance(e, events.Unconfirmed) for e in world.journal)


def test_unconfirmed_rollback_can_be_taken_up_again_and_then_ends() -> None:
    """Catches a recorded end (exit 4) that leaves `recover` nothing to do while users are on the canary."""
    world = World(make_plan(), rps=100, error_rate=lambda s, r, at: 1.0 if r == "v2" else 0.0)

    def broken(name: str) -> None:
        if name == "router.set_weight" and any(isinstance(e, events.RollbackStarted) for e in world.journal):
            raise NotConfirmed("planted")

    world.on_call = broken
    carry_out(world)
    assert world.weight == 10
    world.on_call = lambda name: None
    world.released = True
    found = fold(world.journal)
    release = Runner(found, world.ports()).run(*after_takeover(found, events.Requested("recover", "ops")))
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert all_on(world, "v1")


def test_journal_that_cannot_be_written_puts_users_on_the_safe_side_first() -> None:
    world = World(make_plan(), rps=100)

    def full(name: str) -> None:
        if name == "journal.append Sampled" and world.time > 60:
            raise JournalError("no space left")

    world.on_call = full
    with pytest.raises(JournalError):
        carry_out(world)
    assert world.weight == 0


def test_bug_in_an_adapter_takes_users_back_and_is_the_tools_error() -> None:
    world = World(make_plan(), rps=100)
    world.on_call = at_time(world, 60, lambda: 1 / 0)
    release = carry_out(world)
    assert release.finished is not None
    assert release.finished.exit == 1
    assert all_on(world, "v1")


def test_steps_before_the_last_go_on_without_proof_but_not_without_traffic() -> None:
    steps = (Step(5, FIVE), Step(50, FIVE))
    assert carry_out(World(make_plan(steps=steps), rps=100)).phase is Phase.PROMOTED
    silent = carry_out(World(make_plan(steps=steps), rps=0))
    assert silent.step == 0
    assert silent.phase is Phase.ROLLED_BACK


def test_no_evidence_of_harm_promotes_only_where_the_plan_opts_in_and_says_so() -> None:
    poor = {"rps": 3.0, "seed": 1}
    assert carry_out(World(make_plan(), **poor)).phase is Phase.ROLLED_BACK  # type: ignore[arg-type]
    release = carry_out(World(make_plan(accept=Accept.NO_EVIDENCE_OF_HARM), **poor))  # type: ignore[arg-type]
    assert release.finished is not None
    assert "without proof" in release.finished.sentence
    assert release.phase is Phase.PROMOTED


def test_approval_holds_the_weight_until_a_person_goes_on() -> None:
    plan = make_plan(steps=(Step(10, FIVE, approve=True), Step(50, FIVE)))
    world = World(plan, rps=100)
    world.on_call = at_time(world, 900, lambda: world.requests.append(events.Requested("resume", "ops")))
    release = carry_out(world)
    assert release.phase is Phase.PROMOTED
    assert any(isinstance(e, events.Paused) for e in world.journal)
    assert world.time > 900


@pytest.mark.parametrize("kind", ["both arms break the absolute guard", "stable stays down"])
def test_trouble_that_is_not_the_canarys_holds_five_minutes_at_most(kind: str) -> None:
    """Catches a hold without an end: users would stay on the canary for ever."""
    shared = kind.startswith("both")
    plan = make_plan(steps=(Step(10, timedelta(minutes=30)),))
    world = World(plan, rps=100, error_rate=lambda s, r, at: 0.4 if shared and at > 60 else 0.0)

    def look(name: str) -> None:
        assert world.time < 1200, "still held"
        if not shared and name == "workload.inspect" and 60 < world.time < 600:
            world.kill("miniapp", Arm.STABLE)

    world.on_call = look
    release = carry_out(world)
    assert release.outcome is not None
    assert (release.outcome.verdict, release.outcome.reason) == (Verdict.INCONCLUSIVE, "environment")
    assert "not the canary's fault" in release.outcome.sentence
    assert world.time < 60 + 6 * 60 + 60
    assert world.weight == 0


def test_bake_clock_stands_while_stable_is_down() -> None:
    def baked_after(seconds: float, *, down: bool) -> float:
        world = World(make_plan(steps=(Step(10, timedelta(minutes=30)),)), rps=100)

        def look(name: str) -> None:
            if down and name == "workload.inspect" and 60 < world.time < 160:
                world.kill("miniapp", Arm.STABLE)

        world.on_call = look
        release = Release()
        release.apply(started(world.plan))
        runner = Runner(release, world.ports())
        while world.time < seconds:
            command = next_command(release)
            assert command is not None
            runner.carry_out(command)
        return release.evidence.baked

    assert baked_after(300, down=False) - baked_after(300, down=True) == pytest.approx(100, abs=6)


def test_pass_of_a_suite_that_was_begun_at_another_weight_does_not_count() -> None:
    release = Release()
    release.apply(started(make_plan()))
    release.weight = 50
    for verdict, weight, counts in ((Verdict.PASS, 10, False), (Verdict.PASS, 50, True), (Verdict.FAIL, 10, True)):
        release.phase, release.checked = Phase.BAKING, None
        result = SuiteResult("canary", Arm.CANARY, weight, verdict, "planted")
        release.apply(events.SuiteRan(result))
        assert (release.checked is result) is counts


def test_every_wait_is_bounded_when_the_environment_stays_broken() -> None:
    world = World(make_plan(steps=(Step(10, timedelta(minutes=30)),)), rps=100)

    def deaf(name: str) -> None:
        if name == "source.sample" and 60 < world.time < 3600:
            from onlyvips_release.errors import Unavailable  # noqa: PLC0415

            raise Unavailable("planted: the source is down")

    world.on_call = deaf
    release = carry_out(world)
    assert release.outcome is not None
    assert (release.outcome.verdict, release.outcome.reason) == (Verdict.INCONCLUSIVE, "environment")
    assert world.time < 60 + 6 * 60
