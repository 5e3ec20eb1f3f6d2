"""What keeps users safe in a release, one rule a test: gates, proof, signals, persons, a full disk, a take-over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import TypeVar

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release, fold
from onlyvips_release.core.model import Arm, Endpoint, Instance, Percent, Probe, SuiteResult, Verdict
from onlyvips_release.core.plan import Accept, OnInconclusive, ReleasePlan, Step
from onlyvips_release.core.policy import after_takeover
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.core.proof import is_right, moved, prove
from onlyvips_release.errors import Interrupted, JournalError, NotConfirmed, NotReady, Unavailable
from onlyvips_release.runner import Runner
from tests.testing.crash_world import Point, all_on, begin, carry_out, good, rebooted, regretted, started, take_over
from tests.testing.plans import make_plan, service
from tests.testing.simulated_ports import SimChecks, SimLease, SimProber, SimRun
from tests.testing.simulation import Traits, World

MINUTE = timedelta(minutes=1)
Kind = TypeVar("Kind")
Change = Callable[[World, Arm, Probe], Probe]


def names(world: World) -> list[str]:
    """Of the journalled events."""
    return [type(event).__name__ for event in world.journal]


def of_kind(world: World, kind: type[Kind]) -> list[Kind]:
    """All events of one kind."""
    return [event for event in world.journal if isinstance(event, kind)]


def weights(world: World) -> list[Percent]:
    """In force, in order."""
    return [event.weight for event in of_kind(world, events.Shifted)]


def promoted(world: World) -> bool:
    """Whether it has come so far."""
    return "Promoted" in names(world)


@dataclass
class ChangedProber(SimProber):
    """What the router answers to pinned requests, changed by a test; counts the requests asked for."""

    change: Change = lambda world, arm, probe: probe
    asked: tuple[int, ...] = ()

    def probe(self, arm: Arm | None, count: int) -> tuple[Probe, ...]:
        """As the world answers, then changed."""
        self.asked = (*self.asked, count)
        return tuple(self.change(self.world, arm or Arm.STABLE, probe) for probe in super().probe(arm, count))


def carry_out_with(world: World, change: Change) -> tuple[Release, ChangedProber]:
    """One release whose pinned answers are changed."""
    release, prober = Release(), ChangedProber(world, change=change)
    runner = Runner(release, replace(world.ports(), prober=prober))
    runner.record(started(world.plan))
    return runner.run(), prober


def ended(release: Release, phase: Phase, code: int) -> bool:
    """Whether it ended so."""
    return (release.phase, release.finished and release.finished.exit) == (phase, code)


# --- hard gates in the bake -------------------------------------------------------------------------------------------


def failing(times: int, *, again: bool = False) -> Change:
    """The canary's health request fails so often in a row from the second minute on; `again`: after one that passes."""
    left = [times] * (2 if again else 1)

    def change(world: World, arm: Arm, probe: Probe) -> Probe:
        if arm is Arm.CANARY and probe.service == "miniapp" and 60 < world.time < 300 and left:
            if left[0] == 0:
                left.pop(0)
                return probe
            left[0] -= 1
            return replace(probe, status=503)
        return probe

    return change


def test_three_failed_health_requests_in_a_row_end_a_bake() -> None:
    world = World(make_plan(), rps=100)
    release, _ = carry_out_with(world, failing(3))
    assert release.outcome is not None
    assert (release.outcome.reason, release.outcome.final) == ("hard_gate", True)
    assert "3 times in a row (HTTP 503)" in release.outcome.sentence
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert all_on(world, "v1")


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice, with a good one between"])
def test_two_failed_health_requests_in_a_row_are_forgiven(again: bool) -> None:
    release, _ = carry_out_with(World(make_plan(), rps=100), failing(2, again=again))
    assert ended(release, Phase.PROMOTED, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"revision": "v1"}, id="another revision"),
        pytest.param({"arm": "stable"}, id="the other arm"),
        pytest.param({"claim": "v1"}, id="the app claims another revision"),
    ],
)
def test_pinned_answer_from_the_wrong_place_ends_a_bake_at_once(wrong: dict[str, str]) -> None:
    def change(world: World, arm: Arm, probe: Probe) -> Probe:
        return replace(probe, **wrong) if world.time > 60 and arm is Arm.CANARY else probe  # type: ignore[arg-type]

    world = World(make_plan(), rps=100)
    release, _ = carry_out_with(world, change)
    assert release.outcome is not None
    assert release.outcome.reason == "hard_gate"
    assert world.time < 75
    assert all_on(world, "v1")


