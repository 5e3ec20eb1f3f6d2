"""The release as a state machine: what may follow what, and the release as a fold over its events. Pure.

`TABLE` says in which phase which event can happen, and the one phase that it leads to; `Release.apply`, what an event
changes besides. `commands.next_command` says what is done in a state, `policy` which events follow from evidence. The
runner carries a command out and records what happened.

A verdict is an event of its own: `SuiteRan` and `Judged` move nothing, `SmokePassed`, `StepPassed`, `BakePassed` and
`RollbackStarted` do. So the phase after any event can be read off the table, without knowing the rest of the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from onlyvips_release.core.events import (
    BakePassed,
    CanaryStarted,
    Committed,
    Event,
    Finished,
    GuardianActed,
    Interfered,
    Judged,
    Noted,
    Notified,
    Observed,
    Paused,
    Phase,
    Prepared,
    Promoted,
    Replaced,
    Requested,
    Restored,
    Resumed,
    RollbackStarted,
    RolledBack,
    Sampled,
    Shifted,
    SmokePassed,
    Started,
    StepPassed,
    SuiteRan,
    Unconfirmed,
    Watched,
)
from onlyvips_release.core.evidence import Evidence
from onlyvips_release.core.model import Arm, Instance, Percent, SuiteResult, Verdict
from onlyvips_release.core.plan import ReleasePlan, Step
from onlyvips_release.errors import ReleaseError

FINAL = (Phase.PROMOTED, Phase.ROLLED_BACK)
UNPROVEN = "?"
"""The revision in `serving` while a replacement may be under way."""

# --- what may follow what -----------------------------------------------------------------------------------------

P = Phase
ANYWHERE = (Requested, Noted, Interfered, Unconfirmed, Resumed, GuardianActed, Notified)
"""Events that are possible in every open phase; where the table does not list them they leave the phase as it is."""

TABLE: dict[Phase, dict[type, Phase]] = {
    # Stable is proven, then the canary runs beside it at weight 0.
    P.PREPARING: {
        Started: P.PREPARING,
        Prepared: P.PREPARING,
        CanaryStarted: P.CHECKING,
        RollbackStarted: P.ROLLING_BACK,
    },
    # The smoke suite runs on both arms, apart from users. A first installation has nothing to bake.
    P.CHECKING: {
        CanaryStarted: P.CHECKING,
        SuiteRan: P.CHECKING,
        SmokePassed: P.SHIFTING,
        BakePassed: P.PROMOTING,
        RollbackStarted: P.ROLLING_BACK,
    },
    # The weight of the step is put in force; the canary may have to grow for it.
    P.SHIFTING: {CanaryStarted: P.SHIFTING, Shifted: P.BAKING, RollbackStarted: P.ROLLING_BACK},
    # The weight is held while evidence comes in.
    P.BAKING: {
        CanaryStarted: P.BAKING,
        Sampled: P.BAKING,
        Observed: P.BAKING,
        SuiteRan: P.BAKING,
        Judged: P.BAKING,
        Shifted: P.BAKING,
        StepPassed: P.SHIFTING,
        BakePassed: P.PROMOTING,
        Paused: P.PAUSED,
        RollbackStarted: P.ROLLING_BACK,
    },
    # The weight is held until a person decides; the judge goes on.
    P.PAUSED: {
        Sampled: P.PAUSED,
        Observed: P.PAUSED,
        SuiteRan: P.PAUSED,
        Judged: P.PAUSED,
        Shifted: P.PAUSED,
        Finished: P.PAUSED,
        Resumed: P.BAKING,
        StepPassed: P.SHIFTING,
        BakePassed: P.PROMOTING,
        RollbackStarted: P.ROLLING_BACK,
    },
    # All users go to the canary track, `Committed` is passed, stable is replaced and proven, all users go back to it.
    P.PROMOTING: {
        CanaryStarted: P.PROMOTING,
        Shifted: P.PROMOTING,
        SuiteRan: P.PROMOTING,
        SmokePassed: P.PROMOTING,
        Replaced: P.PROMOTING,
        Committed: P.PROMOTING,
        Promoted: P.WATCHING,
        RollbackStarted: P.ROLLING_BACK,
    },
    # Users are on the new stable; the old revision can still be brought back.
    P.WATCHING: {
        Sampled: P.WATCHING,
        Observed: P.WATCHING,
        SuiteRan: P.WATCHING,
        SmokePassed: P.WATCHING,
        Judged: P.WATCHING,
        Watched: P.PROMOTED,
        RollbackStarted: P.ROLLING_BACK,
    },
    # Users first, slow things later. An unconfirmed end (`Finished`) stays here, so that `recover` goes on.
    P.ROLLING_BACK: {
        Shifted: P.ROLLING_BACK,
        CanaryStarted: P.ROLLING_BACK,
        Replaced: P.ROLLING_BACK,
        Restored: P.ROLLING_BACK,
        RollbackStarted: P.ROLLING_BACK,
        Finished: P.ROLLING_BACK,
        RolledBack: P.ROLLED_BACK,
    },
    P.PROMOTED: {Finished: P.PROMOTED},
    P.ROLLED_BACK: {Finished: P.ROLLED_BACK},
}


class IllegalEvent(ReleaseError):
    """An event that cannot happen in this phase: a bug, or a journal that was edited."""


# --- the fold -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Release:
    """One attempt to replace the stable revisions by the canary revisions, folded from its events.

    `old`, `new`, `serving`: service -> revision name. `canary`: the instances of the canary track, `sized`: the weight
    that they can carry, `proven`: pinned requests proved them; `tracked_old`: in a restore the old revision runs there;
    `track_lost`: the new one cannot be had there any more while stable may be half replaced.
    `weight` None = not known to be in force (a write may be under way). `stable_proven`: right after the shift back.
    `replaced`: instances of the new stable. `smoke`, `attempts`: last result and number of smoke runs by arm;
    `checked`: the last canary checks at this weight. `observed`: what the last tick showed; `trouble`: why it was not
    judged; `failed_probes`: failed pinned requests in a row, by service. `outcome`: the verdict that ended a step;
    `reported`: reason of the last verdict that ended nothing. `waiting`: a request that is kept until the bake.
    `until_paused` is no fact but a setting of the command that carries the release out: a pause is left at weight 0
    instead of held.
    """

    id: str = ""
    plan: ReleasePlan = field(default=None)  # type: ignore[assignment]  # set by Started, the first event
    phase: Phase = Phase.PREPARING
    old: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    serving: dict[str, str] = field(default_factory=dict)
    first: bool = False
    restore: bool = False
    one_act: bool = False
    prepared: bool = False
    canary: tuple[Instance, ...] = ()
    sized: Percent = 0
    proven: bool = False
    tracked_old: bool = False
    track_lost: bool = False
    step: int = 0
    weight: Percent | None = 0
    safe_weight: int = 0
    stable_proven: bool = False
    committed: bool = False
    promoted: bool = False
    replaced: tuple[Instance, ...] = ()
    smoke: dict[Arm, SuiteResult] = field(default_factory=dict)
    attempts: dict[Arm, int] = field(default_factory=dict)
    checked: SuiteResult | None = None
    evidence: Evidence = field(default=None)  # type: ignore[assignment]  # set by Started
    observed: Observed | None = None
    failed_probes: dict[str, int] = field(default_factory=dict)
    outcome: Judged | None = None
    reported: str = ""
    pause: Paused | None = None
    waiting: Requested | None = None
    signal: int = 0
    signals: int = 0
    cause: RollbackStarted | None = None
    watched: Watched | None = None
    hurry: bool = False
    until_paused: bool = False
    noted: list[str] = field(default_factory=list)
    trouble: str = ""
    finished: Finished | None = None

    def apply(self, event: Event) -> None:
        """Fold one event. Raises IllegalEvent, before anything changed, when it cannot happen here."""
        kind = type(event)
        target = TABLE[self.phase].get(kind)
        if target is None and (kind not in ANYWHERE or (self.over and kind not in (GuardianActed, Notified))):
            raise IllegalEvent(
                f"{kind.__name__} cannot happen in {self.phase}", remedy="the journal was edited, or this is a bug"
            )
        self._fold(event)
        self.phase = target or self.phase

    def _fold(self, event: Event) -> None:
        match event:
            case Started():
                self._begin(event)
            case Prepared():
                self.prepared = True
            case CanaryStarted():
                self._canary_started(event)
            case SuiteRan(result):
                self._suite(result)
            case SmokePassed() | BakePassed() if self.phase is not Phase.WATCHING:
                self.smoke, self.attempts = {}, {}
            case StepPassed():
                self.step += 1
            case Shifted():
                self._shifted(event)
            case Sampled():
                self._sampled(event)
            case Observed():
                self._observed(event)
            case Judged():
                self.outcome, self.reported = event if event.final else self.outcome, event.reason
            case Requested():
                self._requested(event)
            case Paused():
                self.pause, self.waiting = event, None
            case Noted(what):
                self.noted.append(what)
            case Committed():
                self._committed(event)
            case Replaced():
                self._replaced(event)
            case Promoted():
                self.promoted, self.smoke, self.attempts = True, {}, {}
                self.evidence = Evidence(self.plan, self.plan.watch, {})
            case Watched():
                self.watched = event
            case RollbackStarted():
                self._rolling_back(event)
            case Unconfirmed():
                self.track_lost = self.phase is Phase.ROLLING_BACK and not self.promoted and not self.proven
            case Finished():
                self.finished = event
            case Resumed():
                self._resumed(event)
            case GuardianActed(weight, _, confirmed):
                self.weight = weight if confirmed else None
            case _:
                pass

    def _begin(self, event: Started) -> None:
        self.id, self.plan = event.release, event.plan
        self.old = {name: arms.get(Arm.STABLE, "") for name, arms in event.revisions.items()}
        self.new = {name: arms[Arm.CANARY] for name, arms in event.revisions.items()}
        self.first, self.restore, self.one_act = event.first, event.restore, event.one_act
        self.committed = self.promoted = event.restore
        self.serving = dict(self.new if event.restore else self.old)
        self.noted += event.notes
        self.evidence = Evidence(self.plan, self.plan.bake, event.history)

    def _canary_started(self, event: CanaryStarted) -> None:
        self.canary, self.sized, self.proven = event.instances, event.weight, True
        if self.phase is Phase.ROLLING_BACK:
            self.tracked_old, self.safe_weight = self.promoted, 100

    def _requested(self, event: Requested) -> None:
        self.signal = event.signal or self.signal
        self.signals += bool(event.signal)
        if event.what in ("pause", "promote") and self.phase in (Phase.PREPARING, Phase.CHECKING, Phase.SHIFTING):
            self.waiting = event

    def _resumed(self, event: Resumed) -> None:
        """`taken_over`: nobody held it; weight, stable, canary and what a suite reported are to be proven again."""
        self.evidence.begin()
        self.hurry, self.failed_probes = event.hurry, {}
        if event.taken_over or self.phase is Phase.ROLLING_BACK:
            self.finished, self.weight, self.signal, self.signals = None, None, 0, 0
            self.prepared = self.proven = self.tracked_old = self.track_lost = self.stable_proven = False
            self.smoke, self.attempts, self.replaced, self.observed = {}, {}, (), None

    def _suite(self, result: SuiteResult) -> None:
        if result.suite == "smoke":
            self.smoke[result.arm] = result
            self.attempts[result.arm] = self.attempts.get(result.arm, 0) + 1
        elif result.weight == self.weight or result.verdict is Verdict.FAIL:
            self.checked = result  # a PASS that was begun at another weight says nothing of this one

    def _shifted(self, event: Shifted) -> None:
        if event.weight != self.weight or self.phase is Phase.SHIFTING:
            self.evidence.begin()
            self.checked = None
        self.weight, self.stable_proven = event.weight, event.proven

    def _sampled(self, event: Sampled) -> None:
        before, self.trouble = self.evidence.troubled_total, event.trouble
        self.evidence.fold(event, self.weight or 0, watching=self.phase is Phase.WATCHING)
        if self.evidence.troubled_total == before:
            self.reported = ""

    def _observed(self, event: Observed) -> None:
        self.observed = event
        for probe in event.probes:
            failed = 0 if probe.status == 200 else self.failed_probes.get(probe.service, 0) + 1
            self.failed_probes[probe.service] = failed

    def _committed(self, event: Committed) -> None:
        self.committed, self.safe_weight = True, event.safe_weight
        replaced = self.plan.services if self.one_act else self.plan.routed
        self.serving.update({s.name: UNPROVEN for s in replaced if not self.keeps(s.name)})

    def _replaced(self, event: Replaced) -> None:
        self.replaced += event.instances
        self.serving.update(event.revisions)
        if self.committed and self.routed_on(self.new if self.cause is None else self.old):
            self.safe_weight = 0

    def _rolling_back(self, event: RollbackStarted) -> None:
        self.cause = self.cause or event
        self.smoke, self.tracked_old, self.stable_proven = {}, False, False
        self.safe_weight = 0 if not self.committed or self.first else self.safe_weight
        if self.phase is Phase.PROMOTING:
            self.serving.update({s.name: UNPROVEN for s in self.plan.unrouted if not self.keeps(s.name)})
        self.weight = None

    def keeps(self, service: str) -> bool:
        """Whether this service stays as it is: a first installation beside it, or a rollback of the others."""
        return self.old[service] == self.new[service]

    @property
    def installed(self) -> dict[str, str]:
        """The revisions that users can be sent back to."""
        return {name: revision for name, revision in self.old.items() if revision}

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
    def at_last_step(self) -> bool:
        """Whether the promotion follows."""
        return self.step == len(self.plan.steps) - 1

    @property
    def track(self) -> Arm | None:
        """Whose revisions the canary track runs while users are on it (the safe weight is 100); None = nobody is."""
        if not self.safe_weight:
            return None
        return Arm.STABLE if self.promoted else Arm.CANARY


def fold(events: Iterable[Event]) -> Release:
    """The release that a whole journal tells of."""
    release = Release()
    for event in events:
        release.apply(event)
    return release


def diagram() -> str:
    """The table as a Mermaid state diagram: docs/lifecycle.md shows exactly this."""
    lines = ["stateDiagram-v2", "    [*] --> PREPARING"]
    for phase, row in TABLE.items():
        edges: dict[Phase, list[str]] = {}
        for kind, target in row.items():
            if target is not phase:
                edges.setdefault(target, []).append(kind.__name__)
        lines += [f"    {phase} --> {target}: {', '.join(kinds)}" for target, kinds in edges.items()]
    return "\n".join([*lines, *(f"    {phase} --> [*]: Finished" for phase in FINAL)]) + "\n"
