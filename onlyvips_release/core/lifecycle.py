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

from onlyvips_release.core import events
from onlyvips_release.core.events import Event, Phase
from onlyvips_release.core.evidence import Evidence
from onlyvips_release.core.model import Arm, Instance, Percent, SuiteResult, Verdict
from onlyvips_release.core.plan import ReleasePlan, Step
from onlyvips_release.errors import ReleaseError

FINAL = (Phase.PROMOTED, Phase.ROLLED_BACK)
UNPROVEN = "?"
"""The revision in `serving` while a replacement may be under way."""

# --- what may follow what -----------------------------------------------------------------------------------------

P = Phase
ANYWHERE = (
    events.Requested, events.Noted, events.Interfered, events.Unconfirmed, events.Resumed, events.GuardianActed,
    events.Notified,
)  # fmt: skip
"""Events that are possible in every open phase; where the table does not list them they leave the phase as it is."""

TICK = (events.Sampled, events.Observed, events.SuiteRan, events.Judged)
"""What a tick may lead to while users are watched."""


def row(phase: Phase, *stays: type, moves: dict[type, Phase]) -> dict[type, Phase]:
    """What can happen in an open phase: `stays` leave it as it is, `moves` lead to others, a rollback always can."""
    return {**dict.fromkeys(stays, phase), **moves, events.RollbackStarted: P.ROLLING_BACK}