# --- proof ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"status": 503}, id="it does not answer"),
        pytest.param({"revision": "v1"}, id="another revision answers"),
        pytest.param({"arm": "stable"}, id="the other arm answers"),
    ],
)
def test_canary_that_is_not_proven_gets_no_users(wrong: dict[str, object]) -> None:
    def change(world: World, arm: Arm, probe: Probe) -> Probe:
        return replace(probe, **wrong) if arm is Arm.CANARY else probe  # type: ignore[arg-type]

    world = World(make_plan(), rps=100)
    release, _ = carry_out_with(world, change)
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert not any(weights(world))
    assert not of_kind(world, events.CanaryStarted)
    assert not [e for e in of_kind(world, events.SuiteRan) if e.result.arm is Arm.CANARY]


def test_stable_that_is_not_proven_lets_nothing_start() -> None:
    world, calls = World(make_plan(), rps=100), list[str]()
    world.on_call = calls.append

    def change(world: World, arm: Arm, probe: Probe) -> Probe:
        return replace(probe, status=503) if arm is Arm.STABLE and "RollbackStarted" not in names(world) else probe

    release, _ = carry_out_with(world, change)
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert not [call for call in calls if call.startswith("workload.start_canary")]


def test_new_stable_that_is_not_proven_is_taken_back_while_users_are_on_the_canary_track() -> None:
    def change(world: World, arm: Arm, probe: Probe) -> Probe:
        wrong = arm is Arm.STABLE and "Committed" in names(world) and probe.revision == "v2"
        return replace(probe, status=503) if wrong else probe

    world, unanswered = World(make_plan(), rps=100), set[str]()
    world.on_call = lambda name: unanswered.add(world.unanswered())
    release, _ = carry_out_with(world, change)
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert not promoted(world)
    assert unanswered == {""}
    assert all_on(world, "v1")


def test_arm_is_proven_by_as_many_requests_as_its_prober_needs_and_probed_by_one() -> None:
    world = World(make_plan(), rps=100)
    _, prober = carry_out_with(world, lambda world, arm, probe: probe)
    assert set(prober.asked) == {1, prober.proof}
    assert prober.asked[:2] == (prober.proof, prober.proof)


def arm_of(revision: str | None = "v2", **changes: object) -> tuple[Probe, ...]:
    """Pinned answers of two services."""
    fine = Probe("a", 200, Arm.CANARY, revision), Probe("b", 200, Arm.CANARY, "w2" if revision else None)
    return (replace(fine[0], **changes), fine[1])  # type: ignore[arg-type]


WANTED = {"a": "v2", "b": "w2"}
RUNNING = [Instance(name, Arm.CANARY, revision, name, alive=True) for name, revision in WANTED.items()]


@pytest.mark.parametrize(
    ("probes", "instances", "why"),
    [
        pytest.param(arm_of(), RUNNING, "", id="both are right"),
        pytest.param(arm_of(None), RUNNING, "", id="the router names none, the target runs it"),
        pytest.param((), RUNNING, "a, b: no pinned request was made", id="no probe at all"),
        pytest.param(arm_of()[:1], RUNNING, "b: no pinned request was made", id="one service was not probed"),
        pytest.param(arm_of(status=503), RUNNING, "failed (HTTP 503)", id="it failed"),
        pytest.param(arm_of(status=404), RUNNING, "failed (HTTP 404)", id="not found is no proof"),
        pytest.param(arm_of(status=None, error="TimeoutError"), RUNNING, "failed (TimeoutError)", id="no answer"),
        pytest.param(arm_of("w2"), RUNNING, "not answered by v2", id="another service's revision"),
        pytest.param(arm_of(arm="stable"), RUNNING, "the router names stable", id="the other arm"),
        pytest.param(arm_of(arm=""), RUNNING, "the router names no arm", id="no arm"),
        pytest.param(arm_of(claim="v1"), RUNNING, "the app claims v1", id="the app claims another one"),
        pytest.param(arm_of(claim=""), RUNNING, "the app claims", id="the app claims nothing"),
        pytest.param(arm_of(claim="v2"), RUNNING, "", id="the app claims the same"),
        pytest.param(arm_of(), RUNNING[1:], "a: no instance of v2 is ready", id="not there"),
        pytest.param(arm_of(), [replace(RUNNING[0], ready=False), RUNNING[1]], "a: no instance", id="not ready"),
        pytest.param(arm_of(), [replace(RUNNING[0], alive=False), RUNNING[1]], "a: no instance", id="dead"),
        pytest.param(arm_of(), [replace(RUNNING[0], revision="w2"), RUNNING[1]], "a: no instance", id="runs another"),
    ],
)
def test_arm_is_proven_by_every_pinned_answer_and_by_what_the_target_runs(
    probes: tuple[Probe, ...], instances: list[Instance], why: str
) -> None:
    if not why:
        prove(probes, instances, Arm.CANARY, WANTED)
        return
    with pytest.raises(NotReady) as raised:
        prove(probes, instances, Arm.CANARY, WANTED)
    assert why in str(raised.value)


