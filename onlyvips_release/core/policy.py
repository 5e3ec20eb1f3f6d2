"""The verdict algebra (contract.md section 4): everything seen in one look, the first rule that applies. Pure.

FAIL > INCONCLUSIVE > PASS, and PASS needs every part. Absence of evidence is never health.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from onlyvips_release.core.events import (
    Event,
    Finished,
    Judged,
    Paused,
    Phase,
    Requested,
    Resumed,
    RollbackStarted,
    Watched,
)
from onlyvips_release.core.judge import ENVIRONMENT, SMOULDERING
from onlyvips_release.core.lifecycle import BY_PERSON, FINAL, Release
from onlyvips_release.core.model import Arm, Counters, Endpoint, Instance, Percent, Probe, Request, SuiteResult, Verdict
from onlyvips_release.core.plan import Accept, OnInconclusive, ReleasePlan
from onlyvips_release.errors import NotReady

ENVIRONMENT_BUDGET = timedelta(minutes=5)
"""How long a release may hold its weight in all because of trouble that is not the canary's."""

UNHEALTHY_AFTER = 3
"""Failed pinned health requests in a row that make a canary unhealthy (Kubernetes' default failureThreshold)."""

SIGNAL_EXIT = {2: 130, 15: 143}


@dataclass(frozen=True, slots=True)
class Observation:
    """What one tick saw. `weight` None or a non-empty `trouble`: router or source did not answer."""

    instances: tuple[Instance, ...] = ()
    probes: tuple[Probe, ...] = ()
    weight: Percent | None = None
    counters: Counters | None = None
    trouble: str = ""


@dataclass(slots=True)
class Look:
    """The algebra with its only memory: failed health requests in a row by service, and what was said last."""

    ill: dict[str, int] = field(default_factory=dict)
    said: str = ""

    def decide(self, release: Release, seen: Observation) -> list[Event]:
        """The events that this tick leads to; empty = go on. What does not end a step is said once."""
        if release.phase is Phase.WATCHING:
            return self._watching(release, seen)
        judged = self._fail(release, seen)
        if judged is None and release.phase is Phase.BAKING:
            judged = self._environment(release, seen) or end_of_step(release)
        before, self.said = self.said, judged.reason if judged else ""
        if judged is None or (not judged.final and judged.reason == before):
            return []
        return consequences(release, judged)

    def _fail(self, release: Release, seen: Observation) -> Judged | None:
        """Rules 2 to 5."""
        if seen.weight is not None and seen.weight != release.weight:
            found = f"weight {seen.weight} % is in force, {release.weight} % was set: somebody else changed the routes"
            return Judged(Verdict.FAIL, "interference", found, final=True)
        sentence = self._hard_gate(release, seen)
        if sentence:
            return Judged(Verdict.FAIL, "hard_gate", sentence, final=True)
        if release.checked and release.checked.verdict is Verdict.FAIL:
            return Judged(Verdict.FAIL, "canary_checks", f"canary checks failed: {release.checked.reason}", final=True)
        return judges_view(release, Verdict.FAIL)

    def _hard_gate(self, release: Release, seen: Observation) -> str:
        """Rule 3: facts about canary instances that need no statistics. "" = none."""
        if gone := lost(release.canary, seen.instances):
            return f"canary: {gone}"
        for probe in seen.probes:
            sentence = self._probe(release, probe)
            if sentence:
                return sentence
        return ""

    def _probe(self, release: Release, probe: Probe) -> str:
        if probe.status == 200:
            self.ill[probe.service] = 0
            return "" if seen_right(probe, Arm.CANARY, release.new) else wrong_answer(probe, release.new)
        self.ill[probe.service] = self.ill.get(probe.service, 0) + 1
        if self.ill[probe.service] < UNHEALTHY_AFTER:
            return ""
        told = f"HTTP {probe.status}" if probe.status is not None else probe.error
        return f"{probe.service}: the canary failed its health request {UNHEALTHY_AFTER} times in a row ({told})"

    def _environment(self, release: Release, seen: Observation) -> Judged | None:
        """Rule 6: not the canary's fault. The weight is held, such ticks are not judged."""
        found = trouble(release, seen)
        view = judges_view(release, Verdict.INCONCLUSIVE)
        if not found and view and view.reason == ENVIRONMENT:
            found = view.sentence
        if not found:
            return None
        final = release.troubled_total * release.plan.judge.tick >= ENVIRONMENT_BUDGET
        return Judged(Verdict.INCONCLUSIVE, ENVIRONMENT, f"not the canary's fault: {found}", final=final)

    def _watching(self, release: Release, seen: Observation) -> list[Event]:
        """After promotion: hard gates on the new stable, its smoke suite, the absolute guards."""
        smoke = release.smoke.get(Arm.STABLE)
        view = judges_view(release, Verdict.FAIL)
        sentence = ""
        if smoke and smoke.verdict is not Verdict.PASS:
            sentence = f"smoke tests on the new stable: {smoke.reason}"
        elif gone := lost(release.replaced, seen.instances):
            sentence = f"new stable: {gone}"
        elif view:
            sentence = view.sentence
        if sentence:
            return [Watched(Verdict.FAIL, sentence), RollbackStarted(sentence)]
        if release.baked >= release.plan.watch.total_seconds() or release.signal or release.hurry:
            return [watched(release)]
        if release.troubled_total * release.plan.judge.tick >= ENVIRONMENT_BUDGET:
            return [Watched(Verdict.INCONCLUSIVE, f"the watch could not see: {seen.trouble}")]
        return []


