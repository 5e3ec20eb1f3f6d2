"""The verdict algebra: all that is known at one tick, the first rule that applies, the events that follow. Pure.

FAIL > INCONCLUSIVE > PASS, and PASS needs every part. Absence of evidence is never health. All of it is decided from
the folded release alone, so that a journal can be decided again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from onlyvips_release.core import events
from onlyvips_release.core.events import Event, Phase
from onlyvips_release.core.judge import SMOULDERING, Judgement
from onlyvips_release.core.lifecycle import FINAL, Release
from onlyvips_release.core.model import Arm, Instance, Probe, SuiteResult, Verdict
from onlyvips_release.core.outcome import ending
from onlyvips_release.core.plan import Accept, OnInconclusive
from onlyvips_release.core.proof import answer_of, is_right, wrong_answer
from onlyvips_release.core.reasons import Reason

ENVIRONMENT_BUDGET = timedelta(minutes=5)
"""How long a release may hold its weight in all because of trouble that is not the canary's."""

UNHEALTHY_AFTER = 3
"""Failed pinned health requests in a row that make a canary unhealthy."""

# --- one tick -----------------------------------------------------------------------------------------------------


def decide(release: Release) -> list[Event]:
    """The events that this tick leads to; empty = go on. A verdict that ends nothing is recorded once."""
    if release.phase is Phase.WATCHING:
        return [*notes(release), *_watching(release)]
    if release.waiting and release.phase is Phase.BAKING:
        return after_request(release, release.waiting)[1:]
    judged = against(release)
    if judged is None and release.phase is Phase.BAKING:
        judged = environment(release) or end_of_step(release)
    if judged is None or (not judged.final and judged.reason == release.reported):
        return notes(release)
    return [*notes(release), *consequences(release, judged)]


def against(release: Release) -> events.Judged | None:
    """Rules 2 to 5: what fails the canary."""
    seen = release.observed
    if seen and seen.weight is not None and release.weight is not None and seen.weight != release.weight:
        found = f"weight {seen.weight} % is in force, {release.weight} % was set: somebody else changed the routes"
        return events.Judged(Verdict.FAIL, Reason.INTERFERENCE, found, final=True)
    if sentence := hard_gate(release):
        return events.Judged(Verdict.FAIL, Reason.HARD_GATE, sentence, final=True)
    if release.checked and release.checked.verdict is Verdict.FAIL:
        sentence = f"canary checks failed: {release.checked.reason}"
        return events.Judged(Verdict.FAIL, Reason.CANARY_CHECKS, sentence, final=True)
    return judges_view(release, Verdict.FAIL)


def hard_gate(release: Release) -> str:
    """Rule 3: facts about canary instances that need no statistics, as a sentence; "" = none."""
    if release.observed is None:
        return ""
    if gone := lost(release.canary, release.observed.instances):
        return f"canary: {gone}"
    for probe in release.observed.probes:
        if sentence := _failed_probe(release, probe):
            return sentence
    return ""


def _failed_probe(release: Release, probe: Probe) -> str:
    if probe.status == 200:
        return "" if is_right(probe, Arm.CANARY, release.new) else wrong_answer(probe, release.new)
    if release.failed_probes.get(probe.service, 0) < UNHEALTHY_AFTER:
        return ""
    times = f"{UNHEALTHY_AFTER} times in a row ({answer_of(probe)})"
    return f"{probe.service}: the canary failed its health request {times}"


def lost(wanted: Iterable[Instance], now: Iterable[Instance]) -> str:
    """The first of these instances that exited, was restarted, or is gone with nobody left of its arm; "" = none.

    Instances that an autoscaler or an eviction adds or takes are no fault while another one of the arm is ready. A
    process that was started again in its slot counts as a restart.
    """
    now = tuple(now)
    for instance in wanted:
        if why := _fault_of(instance, now):
            return f"{instance.service}: the instance of {instance.revision} ({instance.identity}) {why}"
    return ""