TABLE: dict[Phase, dict[type, Phase]] = {
    # Stable is proven, then the canary runs beside it at weight 0.
    P.PREPARING: row(P.PREPARING, events.Started, events.Prepared, moves={events.CanaryStarted: P.CHECKING}),
    # The smoke suite runs on both arms, apart from users. A first installation has nothing to bake.
    P.CHECKING: row(
        P.CHECKING, events.CanaryStarted, events.SuiteRan,
        moves={events.SmokePassed: P.SHIFTING, events.BakePassed: P.PROMOTING},
    ),
    # The weight of the step is put in force; the canary may have to grow for it.
    P.SHIFTING: row(P.SHIFTING, events.CanaryStarted, moves={events.Shifted: P.BAKING}),
    # The weight is held while evidence comes in.
    P.BAKING: row(
        P.BAKING, *TICK, events.CanaryStarted, events.Shifted,
        moves={events.StepPassed: P.SHIFTING, events.BakePassed: P.PROMOTING, events.Paused: P.PAUSED},
    ),
    # The weight is held until a person decides; the judge goes on.
    P.PAUSED: row(
        P.PAUSED, *TICK, events.Shifted, events.Finished,
        moves={events.Resumed: P.BAKING, events.StepPassed: P.SHIFTING, events.BakePassed: P.PROMOTING},
    ),
    # All users go to the canary track, `Committed` is passed, stable is replaced and proven, all users go back to it.
    P.PROMOTING: row(
        P.PROMOTING, events.CanaryStarted, events.Shifted, events.SuiteRan, events.SmokePassed, events.Replaced,
        events.Committed, moves={events.Promoted: P.WATCHING},
    ),
    # Users are on the new stable; the old revision can still be brought back.
    P.WATCHING: row(P.WATCHING, *TICK, events.SmokePassed, moves={events.Watched: P.PROMOTED}),
    # Users first, slow things later. An unconfirmed end (`Finished`) stays here, so that `recover` goes on.
    P.ROLLING_BACK: row(
        P.ROLLING_BACK, events.Shifted, events.CanaryStarted, events.Replaced, events.Restored, events.Finished,
        moves={events.RolledBack: P.ROLLED_BACK},
    ),
    P.PROMOTED: {events.Finished: P.PROMOTED},
    P.ROLLED_BACK: {events.Finished: P.ROLLED_BACK},
}  # fmt: skip


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
    observed: events.Observed | None = None
    failed_probes: dict[str, int] = field(default_factory=dict)
    outcome: events.Judged | None = None
    reported: str = ""
    pause: events.Paused | None = None
    waiting: events.Requested | None = None
    signal: int = 0
    signals: int = 0
    cause: events.RollbackStarted | None = None
    watched: events.Watched | None = None
    hurry: bool = False
    until_paused: bool = False
    noted: list[str] = field(default_factory=list)
    trouble: str = ""
    finished: events.Finished | None = None

    def apply(self, event: Event) -> None:
        """Fold one event. Raises IllegalEvent, before anything changed, when it cannot happen here."""
        kind = type(event)
        target = TABLE[self.phase].get(kind)
        if target is None and (
            kind not in ANYWHERE or (self.over and kind not in (events.GuardianActed, events.Notified))
        ):
            raise IllegalEvent(
                f"{kind.__name__} cannot happen in {self.phase}", remedy="the journal was edited, or this is a bug"
            )
        self._fold(event)
        self.phase = target or self.phase

    def _fold(self, event: Event) -> None:
        match event:
            case events.Started():
                self._begin(event)
            case events.Prepared():
                self.prepared = True
            case events.CanaryStarted():
                self._canary_started(event)
            case events.SuiteRan(result):
                self._suite(result)
            case events.SmokePassed() | events.BakePassed() if self.phase is not Phase.WATCHING:
                self.smoke, self.attempts = {}, {}
            case events.StepPassed():
                self.step += 1
            case events.Shifted():
                self._shifted(event)
            case events.Sampled():
                self._sampled(event)
            case events.Observed():
                self._observed(event)
            case events.Judged():
                self.outcome, self.reported = event if event.final else self.outcome, event.reason
            case events.Requested():
                self._requested(event)
            case events.Paused():
                self.pause, self.waiting = event, None
            case events.Noted(what):
                self.noted.append(what)
            case events.Committed():
                self._committed(event)
            case events.Replaced():
                self._replaced(event)
            case events.Promoted():
                self.promoted, self.smoke, self.attempts = True, {}, {}
                self.evidence = Evidence(self.plan, self.plan.watch, {})
            case events.Watched():
                self.watched = event
            case events.RollbackStarted():
                self._rolling_back(event)
            case events.Unconfirmed():
                self.track_lost = self.phase is Phase.ROLLING_BACK and not self.promoted and not self.proven
            case events.Finished():
                self.finished = event
            case events.Resumed():
                self._resumed(event)
            case events.GuardianActed(weight, _, confirmed):
                self.weight = weight if confirmed else None
            case _:
                pass

    def _begin(self, event: events.Started) -> None:
        self.id, self.plan = event.release, event.plan
        self.old = {name: arms.get(Arm.STABLE, "") for name, arms in event.revisions.items()}
        self.new = {name: arms[Arm.CANARY] for name, arms in event.revisions.items()}
        self.first, self.restore, self.one_act = event.first, event.restore, event.one_act
        self.committed = self.promoted = event.restore
        self.serving = dict(self.new if event.restore else self.old)
        self.noted += event.notes
        self.evidence = Evidence(self.plan, self.plan.bake, event.history)

    def _canary_started(self, event: events.CanaryStarted) -> None:
        self.canary, self.sized, self.proven = event.instances, event.weight, True
        if self.phase is Phase.ROLLING_BACK:
            self.tracked_old, self.safe_weight = self.promoted, 100

    def _requested(self, event: events.Requested) -> None:
        self.signal, self.signals = event.signal or self.signal, self.signals + bool(event.signal)
        if event.what in ("pause", "promote") and self.phase in (Phase.PREPARING, Phase.CHECKING, Phase.SHIFTING):
            self.waiting = event

    def _resumed(self, event: events.Resumed) -> None:
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

    def _shifted(self, event: events.Shifted) -> None:
        if event.weight != self.weight or self.phase is Phase.SHIFTING:
            self.evidence.begin()
            self.checked = None
        self.weight, self.stable_proven = event.weight, event.proven

    def _sampled(self, event: events.Sampled) -> None:
        before, self.trouble = self.evidence.troubled_total, event.trouble
        self.evidence.fold(event, self.weight or 0, watching=self.phase is Phase.WATCHING)
        if self.evidence.troubled_total == before:
            self.reported = ""

    def _observed(self, event: events.Observed) -> None:
        self.observed = event
        if self.phase is Phase.WATCHING and not self.replaced:  # after a take-over
            self.replaced = tuple(i for i in event.instances if i.arm is Arm.STABLE and not self.keeps(i.service))
        for probe in event.probes:
            self.failed_probes[probe.service] = (probe.status != 200) * (1 + self.failed_probes.get(probe.service, 0))

    def _committed(self, event: events.Committed) -> None:
        replaced = self.plan.services if self.one_act else self.plan.routed
        self.serving.update({s.name: UNPROVEN for s in replaced if not self.keeps(s.name)})
        self.committed, self.safe_weight = True, 0 if self.routed_on(self.new) else event.safe_weight

    def _replaced(self, event: events.Replaced) -> None:
        self.replaced += event.instances
        self.serving.update(event.revisions)
        if self.committed and self.routed_on(self.new if self.cause is None else self.old):
            self.safe_weight = 0

    def _rolling_back(self, event: events.RollbackStarted) -> None:
        self.cause = self.cause or event
        self.smoke, self.tracked_old, self.stable_proven = {}, False, False
        self.proven &= not self.routed_on(self.new)  # the canary track may be emptied by then
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


def fold(journal: Iterable[Event]) -> Release:
    """The release that a whole journal tells of."""
    release = Release()
    for event in journal:
        release.apply(event)
    return release