def lost(wanted: Iterable[Instance], seen: Iterable[Instance]) -> str:
    """Which of these very instances no longer lives, "" = none. A restarted one is not the same instance."""
    now = {(instance.service, instance.identity): instance for instance in seen}
    for instance in wanted:
        found = now.get((instance.service, instance.identity))
        if found is None or not found.alive:
            why = found.note if found and found.note else "is gone or was restarted"
            return f"{instance.service}: the instance of {instance.revision} ({instance.identity}) {why}"
    return ""


def watched(release: Release) -> Watched:
    """The end of a watch that found nothing."""
    if release.signal:
        return Watched(Verdict.INCONCLUSIVE, "the watch was skipped: interrupted")
    if release.hurry:
        return Watched(
            Verdict.INCONCLUSIVE, "the watch was skipped: recovered, the smoke tests passed on the new stable"
        )
    return Watched(Verdict.PASS, f"nothing wrong for {release.plan.watch.total_seconds():g} s after promotion")


def judges_view(release: Release, wanted: Verdict) -> Judged | None:
    """The judge's current word, if it is `wanted`."""
    word = release.judge.look()
    if word.verdict is not wanted:
        return None
    metrics = tuple(word.to_dict()["metrics"])
    return Judged(word.verdict, word.reason, word.sentence, word.final, word.R, word.blame, metrics)


def trouble(release: Release, seen: Observation) -> str:
    """Why a tick must not be judged, "" = nothing: no answer from router or source, or no stable to compare with."""
    return seen.trouble or ("" if release.phase is Phase.WATCHING else stable_down(release, seen))


def stable_down(release: Release, seen: Observation) -> str:
    """Which routed service has no living stable instance, "" = none."""
    for service in release.plan.routed:
        mine = [i for i in seen.instances if i.service == service.name and i.arm is Arm.STABLE]
        if seen.instances and not any(i.alive for i in mine):
            return f"{service.name}: no stable instance is alive"
    return ""


def end_of_step(release: Release) -> Judged | None:
    """Rules 7 and 8, asked when the bake was held in full; None = go on."""
    step, plan = release.current, release.plan
    if release.baked < step.bake.total_seconds() or release.checked is None:
        return None
    silent, end = release.judge.silent(), release.judge.end()
    fine = not silent and end.R < SMOULDERING and release.checked.verdict is Verdict.PASS
    if fine and release.step < len(plan.steps) - 1:
        return Judged(Verdict.PASS, "step", f"{step.weight} % held, nothing against the canary", final=True, R=end.R)
    metrics = tuple(end.to_dict()["metrics"])
    told = Judged(end.verdict, end.reason, end.sentence, True, end.R, end.blame, metrics)
    if fine and end.verdict is Verdict.PASS:
        return told
    if fine and plan.accept is Accept.NO_EVIDENCE_OF_HARM:
        return replace(
            told, verdict=Verdict.PASS, reason=plan.accept, sentence=f"promoted without proof: {end.sentence}"
        )
    if release.baked < (step.bake + plan.patience).total_seconds():
        return None
    return undecided(release, silent, told)


def undecided(release: Release, silent: tuple[str, ...], told: Judged) -> Judged:
    """An undecided end says what is missing, never that the canary is bad."""
    if silent:
        sentence = f"no decision: no user request was judged for {', '.join(silent)} at this weight"
        return replace(told, verdict=Verdict.INCONCLUSIVE, reason="no_traffic", sentence=sentence)
    if release.checked and release.checked.verdict is not Verdict.PASS:
        sentence = f"no decision: the last canary checks did not pass ({release.checked.reason})"
        return replace(told, verdict=Verdict.INCONCLUSIVE, reason="canary_checks", sentence=sentence)
    return told