def test_answer_is_right_only_for_its_own_service() -> None:
    assert is_right(Probe("a", 200, Arm.CANARY, "v2"), Arm.CANARY, WANTED)
    assert not is_right(Probe("a", 200, Arm.CANARY, "w2"), Arm.CANARY, WANTED)


HERE, THERE = Endpoint("127.0.0.1", 1, "v1"), Endpoint("127.0.0.1", 2, "v1")


@pytest.mark.parametrize(
    ("written", "alive", "found"),
    [
        pytest.param([HERE], [HERE], {}, id="as written"),
        pytest.param([HERE], [THERE], {"a": [THERE]}, id="elsewhere"),
        pytest.param([HERE], [HERE, THERE], {"a": [HERE, THERE]}, id="one more"),
        pytest.param([HERE, THERE], [THERE, HERE], {}, id="another order"),
        pytest.param([HERE], [], {}, id="all dead: the arm stays as it is"),
        pytest.param([], [HERE], {"a": [HERE]}, id="not pointed at yet"),
    ],
)
def test_arm_whose_instances_answer_elsewhere_is_pointed_there(
    written: list[Endpoint], alive: list[Endpoint], found: dict[str, list[Endpoint]]
) -> None:
    there = [Instance("a", Arm.STABLE, "v1", str(e.port), alive=True, endpoint=e) for e in alive]
    dead = Instance("a", Arm.STABLE, "v1", "dead", alive=False, endpoint=Endpoint("127.0.0.1", 9, "v1"))
    assert moved({"a": written}, [*there, dead]) == found


# --- the end of a bake ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.FAIL])
def test_canary_checks_that_do_not_pass_promote_nobody(verdict: Verdict) -> None:
    world = World(make_plan(patience=MINUTE), rps=100)
    world.smoke = lambda request: verdict if request.name == "canary" else Verdict.PASS
    release = carry_out(world)
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert release.outcome is not None
    assert (release.outcome.verdict, release.outcome.reason) == (verdict, "canary_checks")
    assert all_on(world, "v1")


def test_last_run_of_the_canary_checks_counts() -> None:
    plan = make_plan(patience=timedelta(minutes=20))
    world, ran = World(plan, rps=100), list[float]()

    def smoke(request: SuiteRequest) -> Verdict:
        if request.name != "canary":
            return Verdict.PASS
        ran.append(world.time)
        return Verdict.INCONCLUSIVE if len(ran) == 1 else Verdict.PASS

    world.smoke = smoke
    assert carry_out(world).phase is Phase.PROMOTED
    every = plan.canary.every
    assert every is not None
    assert [round(b - a) for a, b in pairwise(ran)] == pytest.approx([every.total_seconds()] * (len(ran) - 1), abs=3)
    assert len(ran) >= 2


class SlowChecks(SimChecks):
    """Canary checks that never end; how many run at once."""

    running = 0
    most = 0

    def start(self, request: SuiteRequest) -> SimRun:
        """Begin."""
        if request.name != "canary":
            return super().start(request)
        self.running += 1
        self.most = max(self.most, self.running)
        return Endless(self)


class Endless(SimRun):
    """A suite that is under way."""

    def __init__(self, checks: SlowChecks) -> None:
        self.checks = checks

    def poll(self) -> SuiteResult | None:
        """Not yet."""
        return None

    def stop(self) -> None:
        """Ended."""
        self.checks.running -= 1