def _fault_of(instance: Instance, now: tuple[Instance, ...]) -> str:
    peers = [i for i in now if (i.service, i.revision) == (instance.service, instance.revision)]
    same = next((i for i in peers if i.identity == instance.identity), None)
    if same and not same.alive:
        return same.note or "exited"
    if any(i.restarts > instance.restarts for i in peers if same is None or i is same):
        return "was restarted"
    if instance.image and any(i.image and i.image != instance.image for i in peers):
        return "runs another image"
    if (same and same.ready) or any(i.serves for i in peers):
        return ""
    if same:
        return same.note or "is not ready, and no other instance is"
    return "is gone, and no other instance is ready"


def notes(release: Release) -> list[Event]:
    """Instances that are not those of before, while others of their arm are ready: worth a line, each once."""
    if release.observed is None:
        return []
    now = {(i.service, i.identity) for i in release.observed.instances}
    gone = [i for i in (*release.canary, *release.replaced) if (i.service, i.identity) not in now]
    lines = [f"{i.service}: the instance {i.identity} of {i.revision} is gone, others are ready" for i in gone]
    return [events.Noted(line) for line in lines if line not in release.noted]


def trouble(release: Release, seen: events.Observed, reported: str) -> str:
    """Why a tick must not be judged, "" = nothing: no answer from router or source, or no stable to compare with."""
    if reported or release.phase is Phase.WATCHING:
        return reported
    for service in release.plan.routed:
        mine = [i for i in seen.instances if i.service == service.name and i.arm is Arm.STABLE]
        if seen.instances and not any(i.serves for i in mine):
            return f"{service.name}: no stable instance is alive"
    return ""


def is_new(release: Release, seen: events.Observed) -> bool:
    """Whether an observation must be recorded: it is not the last one again, or a pinned request failed."""
    return seen != release.observed or any(probe.status != 200 for probe in seen.probes)


def environment(release: Release) -> events.Judged | None:
    """Rule 6: not the canary's fault. The weight is held, such ticks are not judged."""
    view = judges_view(release, Verdict.INCONCLUSIVE)
    found = release.trouble or (view.sentence if view and view.reason == Reason.ENVIRONMENT else "")
    if not found:
        return None
    final = release.evidence.troubled >= ENVIRONMENT_BUDGET
    return events.Judged(Verdict.INCONCLUSIVE, Reason.ENVIRONMENT, f"not the canary's fault: {found}", final=final)


def _watching(release: Release) -> list[Event]:
    """After promotion: hard gates on the new stable, its smoke suite, the absolute guards."""
    smoke = release.smoke.get(Arm.STABLE)
    view = judges_view(release, Verdict.FAIL)
    reason, sentence = Reason.CONTINUE, ""
    if smoke and smoke.verdict is not Verdict.PASS:
        reason, sentence = Reason.SMOKE, f"smoke tests on the new stable: {smoke.reason}"
    elif release.observed and (gone := lost(release.replaced, release.observed.instances)):
        reason, sentence = Reason.HARD_GATE, f"new stable: {gone}"
    elif view:
        reason, sentence = view.reason, view.sentence
    if sentence:
        return [events.Judged(Verdict.FAIL, reason, sentence, final=True), events.RollbackStarted(sentence)]
    if release.evidence.baked >= release.plan.watch.total_seconds() or release.signal or release.hurry:
        return [watched(release)]
    if release.evidence.troubled >= ENVIRONMENT_BUDGET:
        return [events.Watched(Verdict.INCONCLUSIVE, f"the watch could not see: {release.trouble}")]
    return []


def watched(release: Release) -> events.Watched:
    """The end of a watch that found nothing."""
    if release.signal:
        return events.Watched(Verdict.INCONCLUSIVE, "the watch was skipped: interrupted")
    if release.hurry:
        why = "recovered, the smoke tests passed on the new stable"
        return events.Watched(Verdict.INCONCLUSIVE, f"the watch was skipped: {why}")
    return events.Watched(Verdict.PASS, f"nothing wrong for {release.plan.watch.total_seconds():g} s after promotion")


def judges_view(release: Release, wanted: Verdict) -> events.Judged | None:
    """What the judge concludes now, if it is `wanted`."""
    view = release.evidence.judge.look()
    if view.verdict is not wanted:
        return None
    return as_event(view, final=view.final)