def consequences(release: Release, judged: Judged) -> list[Event]:
    """What a verdict leads to."""
    if not judged.final:
        return [judged]
    match judged.verdict:
        case Verdict.FAIL:
            return [judged, RollbackStarted(judged.sentence)]
        case Verdict.PASS if release.current.approve:
            why = "the plan asks for a person's approval after this step"
            return [Paused(why, release.weight or 0, approval=True)]
        case Verdict.PASS:
            return [judged]
        case Verdict.INCONCLUSIVE if release.plan.on_inconclusive is OnInconclusive.PAUSE:
            return [judged, Paused(judged.sentence, release.weight or 0)]
        case Verdict.INCONCLUSIVE:
            return [judged, RollbackStarted(judged.sentence)]


# --- proof --------------------------------------------------------------------------------------------------------


def seen_right(probe: Probe, arm: Arm, revisions: Mapping[str, str]) -> bool:
    """Whether the router names arm and revision as expected, and the app (where it speaks) claims the same."""
    expected = revisions[probe.service]
    return probe.arm == arm and probe.revision == expected and probe.claim in (None, expected)


def wrong_answer(probe: Probe, revisions: Mapping[str, str]) -> str:
    """The sentence of a pinned answer from the wrong place."""
    told = f"the router says {probe.arm or 'nothing'} {probe.revision}".rstrip()
    claim = f", the app claims {probe.claim}" if probe.claim is not None else ""
    return f"{probe.service}: a pinned request was not answered by {revisions[probe.service]} ({told}{claim})"


def prove(probes: Iterable[Probe], arm: Arm, revisions: Mapping[str, str]) -> None:
    """Every pinned request was answered 200 by this arm and these revisions, else NotReady. None at all = NotReady."""
    probes = tuple(probes)
    missing = set(revisions) - {probe.service for probe in probes}
    if missing:
        raise NotReady(f"{', '.join(sorted(missing))}: no pinned request was made, nothing is proven")
    for probe in probes:
        if probe.status != 200:
            told = f"HTTP {probe.status}" if probe.status is not None else probe.error
            raise NotReady(
                f"{probe.service}: a pinned request to {arm} failed ({told})", remedy="read the service's log"
            )
        if not seen_right(probe, arm, revisions):
            raise NotReady(wrong_answer(probe, revisions), remedy="the answer came from the wrong instance")


def endpoints(instances: Iterable[Instance], services: Iterable[str]) -> dict[str, list[Endpoint]]:
    """Where each service answers now."""
    found = tuple(instances)
    return {name: [i.endpoint for i in found if i.service == name and i.endpoint] for name in services}


def unproven(release: Release) -> list[str]:
    """Services of which only the router's word names the revision (external, without `identity`)."""
    return [s.name for s in release.plan.routed if not s.runs.names_revision and s.identity is None]


# --- after a smoke suite, a request, an error ---------------------------------------------------------------------


def after_suite(release: Release, result: SuiteResult) -> list[Event]:
    """What follows a suite. At weight 0 one that was INCONCLUSIVE is run a second time; a FAIL never is."""
    if result.suite != "smoke" or result.verdict is Verdict.PASS or release.phase is Phase.WATCHING:
        return []
    if result.verdict is Verdict.INCONCLUSIVE and result.weight == 0 and release.attempts.get(result.arm, 0) < 2:
        return []
    if release.phase is Phase.CHECKING and result.arm is Arm.STABLE:
        return [RollbackStarted(f"stable itself does not pass its smoke tests ({result.reason}): nothing is released")]
    return [RollbackStarted(f"smoke tests on the {result.arm}: {result.reason}")]


def after_signal(release: Release) -> list[Event]:
    """Before the point of no return back; after it forward, without the watch. A second signal ends all waiting."""
    if release.phase is Phase.ROLLING_BACK:
        return [ending(release)] if release.signals > 1 else []
    if release.phase is Phase.WATCHING:
        return [watched(release)]
    return [] if release.committed or release.phase in FINAL else [RollbackStarted("interrupted by a signal")]


def after_request(release: Release, asked: Request) -> list[Event]:
    """What a person asked of a running release. Nobody can promote what rules 2 to 6 speak against: those end it."""
    heard: list[Event] = [Requested(asked.what, asked.by, reason=asked.reason)]
    match asked.what:
        case "abort" if not release.committed:
            return [*heard, RollbackStarted(f"aborted by {said(asked)}")]
        case "pause" if release.phase is Phase.BAKING:
            return [*heard, Paused(f"paused by {said(asked)}", release.weight or 0)]
        case "promote" if release.phase in (Phase.BAKING, Phase.PAUSED):
            return [*heard, Judged(Verdict.PASS, BY_PERSON, f"promoted as {said(asked)} asked", final=True)]
        case "resume" if release.phase is Phase.PAUSED and release.pause and release.pause.approval:
            return [*heard, Judged(Verdict.PASS, "approved", f"approved by {said(asked)}", final=True)]
        case "resume" if release.phase is Phase.PAUSED:
            return [*heard, Resumed(asked.by)]
        case _:
            return heard


