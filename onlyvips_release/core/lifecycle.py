"""The one table of what may follow what, the release as a fold over its events, and what it does next. Pure.

A release is a fold over its events (`Release.apply`); the folded release names the next command (`next_command`).
Every command may be repeated: after a crash the journal is folded again and the same command is issued again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from onlyvips_release.core.events import (
    CanaryStarted,
    Command,
    Commit,
    Committed,
    EndPromotion,
    EndRollback,
    Event,
    Finish,
    Finished,
    GuardianActed,
    Interfered,
    Judged,
    Leave,
    Noted,
    Observe,
    Paused,
    Phase,
    Prepare,
    Prepared,
    Promoted,
    Replaced,
    ReplaceStable,
    ReplaceUnrouted,
    Requested,
    Restored,
    Resumed,
    RollbackStarted,
    RolledBack,
    RunSmoke,
    Sampled,
    Shift,
    Shifted,
    StartCanary,
    Started,
    SuiteRan,
    Unconfirmed,
    Watched,
)
from onlyvips_release.core.judge import ENVIRONMENT, ReleaseJudge, ServiceHistory
from onlyvips_release.core.model import Arm, Instance, Percent, Series, SuiteResult, Verdict
from onlyvips_release.core.plan import ReleasePlan, Step
from onlyvips_release.errors import ReleaseError

FINAL = (Phase.PROMOTED, Phase.ROLLED_BACK)
BY_PERSON = "promoted_by_a_person"
UNPROVEN = "?"
"""What serves when its replacement may have begun, until it is proven again."""

# --- what may follow what -----------------------------------------------------------------------------------------

P = Phase
ANYWHERE = (Requested, Noted, Interfered, Unconfirmed, Resumed, GuardianActed)
"""Events that are possible in every open phase and leave it as it is."""

TABLE: dict[Phase, dict[type, tuple[Phase, ...]]] = {
    P.PREPARING: {
        Started: (P.PREPARING,),
        Prepared: (P.PREPARING,),
        CanaryStarted: (P.CHECKING,),
        RollbackStarted: (P.ROLLING_BACK,),
    },
    P.CHECKING: {
        CanaryStarted: (P.CHECKING,),
        SuiteRan: (P.CHECKING, P.SHIFTING),
        RollbackStarted: (P.ROLLING_BACK,),
    },
    P.SHIFTING: {CanaryStarted: (P.SHIFTING,), Shifted: (P.BAKING,), RollbackStarted: (P.ROLLING_BACK,)},
    P.BAKING: {
        CanaryStarted: (P.BAKING,),
        Sampled: (P.BAKING,),
        SuiteRan: (P.BAKING,),
        Judged: (P.BAKING, P.SHIFTING, P.PROMOTING),
        Paused: (P.PAUSED,),
        Shifted: (P.BAKING,),
        RollbackStarted: (P.ROLLING_BACK,),
    },
    P.PAUSED: {
        Sampled: (P.PAUSED,),
        SuiteRan: (P.PAUSED,),
        Judged: (P.PAUSED, P.SHIFTING, P.PROMOTING),
        Shifted: (P.PAUSED,),
        Finished: (P.PAUSED,),
        Resumed: (P.BAKING,),
        RollbackStarted: (P.ROLLING_BACK,),
    },
    P.PROMOTING: {
        CanaryStarted: (P.PROMOTING,),
        Shifted: (P.PROMOTING,),
        SuiteRan: (P.PROMOTING,),
        Replaced: (P.PROMOTING,),
        Committed: (P.PROMOTING,),
        Promoted: (P.WATCHING,),
        RollbackStarted: (P.ROLLING_BACK,),
    },
    P.WATCHING: {
        Sampled: (P.WATCHING,),
        SuiteRan: (P.WATCHING,),
        Judged: (P.WATCHING,),
        Watched: (P.WATCHING, P.PROMOTED),
        RollbackStarted: (P.ROLLING_BACK,),
    },
    P.ROLLING_BACK: {
        Shifted: (P.ROLLING_BACK,),
        CanaryStarted: (P.ROLLING_BACK,),
        Replaced: (P.ROLLING_BACK,),
        Restored: (P.ROLLING_BACK,),
        RolledBack: (P.ROLLED_BACK,),
        RollbackStarted: (P.ROLLING_BACK,),
        Resumed: (P.ROLLING_BACK,),
        Finished: (P.ROLLING_BACK,),
    },
    P.PROMOTED: {Finished: (P.PROMOTED,)},
    P.ROLLED_BACK: {Finished: (P.ROLLED_BACK,)},
}


class IllegalEvent(ReleaseError):
    """An event that cannot happen in this phase: a bug, or a journal that was edited."""


@dataclass(slots=True)
class Release:
    """One attempt to replace the stable revisions by the canary revisions, folded from its events.

    `weight` None = not known to be in force (a write may be under way). `old`/`new`: service -> revision name.
    `until_paused` is no fact but a wish of who carries it out: a pause is left at weight 0 instead of held.
    """

    id: str = ""
    plan: ReleasePlan = field(default=None)  # type: ignore[assignment]  # set by Started, the first event
    phase: Phase = Phase.PREPARING
    old: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    prepared: bool = False
    canary: tuple[Instance, ...] = ()
    proven: bool = False
    step: int = 0
    weight: Percent | None = 0
    safe_weight: int = 0
    committed: bool = False
    serving: dict[str, str] = field(default_factory=dict)
    replaced: tuple[Instance, ...] = ()
    smoke: dict[Arm, SuiteResult] = field(default_factory=dict)
    attempts: dict[Arm, int] = field(default_factory=dict)
    checked: SuiteResult | None = None
    judge: ReleaseJudge = field(default=None)  # type: ignore[assignment]
    baseline: bool = False
    first_tick: int | None = None
    last_tick: int = -1
    troubled_ticks: int = 0
    troubled_total: int = 0
    outcome: Judged | None = None
    pause: Paused | None = None
    tracked_old: bool = False
    signal: int = 0
    signals: int = 0
    cause: RollbackStarted | None = None
    watched: Watched | None = None
    restore: bool = False
    hurry: bool = False
    until_paused: bool = False
    noted: list[str] = field(default_factory=list)
    finished: Finished | None = None

    def apply(self, event: Event) -> None:
        """Fold one event. Raises IllegalEvent, before anything changed, when it cannot happen here."""
        kind = type(event)
        targets = TABLE[self.phase].get(kind)
        if targets is None and (kind not in ANYWHERE or (self.over and kind is not GuardianActed)):
            raise IllegalEvent(
                f"{kind.__name__} cannot happen in {self.phase}", remedy="the journal was edited, or this is a bug"
            )
        self._fold(event)
        if targets:
            self.phase = self._target(event, targets)

    def _target(self, event: Event, targets: tuple[Phase, ...]) -> Phase:
        """Which of the table's targets an event leads to; the first is "not yet"."""
        match event:
            case SuiteRan() if self.phase is Phase.CHECKING and self._smoke_passed():
                self.smoke, self.attempts = {}, {}
                return Phase.SHIFTING
            case Judged(verdict=Verdict.PASS, final=True) if self.phase in (Phase.BAKING, Phase.PAUSED):
                last = self.step == len(self.plan.steps) - 1 or event.reason == BY_PERSON
                self.step += 0 if last else 1
                return Phase.PROMOTING if last else Phase.SHIFTING
            case Watched(verdict=Verdict.PASS | Verdict.INCONCLUSIVE):
                return Phase.PROMOTED
            case _:
                return targets[0]

    def _smoke_passed(self) -> bool:
        return all(arm in self.smoke and self.smoke[arm].verdict is Verdict.PASS for arm in Arm)

    def _fold(self, event: Event) -> None:
        match event:
            case Started():
                self._begin(event)
            case Prepared():
                self.prepared = True
            case CanaryStarted(instances):
                self.canary, self.proven = instances, True
                if self.phase is Phase.ROLLING_BACK:
                    self.tracked_old, self.safe_weight = True, 100
            case SuiteRan(result):
                self._suite(result)
            case Shifted():
                self._shifted(event)
            case Sampled():
                self._sampled(event)
            case Judged(final=True):
                self.outcome = event
            case Requested():
                self.signal = event.signal or self.signal
                self.signals += bool(event.signal)
            case Paused():
                self.pause = event
            case Noted(what):
                self.noted.append(what)
            case Committed(safe_weight):
                self.committed, self.safe_weight = True, safe_weight
                self.serving.update({service.name: UNPROVEN for service in self.plan.routed})
            case Replaced(revisions, instances):
                self.replaced += instances
                self._replaced(revisions)
            case Promoted():
                self._restart_judge(self.plan.watch, {})
                self.smoke, self.attempts = {}, {}
            case Watched():
                self.watched = event
            case RollbackStarted():
                self._rolling_back(event)
            case Finished():
                self.finished = event
            case Resumed():
                self.baseline, self.first_tick, self.hurry = False, None, event.hurry
                if event.taken_over or self.phase is Phase.ROLLING_BACK:
                    self._taken_over()
            case GuardianActed(weight, _, confirmed):
                self.weight = weight if confirmed else None
            case _:
                pass

    def _begin(self, event: Started) -> None:
        self.id, self.plan = event.release, event.plan
        self.old = {name: arms.get(Arm.STABLE, "") for name, arms in event.revisions.items()}
        self.new = {name: arms[Arm.CANARY] for name, arms in event.revisions.items()}
        self.serving, self.restore, self.committed = dict(self.old), event.restore, event.restore
        if event.restore:
            self.serving = dict(self.new)
        self.noted += event.notes
        self._restart_judge(self.plan.bake, event.history)

    def _taken_over(self) -> None:
        """Nobody held it: weight, stable, canary and what a suite said are to be proven again."""
        self.finished, self.weight, self.signal, self.signals = None, None, 0, 0
        self.prepared = self.proven = self.tracked_old = False
        self.smoke, self.attempts, self.replaced = {}, {}, ()

    def _restart_judge(self, bake: timedelta, known: Mapping[str, ServiceHistory]) -> None:
        names = [service.name for service in self.plan.routed]
        business = [service.name for service in self.plan.routed if service.business_calls]
        self.judge = ReleaseJudge(self.plan.judge, names, bake, business, bool(self.plan.sticky), known)
        self.baseline, self.first_tick, self.troubled_ticks = False, None, 0

    def _suite(self, result: SuiteResult) -> None:
        if result.suite == "smoke":
            self.smoke[result.arm] = result
            self.attempts[result.arm] = self.attempts.get(result.arm, 0) + 1
        elif result.weight == self.weight or result.verdict is Verdict.FAIL:
            self.checked = result  # a PASS that was begun at another weight says nothing of this one

    def _shifted(self, event: Shifted) -> None:
        if event.weight != self.weight or self.phase is Phase.SHIFTING:
            self.baseline, self.first_tick, self.troubled_ticks, self.checked = False, None, 0, None
        self.weight = event.weight

    def _sampled(self, event: Sampled) -> None:
        self.last_tick = event.tick
        if self.first_tick is None:
            self.first_tick = event.tick
        if event.trouble:
            self._held()
            self.judge.skip(event.tick, event.series or None)
            return
        counters = as_canary(event.series) if self.phase is Phase.WATCHING else event.series
        if self.baseline:
            self.judge.fold(event.tick, counters)
            if self.judge.look().reason == ENVIRONMENT:
                self._held()
        else:
            self.judge.begin_step(self.weight or 0, counters)  # type: ignore[arg-type] # counts with tenths alike
            self.baseline = True

    def _held(self) -> None:
        """Not the canary's fault: the bake clock stands, and the budget for all such ticks shrinks."""
        self.troubled_ticks += 1
        self.troubled_total += 1

    def _replaced(self, revisions: Mapping[str, str]) -> None:
        self.serving.update(revisions)
        if self.committed and self.routed_on(self.new if self.cause is None else self.old):
            self.safe_weight = 0

    def _rolling_back(self, event: RollbackStarted) -> None:
        self.cause = self.cause or event
        self.smoke, self.tracked_old = {}, False
        if not self.committed:
            self.safe_weight = 0
        if self.phase is Phase.PROMOTING:
            self.serving.update({service.name: UNPROVEN for service in self.plan.unrouted})
        self.weight = None

    def routed_on(self, revisions: Mapping[str, str]) -> bool:
        """Whether stable of every routed service is of these revisions."""
        return all(self.serving[s.name] == revisions[s.name] for s in self.plan.routed)

    def unrouted_on(self, revisions: Mapping[str, str]) -> bool:
        """Whether every service without traffic is of these revisions."""
        return all(self.serving[s.name] == revisions[s.name] for s in self.plan.unrouted)

    @property
    def over(self) -> bool:
        """Whether nothing can happen to it any more. A release that ended with exit 4 or 5 is still open."""
        return self.finished is not None and self.phase in FINAL

    @property
    def current(self) -> Step:
        """The step of the plan that is under way."""
        return self.plan.steps[self.step]

    @property
    def baked(self) -> float:
        """Seconds that this weight was surely held with evidence coming in: the first tick began before the shift,
        troubled ticks stand still."""
        if self.first_tick is None:
            return 0.0
        ticks = self.last_tick - self.first_tick - 1 - self.troubled_ticks
        return max(0, ticks) * self.plan.judge.tick.total_seconds()