def as_event(view: Judgement, *, final: bool) -> events.Judged:
    """What the judge concludes, as the event that is recorded."""
    metrics = tuple(view.to_dict()["metrics"])
    return events.Judged(view.verdict, Reason(view.reason), view.sentence, final, view.R, view.blame, metrics)


# --- the end of a step --------------------------------------------------------------------------------------------


def end_of_step(release: Release) -> events.Judged | None:
    """Rules 7 and 8, asked when the bake was held in full; None = go on."""
    step, plan, baked = release.current, release.plan, release.evidence.baked
    if baked < step.bake.total_seconds() or release.checked is None:
        return None
    silent, end = release.evidence.judge.silent(), release.evidence.judge.end()
    fine = not silent and end.R < SMOULDERING and release.checked.verdict is Verdict.PASS
    if fine and not release.at_last_step:
        sentence = f"{step.weight} % held, nothing against the canary"
        return events.Judged(Verdict.PASS, Reason.STEP, sentence, final=True, R=end.R)
    judged = as_event(end, final=True)
    if fine and end.verdict is Verdict.PASS:
        return judged
    if fine and plan.accept is Accept.NO_EVIDENCE_OF_HARM:
        sentence = f"promoted without proof: {end.sentence}"
        return replace(judged, verdict=Verdict.PASS, reason=Reason.NO_EVIDENCE_OF_HARM, sentence=sentence)
    if baked < (step.bake + plan.patience).total_seconds():
        return None
    return undecided(release, silent, judged)


def undecided(release: Release, silent: tuple[str, ...], judged: events.Judged) -> events.Judged:
    """An undecided end names what is missing, never that the canary is bad."""
    if silent:
        sentence = f"no decision: no user request was judged for {', '.join(silent)} at this weight"
        return replace(judged, verdict=Verdict.INCONCLUSIVE, reason=Reason.NO_TRAFFIC, sentence=sentence)
    if release.checked and release.checked.verdict is not Verdict.PASS:
        sentence = f"no decision: the last canary checks did not pass ({release.checked.reason})"
        return replace(judged, verdict=Verdict.INCONCLUSIVE, reason=Reason.CANARY_CHECKS, sentence=sentence)
    return judged


def consequences(release: Release, judged: events.Judged) -> list[Event]:
    """What a verdict leads to."""
    if not judged.final:
        return [judged]
    match judged.verdict:
        case Verdict.PASS if release.current.approve:
            why = "the plan asks for a person's approval after this step"
            return [events.Paused(why, release.weight or 0, approval=True)]
        case Verdict.PASS:
            return passed(release, judged)
        case Verdict.INCONCLUSIVE if release.plan.on_inconclusive is OnInconclusive.PAUSE:
            return [judged, events.Paused(judged.sentence, release.weight or 0)]
        case Verdict.FAIL | Verdict.INCONCLUSIVE:
            return [judged, events.RollbackStarted(judged.sentence)]


def passed(release: Release, judged: events.Judged) -> list[Event]:
    """The end of a step: the next one, or the promotion. A person may promote from any step."""
    last = release.at_last_step or judged.reason == Reason.PROMOTED_BY_A_PERSON
    return [judged, events.BakePassed() if last else events.StepPassed()]


# --- after a smoke suite, a request, a signal ---------------------------------------------------------------------


def after_suite(release: Release, result: SuiteResult) -> list[Event]:
    """What follows a suite whose result is folded. At weight 0 one that was INCONCLUSIVE is run a second time; a FAIL
    never is."""
    if result.suite != "smoke" or release.phase is Phase.WATCHING:
        return []
    if result.verdict is Verdict.PASS:
        return smoke_passed(release, result.arm)
    if result.verdict is Verdict.INCONCLUSIVE and result.weight == 0 and release.attempts.get(result.arm, 0) < 2:
        return []
    if release.phase is Phase.CHECKING and result.arm is Arm.STABLE:
        cause = f"stable itself does not pass its smoke tests ({result.reason}): nothing is released"
        return [events.RollbackStarted(cause)]
    return [events.RollbackStarted(f"smoke tests on the {result.arm}: {result.reason}")]