def said(asked: Request) -> str:
    """Who asked, and why."""
    return f"{asked.by} ({asked.reason})" if asked.reason else asked.by


def after_takeover(release: Release, asked: Request) -> list[Event]:
    """What a command does with a release that nobody holds (contract.md section 6).

    `recover` and `abort` take users back, unless every stable instance was proven new; all others go on with it.
    """
    heard = Requested(asked.what, asked.by, reason=asked.reason)
    resumed = Resumed(asked.by, taken_over=True, hurry=asked.what == "recover")
    forward = release.phase in (Phase.WATCHING, Phase.ROLLING_BACK, *FINAL) or release.routed_on(release.new)
    match asked.what:
        case "recover" if not forward:
            return [heard, resumed, RollbackStarted("nobody held the release: `recover` takes users back")]
        case "abort" if not forward:
            return [heard, resumed, RollbackStarted(f"aborted by {said(asked)}")]
        case "promote" | "resume" if release.phase in (Phase.BAKING, Phase.PAUSED):
            then = [event for event in after_request(release, asked) if isinstance(event, Judged)]
            return [heard, resumed, *then]
        case _:
            return [heard, resumed]


def context(release: Release, instances: Iterable[Instance]) -> dict[str, Any]:
    """What a suite may know of this moment of a release (contract.md section 1); wiring adds URLs and pins."""
    serves = release.new if release.committed and release.cause is None else release.old
    known = described(release.plan, serves, instances)
    return {"release": release.id, "step": release.step, "metrics": measured(release), "services": known}


def measured(release: Release) -> dict[str, Any]:
    """What the judge has counted since the first step: service -> metric -> arm -> (bad, total); {} before it."""
    found: dict[str, Any] = {}
    for view in release.judge.look().metrics if release.judge else ():
        counts = {"canary": (view.canary_bad, view.canary_total), "stable": (view.stable_bad, view.stable_total)}
        found.setdefault(view.service, {})[view.metric] = counts
    return found


def described(plan: ReleasePlan, serves: Mapping[str, str], instances: Iterable[Instance]) -> dict[str, Any]:
    """Each service with the revision of either arm and its instances, as a suite sees it."""
    found = tuple(instances)
    return {
        service.name: {
            "routed": service.routed,
            "revisions": {"stable": serves[service.name], "canary": service.canary.name},
            "instances": [
                {
                    "arm": i.arm,
                    "revision": i.revision,
                    "identity": i.identity,
                    "pid": i.pid,
                    "alive": i.alive,
                    "log": i.log,
                    "port": i.endpoint.port if i.endpoint else None,
                }
                for i in found
                if i.service == service.name
            ],
        }
        for service in plan.services
    }


def ending(release: Release) -> Finished:
    """Exit code and sentence (contract.md section 6)."""
    signal_exit = SIGNAL_EXIT.get(release.signal, 0)
    if release.phase is Phase.PROMOTED:
        word = release.outcome.sentence if release.outcome else ""
        watch = release.watched.sentence if release.watched else ""
        users = ", ".join(f"{name} {revision}" for name, revision in release.new.items())
        return Finished(release.phase, signal_exit, f"PROMOTED ({users}): {word} {watch}".strip())
    if release.phase is Phase.PAUSED:
        why = release.pause.why if release.pause else ""
        return Finished(
            release.phase, 5, f"PAUSED, users are on stable: {why}; go on with `resume`, end it with `abort`"
        )
    cause = release.cause.cause if release.cause else ""
    if release.phase is Phase.ROLLED_BACK:
        tool = release.cause is not None and release.cause.tool
        undecided_end = release.outcome is not None and release.outcome.verdict is Verdict.INCONCLUSIVE
        word = "INCONCLUSIVE, rolled back" if undecided_end else "ROLLED BACK"
        if release.restore:
            return Finished(release.phase, signal_exit, f"RESTORED: {cause}")
        return Finished(release.phase, signal_exit or (1 if tool else 3), f"{word}: {cause}")
    if release.weight == 0 and not release.committed:
        return Finished(release.phase, signal_exit or 3, f"users are on stable, clean-up was left out: {cause}")
    return Finished(release.phase, 4, f"NOT CONFIRMED that users are on stable: {cause}")