def test_canary_checks_never_run_twice_at_once_nobody_is_promoted_without_them_and_none_outlives_its_release() -> None:
    world = World(make_plan(), rps=100)
    world.on_call = lambda name: world.requests.append(events.Requested("abort", "ops")) if world.time > 1500 else None
    checks, release = SlowChecks(world), Release()
    runner = Runner(release, replace(world.ports(), checks=checks))
    runner.record(started(world.plan))
    runner.run()
    assert (checks.most, checks.running) == (1, 0)
    assert not promoted(world)
    assert ended(release, Phase.ROLLED_BACK, 3)


def test_bake_is_held_in_full() -> None:
    world = World(make_plan(), rps=1000)
    carry_out(world)
    at = {type(event).__name__: n for n, event in enumerate(world.journal)}
    ticks = [e.tick for e in world.journal[: at["BakePassed"]] if isinstance(e, events.Sampled)]
    held = (ticks[-1] - ticks[0] - 1) * world.plan.judge.tick.total_seconds()
    assert held >= 300


@pytest.mark.parametrize("rps", [0.0, 3.0], ids=["nobody came", "too few came"])
def test_undecided_end_pauses_where_the_plan_wants_it_after_its_patience(rps: float) -> None:
    plan = make_plan(on_inconclusive=OnInconclusive.PAUSE, patience=MINUTE)
    world = World(plan, rps=rps, seed=1)
    world.on_call = lambda name: world.requests.append(events.Requested("abort", "ops")) if world.time > 600 else None
    carry_out(world)
    ticks = [e.tick for e in world.journal[: names(world).index("Paused")] if isinstance(e, events.Sampled)]
    held = (ticks[-1] - ticks[0] - 1) * plan.judge.tick.total_seconds()
    assert held >= 360


# --- after the promotion ----------------------------------------------------------------------------------------------


def watching(**changes: object) -> World:
    """A release with a long watch."""
    return World(make_plan(watch=timedelta(minutes=2), **changes), rps=100)


def test_smoke_tests_that_fail_on_the_new_stable_take_everybody_back() -> None:
    world = watching()
    world.smoke = lambda request: (
        Verdict.FAIL if promoted(world) and (request.name, request.arm) == ("smoke", Arm.STABLE) else Verdict.PASS
    )
    release = carry_out(world)
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert release.finished is not None
    assert "smoke tests on the new stable" in release.finished.sentence
    assert all_on(world, "v1")


def test_instance_of_the_new_stable_that_dies_takes_everybody_back() -> None:
    world, killed = watching(), list[float]()

    def kill(name: str) -> None:
        if promoted(world) and name == "source.sample" and not killed:
            killed.append(world.time)
            world.kill("miniapp", Arm.STABLE)

    world.on_call = kill
    release = carry_out(world)
    assert killed
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert release.finished is not None
    assert "new stable" in release.finished.sentence
    assert all_on(world, "v1")


def test_restore_puts_the_old_revision_into_the_canary_track_before_users_go_there() -> None:
    world, unanswered = watching(), set[str]()
    world.error_rate = lambda name, revision, at: float(revision == "v2" and promoted(world))
    world.on_call = lambda name: unanswered.add(world.unanswered())
    release = carry_out(world)
    assert unanswered == {""}
    assert ended(release, Phase.ROLLED_BACK, 3)
    back = world.journal[names(world).index("RollbackStarted") :]
    order = [type(event).__name__ for event in back if isinstance(event, events.CanaryStarted | events.Shifted)]
    assert order == ["CanaryStarted", "Shifted", "Shifted"]
    assert all_on(world, "v1")


def test_watch_lasts_as_long_as_the_plan_says() -> None:
    world = watching()
    release = carry_out(world)
    assert release.watched is not None
    assert release.watched.verdict is Verdict.PASS
    ticks = [e.tick for e in world.journal[names(world).index("Promoted") :] if isinstance(e, events.Sampled)]
    assert (ticks[-1] - ticks[0] - 1) * world.plan.judge.tick.total_seconds() >= 120


def test_old_revision_stays_idle_while_the_new_one_is_watched() -> None:
    world, kept = watching(), set[tuple[str, ...]]()

    def look(name: str) -> None:
        if promoted(world) and name == "source.sample":
            mine = world.instances["miniapp"]
            kept.add(tuple(sorted(i.revision for i in mine if i.alive)))

    world.on_call = look
    carry_out(world)
    assert kept == {("v1", "v2")}
    assert all_on(world, "v2")


# --- services without traffic -----------------------------------------------------------------------------------------


