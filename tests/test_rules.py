"""What the core owes every target: one rule a test, on a simulated target of the kind that needs it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release, fold
from onlyvips_release.core.model import Arm, Instance, Percent, Verdict
from onlyvips_release.core.plan import Accept, Step
from onlyvips_release.errors import NotConfirmed, NotReady, TargetError
from onlyvips_release.runner import Runner
from tests.testing.crash_world import (
    Point,
    all_on,
    begin,
    carry_out,
    first,
    good,
    nothing_left,
    rebooted,
    started,
    take_over,
)
from tests.testing.plans import make_plan
from tests.testing.simulated_ports import SimProber
from tests.testing.simulation import Traits, World

IN_PLACE = Traits(in_place=True)
SCALES = Traits(in_place=True, scales=True, names_revision=False)


def fails_once(world: World, call: str, error: TargetError) -> None:
    """This call fails the first time."""
    failed: list[str] = []

    def fail(name: str) -> None:
        if name == call and not failed:
            failed.append(name)
            raise error

    world.on_call = fail


def names(world: World) -> list[str]:
    """Of the journalled events."""
    return [type(event).__name__ for event in world.journal]


def weights(world: World) -> list[Percent]:
    """In force, in order."""
    return [event.weight for event in world.journal if isinstance(event, events.Shifted)]


# --- 1: between the point of no return and the promotion --------------------------------------------------------------


@pytest.mark.parametrize("traits", [Traits(), IN_PLACE], ids=["swapped", "in place"])
def test_way_back_behind_committed_replaces_stable_and_leaves_users_on_the_canary_track(traits: Traits) -> None:
    """Starting the old revision in the canary track would take it away from all users."""
    world, calls = good(traits), list[str]()
    fails_once(world, "workload.promote miniapp", NotReady("miniapp: planted"))
    fail = world.on_call
    world.on_call = lambda name: (calls.append(name), fail(name))[1]  # type: ignore[func-returns-value]
    release = carry_out(world)
    back = calls[calls.index("journal.append RollbackStarted") :]
    assert not [call for call in back if call.startswith("workload.start_canary")]
    assert back.index("workload.promote miniapp") < back.index("workload.remove_canary miniapp")
    assert (release.phase, release.finished and release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert all_on(world, "v1")


def test_guardian_watches_also_while_stable_is_replaced() -> None:
    world, watched = good(IN_PLACE), list[int]()
    world.on_call = lambda name: watched.append(world.guarded) if name == "workload.stopped miniapp" else None
    carry_out(world)
    assert watched == [world.fence]


def test_canary_track_that_cannot_be_had_behind_committed_is_not_waited_for() -> None:
    world = good(IN_PLACE)
    point = Point()
    world.on_call = lambda name: stop_at(name, "workload.stopped backend-api")
    with pytest.raises(KeyboardInterrupt):
        begin(world, point)
    rebooted(world)
    world.on_call = lambda name: None
    world.never_ready = {"backend-api", "miniapp"}
    release = take_over(world, "recover", Point())
    assert release is not None
    unconfirmed = [event.what for event in world.journal if isinstance(event, events.Unconfirmed)]
    assert [what.startswith("the canary track does not answer: ") for what in unconfirmed] == [True]
    assert (release.phase, release.finished and release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert all_on(world, "v1")


def stop_at(name: str, wanted: str) -> None:
    """End the process there."""
    if name == wanted:
        raise KeyboardInterrupt


# --- 2: in place ------------------------------------------------------------------------------------------------------


def test_stable_is_emptied_before_its_instances_are_stopped() -> None:
    world, pointed = good(IN_PLACE), list[dict[str, int]]()

    def look(name: str) -> None:
        if name.startswith("workload.stopped") and "bot" not in name:
            pointed.append({service: len(where) for service, where in world.arms[Arm.STABLE].items() if where})

    world.on_call = look
    assert carry_out(world).phase is Phase.PROMOTED
    assert pointed == [{}, {}]
    assert world.cut == []


# --- 3: endpoints -----------------------------------------------------------------------------------------------------


def test_stable_that_came_back_at_another_address_is_pointed_at_and_noted() -> None:
    world = World(make_plan(), rps=100, traits=IN_PLACE)
    done: list[float] = []

    def move(name: str) -> None:
        if world.time > 60 and not done:
            done.append(world.time)
            world.kill("miniapp", Arm.STABLE)

    world.on_call = move
    release = carry_out(world)
    assert release.phase is Phase.PROMOTED
    assert any("points at where stable answers now" in note for note in release.noted)


def test_take_over_points_at_where_stable_answers_now() -> None:
    world = good(IN_PLACE)
    world.on_call = lambda name: stop_at(name, "journal.append CanaryStarted")
    with pytest.raises(KeyboardInterrupt):
        begin(world, Point())
    world.on_call = lambda name: None
    rebooted(world)
    take_over(world, "recover", Point())
    assert all_on(world, "v1")
    assert not world.unanswered()


# --- 4: readiness and restarts, not identity --------------------------------------------------------------------------


def instance(number: int, **changes: object) -> Instance:
    """A canary instance."""
    found = Instance("miniapp", Arm.CANARY, "v2", f"pod {number}", alive=True)
    return replace(found, **changes)  # type: ignore[arg-type]  # by field name


@pytest.mark.parametrize(
    ("now", "fault"),
    [
        pytest.param((instance(1), instance(2)), "", id="both are there"),
        pytest.param((instance(2),), "", id="one was taken, another is ready"),
        pytest.param((instance(3),), "", id="replaced by another pod"),
        pytest.param((), "no other instance is ready", id="the last one is gone"),
        pytest.param((instance(1, alive=False, note="exited"), instance(2)), "exited", id="one exited"),
        pytest.param((instance(1, restarts=1), instance(2)), "was restarted", id="one was restarted"),
        pytest.param((instance(3, restarts=1),), "was restarted", id="a process started again in its slot"),
        pytest.param((instance(1, ready=False), instance(2)), "", id="one is not ready, another is"),
        pytest.param((instance(1, ready=False), instance(2, ready=False)), "is not ready", id="none is ready"),
    ],
)
def test_hard_gate_asks_for_readiness_and_restarts_not_for_identity(now: tuple[Instance, ...], fault: str) -> None:
    from onlyvips_release.core.policy import lost  # noqa: PLC0415 - the one function under test

    found = lost((instance(1), instance(2)), now)
    assert bool(found) == bool(fault)
    assert fault in found


def test_canary_that_runs_another_image_than_the_one_that_was_started_fails() -> None:
    from onlyvips_release.core.policy import lost  # noqa: PLC0415 - as above

    assert "another image" in lost((instance(1, image="sha256:a"),), (instance(1, image="sha256:b"),))


def test_stable_that_scales_while_it_is_watched_is_only_noted() -> None:
    world = good(SCALES)
    release = carry_out(world)
    assert release.phase is Phase.PROMOTED
    assert any("is gone, others are ready" in note for note in release.noted)


# --- 5: inspect before probing ----------------------------------------------------------------------------------------


def test_canary_that_the_target_knows_to_be_gone_is_not_probed_first() -> None:
    """A paused container answers no probe: waiting for it would cost its users five seconds."""
    world, probed = World(make_plan(), rps=100), list[float]()

    def kill(name: str) -> None:
        if name == "workload.inspect" and world.time > 60:
            world.kill("miniapp", Arm.CANARY)
        if name == "prober.probe" and world.time > 60 and "RollbackStarted" not in names(world):
            probed.append(world.time)

    world.on_call = kill
    release = carry_out(world)
    assert release.outcome is not None
    assert release.outcome.reason == "hard_gate"
    assert probed == []


# --- 6: exit 3 needs proof --------------------------------------------------------------------------------------------


def test_rollback_whose_stable_never_answers_is_exit_4() -> None:
    world = World(make_plan(), rps=100, error_rate=lambda s, r, at: float(r == "v2"))

    def break_stable(name: str) -> None:
        if "RollbackStarted" in names(world) and name == "prober.probe":
            world.kill("miniapp", Arm.STABLE)

    world.on_call = break_stable
    release = carry_out(world)
    assert release.weight == 0
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLING_BACK, 4)


@pytest.mark.parametrize(("answers", "code"), [(True, 3), (False, 4)], ids=["stable answers", "stable does not"])
def test_lost_claim_is_exit_3_only_with_stable_proven(answers: bool, code: int) -> None:
    world = World(make_plan(), rps=100)

    def lose(name: str) -> None:
        if world.time > 60 and world.fence == 1:
            world.fence, world.weight = 2, 0
        if world.fence == 2 and not answers:
            world.kill("miniapp", Arm.STABLE)

    world.on_call = lose
    release = carry_out(world)
    assert release.finished is not None
    assert release.finished.exit == code


def test_lost_claim_behind_committed_is_exit_4_while_users_are_on_the_new_revision() -> None:
    world = good(Traits())

    def lose(name: str) -> None:
        if name == "journal.append Promoted":
            world.fence += 1

    world.on_call = lose
    release = carry_out(world)
    assert release.finished is not None
    assert release.finished.exit == 4


def test_second_signal_in_a_rollback_without_proof_is_exit_4() -> None:
    release = Release()
    for event in (
        started(make_plan()),
        events.RollbackStarted("planted"),
        events.Shifted(0, "", 1.0, proven=False),
    ):
        release.apply(event)
    from onlyvips_release.core.outcome import ending  # noqa: PLC0415 - the one function under test

    assert ending(release).exit == 4
    release.apply(events.Shifted(0, "", 1.0, proven=True))
    assert ending(release).exit == 3


def test_router_that_names_no_revision_needs_a_ready_instance_of_it() -> None:
    from onlyvips_release.core.proof import prove  # noqa: PLC0415 - the one function under test

    world = World(make_plan(), traits=Traits(names_revision=False))
    wanted = {service.name: "v1" for service in world.plan.routed}
    probes = SimProber(world).probe(Arm.STABLE, 1)
    instances = [i for mine in world.instances.values() for i in mine]
    prove(probes, instances, Arm.STABLE, wanted)
    with pytest.raises(NotReady, match="no instance of v1 is ready"):
        prove(probes, [i for i in instances if i.service != "miniapp"], Arm.STABLE, wanted)
    with pytest.raises(NotReady, match="no instance of v9 is ready"):
        prove(probes, instances, Arm.STABLE, dict.fromkeys(wanted, "v9"))


# --- 7: a reboot behind the point of no return ------------------------------------------------------------------------


@pytest.mark.parametrize("traits", [Traits(), IN_PLACE], ids=["swapped", "in place"])
def test_reboot_behind_committed_starts_what_users_are_on_first(traits: Traits) -> None:
    world, calls = good(traits), list[str]()
    world.on_call = lambda name: stop_at(name, "workload.promote backend-api")
    with pytest.raises(KeyboardInterrupt):
        begin(world, Point())
    rebooted(world)
    world.on_call = calls.append
    take_over(world, "recover", Point())
    acts = [call for call in calls if call.startswith(("workload.start_canary", "workload.revive", "workload.promote"))]
    assert acts[0].startswith("workload.start_canary")
    assert all_on(world, "v1")


# --- 8: first installation --------------------------------------------------------------------------------------------


def test_first_installation_serves_nobody_before_its_smoke_suite_passed() -> None:
    world, served = first(Traits()), list[str]()

    def look(name: str) -> None:
        where = [arm for arm in Arm for s in world.plan.routed if world.share(arm) and world.where(arm, s.name)]
        if where and "BakePassed" not in names(world):
            served.append(name)

    world.on_call = look
    release = begin(world, Point())
    assert served == []
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.PROMOTED, 0)
    assert all_on(world, "v2")
    assert release.finished.sentence.startswith("INSTALLED")


def test_first_installation_whose_smoke_suite_fails_removes_everything_and_is_exit_3() -> None:
    world = first(Traits())
    world.smoke = lambda request: Verdict.FAIL
    release = begin(world, Point())
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert nothing_left(world)


# --- what else the targets bring --------------------------------------------------------------------------------------


def test_canary_is_sized_before_a_shift_to_more_than_it_was_sized_for() -> None:
    plan = make_plan(steps=(Step(10, timedelta(minutes=1)), Step(50, timedelta(minutes=1))))
    plan = replace(plan, accept=Accept.NO_EVIDENCE_OF_HARM)
    world = World(plan, rps=100)
    assert carry_out(world).phase is Phase.PROMOTED
    sized: Percent = 0
    for event in world.journal:
        sized = event.weight if isinstance(event, events.CanaryStarted) else sized
        assert not isinstance(event, events.Shifted) or event.weight <= sized
    assert [e.weight for e in world.journal if isinstance(e, events.CanaryStarted)] == [10, 50, 100]


def test_growing_the_canary_leaves_users_where_they_are() -> None:
    plan = make_plan(steps=(Step(10, timedelta(minutes=1)), Step(50, timedelta(minutes=1))))
    world, seen = World(replace(plan, accept=Accept.NO_EVIDENCE_OF_HARM), rps=100), list[Percent]()
    world.on_call = lambda name: seen.append(world.weight) if name.startswith("workload.start_canary") else None
    assert carry_out(world).phase is Phase.PROMOTED
    assert set(seen) == {0, 10, 50}


def test_control_plane_that_is_away_in_a_bake_holds_the_weight_and_the_release_goes_on() -> None:
    world = World(make_plan(), rps=100, traits=Traits(in_place=True, away=(100.0, 220.0)))
    release = carry_out(world)
    assert release.phase is Phase.PROMOTED
    assert weights(world) == [10, 100, 0]
    assert world.cut == []


def test_one_act_replaces_routed_and_unrouted_services_together_behind_committed() -> None:
    world, promoted = good(Traits(in_place=True, one_act=True)), list[list[str]]()
    release = begin(world, Point())
    assert release.phase is Phase.PROMOTED
    promoted = [sorted(e.revisions) for e in world.journal if isinstance(e, events.Replaced)]
    assert promoted == [["backend-api", "flirt-bot", "miniapp"]]
    assert all_on(world, "v2")


def test_promotion_that_cannot_be_cleaned_up_does_not_take_users_back() -> None:
    world = good(Traits())
    fails_once(world, "workload.remove_canary miniapp", NotConfirmed("planted"))
    release = carry_out(world)
    assert release.phase is Phase.PROMOTED
    assert "RollbackStarted" not in names(world)
    assert all_on(world, "v2")


@pytest.mark.parametrize("what", ["pause", "promote"])
def test_request_that_comes_before_the_bake_is_kept_and_obeyed(what: str) -> None:
    world = World(make_plan(), rps=100)
    asked: list[str] = []

    def ask(name: str) -> None:
        if name == "checks.start smoke canary" and not asked:
            asked.append(name)
            world.requests.append(events.Requested(what, "ops"))
        if world.time > 900:
            world.requests.append(events.Requested("abort", "ops"))

    world.on_call = ask
    release = carry_out(world)
    if what == "pause":
        assert "Paused" in names(world)
    else:
        assert release.phase is Phase.PROMOTED
        assert release.outcome is not None
        assert release.outcome.reason == "promoted_by_a_person"


def test_first_tick_after_a_shift_waits_for_what_the_source_is_behind() -> None:
    world = World(make_plan(), rps=100)
    ports = world.ports()
    ports.source.lag = 30.0  # type: ignore[misc]  # the simulated source can be given one
    release = Release()
    runner = Runner(release, ports)
    shifted: list[float] = []
    sampled: list[float] = []
    runner.on_event = lambda event: (
        shifted.append(world.time)
        if isinstance(event, events.Shifted)
        else sampled.append(world.time)
        if isinstance(event, events.Sampled)
        else None
    )
    runner.record(started(world.plan))
    runner.run()
    assert sampled[0] - shifted[0] == pytest.approx(30.0, abs=1.0)


def test_what_a_tick_showed_is_in_the_journal_and_folds_to_the_same_hard_gate() -> None:
    world = World(make_plan(), rps=100)

    def kill(name: str) -> None:
        if world.time > 60:
            world.kill("miniapp", Arm.CANARY)

    world.on_call = kill
    release = carry_out(world)
    again = fold(world.journal)
    assert again.observed == release.observed
    assert again.outcome == release.outcome
    assert again.outcome is not None
    assert again.outcome.reason == "hard_gate"


def test_observation_is_recorded_only_where_it_is_not_as_before() -> None:
    world = World(make_plan(), rps=100)
    carry_out(world)
    assert names(world).count("Observed") <= 4
    assert names(world).count("Sampled") > 100