def as_canary(series: Mapping[str, Mapping[Arm, tuple[Series, ...]]]) -> dict[str, dict[Arm, tuple[Series, ...]]]:
    """After promotion there is no control: stable's counts are judged alone, by the absolute guards."""
    return {service: {Arm.CANARY: arms.get(Arm.STABLE, ()), Arm.STABLE: ()} for service, arms in series.items()}


def replay(events: Iterable[Event]) -> Release:
    """Fold a whole journal."""
    release = Release()
    for event in events:
        release.apply(event)
    return release


def next_command(release: Release) -> Command | None:
    """What a release in this state does next; None = nothing is left to do."""
    match release.phase:
        case Phase.PREPARING:
            return StartCanary(Arm.CANARY) if release.prepared else Prepare()
        case Phase.PAUSED if release.finished:
            return None
        case Phase.PAUSED if release.until_paused:
            return Leave()
        case Phase.CHECKING | Phase.SHIFTING | Phase.BAKING if not release.proven:
            return StartCanary(Arm.CANARY)
        case Phase.CHECKING:
            return RunSmoke(_next_smoke(release))
        case Phase.SHIFTING:
            return Shift(release.current.weight)
        case Phase.BAKING | Phase.PAUSED:
            return Observe() if release.weight is not None else Shift(release.current.weight)
        case Phase.PROMOTING:
            return _promotion(release)
        case Phase.WATCHING:
            return RunSmoke(Arm.STABLE) if Arm.STABLE not in release.smoke else Observe()
        case Phase.ROLLING_BACK:
            return _rollback(release) if release.finished is None else None
        case Phase.PROMOTED | Phase.ROLLED_BACK:
            return Finish() if release.finished is None else None