def test_replaced_services_without_traffic_are_checked_before_the_point_of_no_return() -> None:
    world, calls = World(make_plan(), rps=100), list[str]()
    world.on_call = calls.append
    carry_out(world)
    late = calls[calls.index("workload.promote flirt-bot") : calls.index("journal.append Committed")]
    assert "checks.start smoke canary" in late


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_replaced_service_without_traffic_whose_check_does_not_pass_is_taken_back(verdict: Verdict) -> None:
    world = World(make_plan(), rps=100)
    world.smoke = lambda request: verdict if "Replaced" in names(world) else Verdict.PASS
    release = carry_out(world)
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert not release.committed
    assert all_on(world, "v1")


# --- what people ask --------------------------------------------------------------------------------------------------


def asking(world: World, *requests: tuple[float, str]) -> None:
    """Each is asked at its time."""
    left = list(requests)

    def ask(name: str) -> None:
        if left and world.time >= left[0][0]:
            world.requests.append(events.Requested(left.pop(0)[1], "ops", reason="tested"))

    world.on_call = ask


def test_person_pauses_and_resumes_a_bake_and_its_weight_is_held_meanwhile() -> None:
    world = World(make_plan(), rps=100)
    asking(world, (60.0, "pause"), (200.0, "resume"))
    release = carry_out(world)
    assert [name for name in names(world) if name in ("Paused", "Resumed")] == ["Paused", "Resumed"]
    assert ended(release, Phase.PROMOTED, 0)
    assert weights(world) == [10, 100, 0]
    paused = of_kind(world, events.Paused)[0]
    assert paused.why == "paused by ops (tested)"


def test_person_promotes_before_the_bake_is_over() -> None:
    world = World(make_plan(), rps=100)
    asking(world, (60.0, "promote"))
    release = carry_out(world)
    assert ended(release, Phase.PROMOTED, 0)
    assert release.outcome is not None
    assert release.outcome.reason == "promoted_by_a_person"
    assert world.time < 200


def test_person_promotes_from_any_step_and_from_a_pause() -> None:
    world = World(make_plan(steps=(Step(10, 5 * MINUTE), Step(50, 5 * MINUTE))), rps=100)
    asking(world, (60.0, "pause"), (90.0, "promote"))
    assert ended(carry_out(world), Phase.PROMOTED, 0)
    assert weights(world) == [10, 100, 0]


def test_nobody_promotes_while_the_environment_is_in_trouble() -> None:
    world = World(make_plan(), rps=100)
    asked: list[float] = []

    def down(name: str) -> None:
        if name == "source.sample" and world.time > 60:
            if world.time > 90 and not asked:
                asked.append(world.time)
                world.requests.append(events.Requested("promote", "ops"))
            raise Unavailable("planted: the source is down")

    world.on_call = down
    release = carry_out(world)
    assert asked
    assert release.phase is Phase.ROLLED_BACK


class AskingChecks(SimChecks):
    """An operator asks while the first suite runs."""

    what = "pause"

    def start(self, request: SuiteRequest) -> SimRun:
        """A suite that needs two seconds."""
        run = super().start(request)
        return Waiting(run.result, self.world, self.what) if request.name == "smoke" else run


class Waiting(SimRun):
    """Ends when its request was taken."""

    def __init__(self, result: SuiteResult, world: World, what: str) -> None:
        super().__init__(result)
        self.world, self.polls = world, 0
        if "Requested" not in names(world):
            world.requests.append(events.Requested(what, "ops"))

    def poll(self) -> SuiteResult | None:
        """Not at once."""
        self.polls += 1
        return self.result if self.polls > 40 else None


@pytest.mark.parametrize("what", ["pause", "promote"])
def test_request_that_was_taken_before_the_bake_is_obeyed_once_when_it_begins(what: str) -> None:
    world = World(make_plan(), rps=100)
    release, checks = Release(), AskingChecks(world)
    checks.what = what
    runner = Runner(release, replace(world.ports(), checks=checks))
    runner.record(started(world.plan))
    runner.upkeep.poll_due = 0.0
    world.on_call = lambda name: (
        world.requests.append(events.Requested("resume", "ops")) if paused_for_long(world) else None
    )
    runner.run()
    found = names(world)
    assert found.index("Requested") < found.index("SmokePassed")
    assert len([e for e in of_kind(world, events.Requested) if e.what == what]) == 1
    assert found.count("Paused") == (0 if what == "promote" else 1)
    assert ended(release, Phase.PROMOTED, 0)