def smoke_passed(release: Release, arm: Arm) -> list[Event]:
    """In CHECKING every arm that there is must pass; a first installation has one, and goes on to its promotion."""
    wanted = [Arm.CANARY] if release.first else list(Arm)
    done = all(arm in release.smoke and release.smoke[arm].verdict is Verdict.PASS for arm in wanted)
    if release.phase is not Phase.CHECKING or not done:
        return []
    return [events.BakePassed()] if release.first else [events.SmokePassed(arm)]


def after_signal(release: Release) -> list[Event]:
    """Before the point of no return back; after it forward, without the watch. A second signal ends all waiting."""
    if release.phase is Phase.ROLLING_BACK:
        return [ending(release)] if release.signals > 1 else []
    if release.phase is Phase.WATCHING:
        return [watched(release)]
    return [] if release.committed or release.phase in FINAL else [events.RollbackStarted("interrupted by a signal")]


def after_request(release: Release, request: events.Requested) -> list[Event]:
    """What an operator asked of a running release. Nobody can promote what rules 2 to 6 are against: those end it.

    `pause` and `promote` that come before the bake are kept until it begins.
    """
    requested: list[Event] = [request]
    match request.what:
        case "abort" if not release.committed:
            return [*requested, events.RollbackStarted(f"aborted by {by(request)}")]
        case "pause" if release.phase is Phase.BAKING:
            return [*requested, events.Paused(f"paused by {by(request)}", release.weight or 0)]
        case "promote" if release.phase in (Phase.BAKING, Phase.PAUSED):
            return [*requested, *promoted_by(release, request)]
        case "resume" if release.phase is Phase.PAUSED and release.pause and release.pause.approval:
            approved = events.Judged(Verdict.PASS, Reason.APPROVED, f"approved by {by(request)}", final=True)
            return [*requested, *passed(release, approved)]
        case "resume" if release.phase is Phase.PAUSED:
            return [*requested, events.Resumed(request.by)]
        case _:
            return requested


def too_late(release: Release, request: events.Requested) -> str:
    """Why a release cannot do any more what is asked, "" = it can, or (`abort`) the command awaits its end."""
    back, what = release.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK), request.what
    if what == "abort" or not (back or release.committed or release.phase in FINAL):
        return ""
    return f"`{what}` comes too late: the release {'goes back already' if back else 'is promoting already'}"


def promoted_by(release: Release, request: events.Requested) -> list[Event]:
    """A person's promotion, unless something is against it."""
    blocked = against(release) or environment(release)
    if blocked:
        return consequences(release, blocked)
    sentence = f"promoted as {by(request)} asked"
    return passed(release, events.Judged(Verdict.PASS, Reason.PROMOTED_BY_A_PERSON, sentence, final=True))


def by(request: events.Requested) -> str:
    """Who asked, and why."""
    return f"{request.by} ({request.reason})" if request.reason else request.by


def after_takeover(release: Release, request: events.Requested) -> list[Event]:
    """What a command does with a release that nobody holds.

    `recover` and `abort` take users back, unless every stable instance was proven new; all others go on with it.
    """
    resumed = events.Resumed(request.by, taken_over=True, hurry=request.what == "recover")
    proven_new = release.committed and release.routed_on(release.new)
    forward = release.phase in (Phase.WATCHING, Phase.ROLLING_BACK, *FINAL) or proven_new
    match request.what:
        case "recover" if not forward:
            return [request, resumed, events.RollbackStarted("nobody held the release: `recover` takes users back")]
        case "abort" if not forward:
            return [request, resumed, events.RollbackStarted(f"aborted by {by(request)}")]
        case "promote" | "resume" if release.phase in (Phase.BAKING, Phase.PAUSED):
            follow = after_request(release, request)
            decided = (events.Judged, events.StepPassed, events.BakePassed)
            return [request, resumed, *(event for event in follow if isinstance(event, decided))]
        case _:
            return [request, resumed]