def _next_smoke(release: Release) -> Arm:
    passed = {arm for arm, result in release.smoke.items() if result.verdict is Verdict.PASS}
    return Arm.STABLE if Arm.CANARY in passed else Arm.CANARY


def _promotion(release: Release) -> Command:
    """contract.md section 5, the same on all targets. `Committed` is the point of no return."""
    if release.routed_on(release.new):
        return Shift(0) if release.weight != 0 else EndPromotion()
    if not release.proven:
        return StartCanary(Arm.CANARY)
    if release.weight != 100:
        return Shift(100)
    if release.committed:
        return ReplaceStable(Arm.CANARY)
    if not release.unrouted_on(release.new):
        return ReplaceUnrouted(Arm.CANARY)
    if release.plan.unrouted and Arm.CANARY not in release.smoke:
        return RunSmoke(Arm.CANARY)
    return Commit()


def _rollback(release: Release) -> Command:
    """Users first, slow things later. After `Committed` the old revision takes the canary track."""
    if not release.committed:
        if release.weight != 0:
            return Shift(0)
        return EndRollback() if release.unrouted_on(release.old) else ReplaceUnrouted(Arm.STABLE)
    if release.routed_on(release.old):
        if release.weight != 0:
            return Shift(0)
        return EndRollback() if release.unrouted_on(release.old) else ReplaceUnrouted(Arm.STABLE)
    if not release.tracked_old:
        return StartCanary(Arm.STABLE)
    return Shift(100) if release.weight != 100 else ReplaceStable(Arm.STABLE)


def diagram() -> str:
    """The table as a Mermaid state diagram: docs/lifecycle.md shows exactly this."""
    lines = ["stateDiagram-v2", "    [*] --> PREPARING"]
    for phase, row in TABLE.items():
        edges: dict[Phase, list[str]] = {}
        for kind, targets in row.items():
            for target in targets:
                if target is not phase:
                    edges.setdefault(target, []).append(kind.__name__)
        lines += [f"    {phase} --> {target}: {', '.join(kinds)}" for target, kinds in edges.items()]
    return "\n".join([*lines, *(f"    {phase} --> [*]: Finished" for phase in FINAL)]) + "\n"