def paused_for_long(world: World) -> bool:
    """Paused, nobody asked since, and a minute is over."""
    waits = "Paused" in names(world) and "Resumed" not in names(world) and not world.requests
    return waits and world.time > 60


def test_approved_step_goes_on_to_the_next_one() -> None:
    plan = make_plan(steps=(Step(10, 5 * MINUTE, approve=True), Step(50, 5 * MINUTE)))
    world = World(plan, rps=100)
    asking(world, (900.0, "resume"))
    assert ended(carry_out(world), Phase.PROMOTED, 0)
    assert weights(world) == [10, 50, 100, 0]
    assert len(of_kind(world, events.Paused)) == 1


def test_abort_is_obeyed_before_the_point_of_no_return_and_not_behind_it() -> None:
    world = World(make_plan(), rps=100)
    asking(world, (60.0, "abort"))
    release = carry_out(world)
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert release.finished is not None
    assert "aborted by ops (tested)" in release.finished.sentence

    late, asked = watching(), list[float]()

    def ask(name: str) -> None:
        if promoted(late) and not asked:
            asked.append(late.time)
            late.requests.append(events.Requested("abort", "ops"))

    late.on_call = ask
    assert ended(carry_out(late), Phase.PROMOTED, 0)
    assert asked
    assert all_on(late, "v2")


def test_abort_is_obeyed_while_a_suite_runs_and_the_suite_is_stopped() -> None:
    world = World(make_plan(), rps=100)

    class Long(SlowChecks):
        def start(self, request: SuiteRequest) -> SimRun:
            self.running += 1
            return Endless(self)

    checks, release = Long(world), Release()
    asking(world, (5.0, "abort"))
    runner = Runner(release, replace(world.ports(), checks=checks))
    runner.record(started(world.plan))
    runner.run()
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert checks.running == 0
    assert world.time < 30


# --- signals ----------------------------------------------------------------------------------------------------------


def interrupted(world: World, number: int, when: Callable[[str], bool]) -> None:
    """A signal each time that `when` holds."""

    def stop(name: str) -> None:
        if when(name):
            raise Interrupted(number)

    world.on_call = stop


def test_second_signal_ends_the_waiting_of_a_rollback() -> None:
    world, sent = World(make_plan(), rps=100), list[float]()

    def when(name: str) -> bool:
        first = not sent and world.time > 60 and name == "clock.sleep"
        second = len(sent) == 1 and "RollbackStarted" in names(world) and name == "workload.remove_canary miniapp"
        if first or second:
            sent.append(world.time)
        return first or second

    interrupted(world, 15, when)
    release = carry_out(world)
    assert len(sent) == 2
    assert ended(release, Phase.ROLLING_BACK, 143)
    assert release.weight == 0
    assert release.finished is not None
    assert "clean-up was left out" in release.finished.sentence


def test_first_signal_in_a_rollback_changes_nothing() -> None:
    world, sent = World(make_plan(), rps=100, error_rate=lambda s, r, at: float(r == "v2")), list[float]()

    def when(name: str) -> bool:
        first = not sent and "RollbackStarted" in names(world) and name == "workload.remove_canary miniapp"
        if first:
            sent.append(world.time)
        return first

    interrupted(world, 2, when)
    release = carry_out(world)
    assert ended(release, Phase.ROLLED_BACK, 130)
    assert all_on(world, "v1")


def test_signal_behind_the_point_of_no_return_finishes_the_promotion() -> None:
    world, sent = World(make_plan(), rps=100), list[float]()

    def when(name: str) -> bool:
        first = not sent and "Committed" in names(world) and name == "router.point"
        if first:
            sent.append(world.time)
        return first

    interrupted(world, 2, when)
    release = carry_out(world)
    assert ended(release, Phase.PROMOTED, 130)
    assert all_on(world, "v2")


# --- the router, the lease, the journal -------------------------------------------------------------------------------


def test_routes_are_brought_to_their_base_with_this_releases_pins_before_anything_is_proven() -> None:
    world, calls = World(make_plan(), rps=100), list[str]()
    world.on_call = calls.append
    carry_out(world)
    early = [call for call in calls[: calls.index("prober.probe")] if call.startswith("router.")]
    assert early[:2] == ["router.reset", "router.set_weight"]


def test_router_that_is_dead_when_the_weight_is_raised_is_started() -> None:
    world, died = World(make_plan(), rps=100), list[float]()

    def kill(name: str) -> None:
        if name == "router.set_weight" and not died and "SmokePassed" in names(world):
            died.append(world.time)
            world.router_up = False

    world.on_call = kill
    release = carry_out(world)
    assert died
    assert ended(release, Phase.PROMOTED, 0)


def test_safe_weights_are_prepared_and_a_guardian_watches_before_any_user_depends_on_the_canary() -> None:
    world, calls = World(make_plan(), rps=100), list[str]()
    world.on_call = calls.append
    carry_out(world)
    before = calls[: calls.index("journal.append CanaryStarted")]
    assert "router.prepare_safe_weights" in before
    assert before.index("router.prepare_safe_weights") < before.index("guardian.start")


def test_lease_runs_out_within_half_a_minute_of_a_hang_in_a_bake() -> None:
    world, left = World(make_plan(), rps=100), set[float]()

    def look(name: str) -> None:
        if name == "source.sample" and "Shifted" in names(world) and not promoted(world):
            left.add(world.deadline - world.time)

    world.on_call = look
    carry_out(world)
    assert min(left) > 20
    assert max(left) <= 30


def test_lease_covers_what_starting_and_stopping_instances_may_take() -> None:
    world, left = World(make_plan(), rps=100), dict[str, float]()

    def look(name: str) -> None:
        left.setdefault(name, world.deadline - world.time)

    world.on_call = look
    carry_out(world)
    for act in ("workload.start_canary miniapp", "workload.promote miniapp", "workload.remove_canary miniapp"):
        assert left[act] == 90, act


def test_lease_is_renewed_while_nothing_else_is_done() -> None:
    plan = replace(make_plan(), judge=replace(make_plan().judge, tick=MINUTE))
    world, left = World(plan, rps=100), list[float]()

    def look(name: str) -> None:
        if name == "clock.sleep" and "Sampled" in names(world) and not promoted(world):
            left.append(world.deadline - world.time)

    world.on_call = look
    carry_out(world)
    assert min(left) > 25


@pytest.mark.parametrize("safe", [0, 100])
def test_journal_that_cannot_be_written_is_confirmed_only_with_everybody_on_a_proven_stable(safe: int) -> None:
    """At safe weight 100 users are on the canary track: nothing is confirmed then."""
    world = World(make_plan(), rps=100)
    when = "journal.append Sampled" if safe == 0 else "journal.append Committed"

    def full(name: str) -> None:
        if name == when:
            raise JournalError("no space left")

    world.on_call = full
    with pytest.raises(NotConfirmed if safe else JournalError, match="no space left"):
        carry_out(world)
    assert world.weight == safe
    assert not world.unanswered()


def test_journal_that_cannot_be_written_while_stable_does_not_answer_is_not_confirmed() -> None:
    world = World(make_plan(), rps=100)

    def full(name: str) -> None:
        if name == "journal.append Sampled" and world.time > 60:
            world.kill("miniapp", Arm.STABLE)
            raise JournalError("no space left")

    world.on_call = full
    with pytest.raises(NotConfirmed) as raised:
        carry_out(world)
    assert "put 0 % in force by hand" in (raised.value.remedy or "")


# --- a take-over ------------------------------------------------------------------------------------------------------


def stopped(world: World, at: str) -> World:
    """A release whose controller was killed at this call."""

    def stop(name: str) -> None:
        if name == at:
            raise KeyboardInterrupt

    world.on_call = stop
    with pytest.raises(KeyboardInterrupt):
        begin(world, Point())
    world.holder_alive = False
    return world


@pytest.mark.parametrize("router", [True, False], ids=["router runs", "router is dead"])
@pytest.mark.parametrize(
    ("at", "safe"), [("source.sample", 0), ("workload.promote miniapp", 100)], ids=["in the bake", "behind Committed"]
)
def test_take_over_puts_the_safe_weight_in_force_before_anything_else(at: str, safe: int, router: bool) -> None:
    world = stopped(good(Traits()), at)
    world.weight, world.router_up = safe or 50, router
    calls = list[str]()
    in_force = dict[str, Percent]()

    def look(name: str) -> None:
        calls.append(name)
        in_force.setdefault(name, world.weight)

    world.on_call = look
    take_over(world, "recover", Point())
    acts = [name for name in calls if not name.startswith(("lease.", "workload.inspect"))]
    assert acts[0] == "router.set_weight"
    assert in_force["router.revive"] == safe
    assert not world.unanswered()


def test_take_over_after_a_reboot_starts_all_that_users_need_and_waits_until_it_answers() -> None:
    world = stopped(good(Traits()), "source.sample")
    rebooted(world)
    world.on_call = lambda name: None
    release = take_over(world, "recover", Point())
    assert release is not None
    assert ended(release, Phase.ROLLED_BACK, 3)
    assert world.router_up
    assert sum("was dead and was started again" in note for note in release.noted) == 4
    assert all_on(world, "v1")


def test_rollback_that_was_asked_for_is_carried_out_on_every_kind_of_target() -> None:
    for traits in (Traits(), Traits(in_place=True)):
        world = regretted(traits)
        release = begin(world, Point())
        assert ended(release, Phase.ROLLED_BACK, 0)
        assert all_on(world, "v1")


def test_no_evidence_of_harm_is_no_excuse_for_a_silent_canary() -> None:
    release = carry_out(World(quick(accept=Accept.NO_EVIDENCE_OF_HARM), rps=0))
    assert ended(release, Phase.ROLLED_BACK, 3)


def quick(**changes: object) -> ReleasePlan:
    """One service, one minute."""
    return make_plan(services=(service("miniapp", 1),), steps=(Step(10, MINUTE),), **changes)


def test_guardian_watches_the_replacement_of_stable_also_where_no_canary_track_can_be_had() -> None:
    world, guarded = stopped(good(Traits(in_place=True)), "workload.stopped backend-api"), list[bool]()
    rebooted(world)
    world.never_ready = {"backend-api", "miniapp"}
    world.on_call = lambda name: guarded.append(world.guarded == world.fence) if "workload.stopped" in name else None
    take_over(world, "recover", Point())
    assert guarded
    assert all(guarded[:2])
    assert all_on(world, "v1")


def test_journal_that_cannot_be_written_in_a_restore_is_not_confirmed_while_users_are_on_the_canary_track() -> None:
    world = watching()
    world.error_rate = lambda name, revision, at: float(revision == "v2" and promoted(world))

    def full(name: str) -> None:
        if name == "journal.append CanaryStarted" and "RollbackStarted" in names(world):
            raise JournalError("no space left")

    world.on_call = full
    with pytest.raises(NotConfirmed, match="no space left"):
        carry_out(world)
    assert world.weight == 100
    assert not world.unanswered()


def test_claim_that_is_lost_while_users_are_on_the_canary_is_exit_4() -> None:
    world = World(make_plan(), rps=100)

    def lose(name: str) -> None:
        if name == "source.sample" and world.time > 60 and world.fence == 1:
            world.fence = 2

    world.on_call = lose
    release = carry_out(world)
    assert release.finished is not None
    assert (release.finished.exit, world.weight) == (4, 10)


def test_take_over_waits_until_what_it_started_answers() -> None:
    world = stopped(good(Traits()), "source.sample")
    rebooted(world)
    world.on_call, began = (lambda name: None), world.time

    def late(world: World, arm: Arm, probe: Probe) -> Probe:
        return replace(probe, status=503) if world.time < began + 10 else probe

    release = fold(world.journal)
    prober = ChangedProber(world, change=late)
    lease = SimLease(world)
    lease.acquire("resume")
    runner, recorded = Runner(release, replace(world.ports_of(lease), prober=prober)), list[float]()
    runner.on_event = lambda event: recorded.append(world.time)
    runner.run(*after_takeover(release, events.Requested("resume", "ops")))
    assert recorded[0] >= began + 10
    assert ended(release, Phase.PROMOTED, 0)


@pytest.mark.parametrize(("seconds", "code"), [(40, 3), (80, 4)])
def test_rollback_that_fails_is_tried_again_for_a_minute(seconds: float, code: int) -> None:
    world, failed = World(make_plan(), rps=100, error_rate=lambda s, r, at: float(r == "v2")), list[float]()

    def refuse(name: str) -> None:
        if name == "router.set_weight" and "RollbackStarted" in names(world):
            failed.append(world.time)
            if world.time < failed[0] + seconds:
                raise NotConfirmed("planted")

    world.on_call = refuse
    release = carry_out(world)
    assert ended(release, Phase.ROLLED_BACK if code == 3 else Phase.ROLLING_BACK, code)
    assert world.time - failed[0] == pytest.approx(min(seconds, 60), abs=10)
