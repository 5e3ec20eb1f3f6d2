"""Decides an old release again, offline, from its journal: with its own plan or with other limits. Pure.

Exact up to the recorded end, for the recorded weights: what the record does not hold was never seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from onlyvips_release.core import events
from onlyvips_release.core.events import Event, Phase
from onlyvips_release.core.lifecycle import TABLE, Release
from onlyvips_release.core.model import Verdict
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.policy import decide
from onlyvips_release.errors import Refused

ENDS_EARLY = "the record ends before this plan would have decided"
FOLLOWED = (events.Prepared, events.CanaryStarted, events.SuiteRan, events.SmokePassed, events.Observed)
"""Events that happen to a release whatever its limits are, where its phase has room for them."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """`decided` None: the record does not reach that far, `sentence` says so. `recorded`: how the release ended."""

    release: str
    decided: events.Judged | None
    tick: int | None
    sentence: str
    recorded: str


def backtest(journal: Iterable[Event], other: ReleasePlan | None = None) -> Replayed:
    """What the judge and the recorded checks lead to. Raises Refused where the other plan has other weights."""
    happened = list(journal)
    started = next((event for event in happened if isinstance(event, events.Started)), None)
    if started is None:
        raise Refused("the journal holds no release", remedy="give releases/<id>/journal.jsonl")
    finished = next((event for event in reversed(happened) if isinstance(event, events.Finished)), None)
    recorded = finished.sentence if finished else "the release has no end"
    plan = _with_limits(started.plan, other) if other else started.plan
    tick, decided = next(_decisions(happened, replace(started, plan=plan)), (None, None))
    sentence = decided.sentence if decided else ENDS_EARLY
    return Replayed(started.release, decided, tick, sentence, recorded)


def _with_limits(plan: ReleasePlan, other: ReleasePlan) -> ReleasePlan:
    """The recorded services under the other plan's limits."""
    then, now = ([step.weight for step in one.steps] for one in (plan, other))
    if then != now:
        raise Refused(
            f"the record was made at {then} %, the other plan goes to {now} %",
            remedy="replay only with the same weights: what users at other weights saw is not in the record",
        )
    if plan.judge.tick != other.judge.tick:
        raise Refused("the other plan has other ticks than the record", remedy=f"give it tick: {plan.judge.tick}")
    names = ("steps", "patience", "on_inconclusive", "accept", "judge")
    return replace(plan, **{name: getattr(other, name) for name in names})


def _decisions(happened: Iterable[Event], started: events.Started) -> Iterator[tuple[int, events.Judged]]:
    """Final decisions of the bakes: a tick is decided when all that it showed (instances, probes, suites) is folded.
    Recorded decisions are left out."""
    release, tick = Release(), None
    for event in (*happened, None):
        if tick is not None and not isinstance(event, events.Observed | events.SuiteRan):
            for word in decide(release):
                if isinstance(word, events.Judged) and _ends(word, release):
                    yield tick, word
                    return
                if isinstance(word, events.Judged | events.StepPassed):
                    release.apply(word)
            tick = None
        match event:
            case events.Started():
                release.apply(started)
            case _ if isinstance(event, FOLLOWED):
                if type(event) in TABLE[release.phase]:
                    release.apply(event)
            case events.Shifted(weight=weight) if release.phase is Phase.SHIFTING and weight == release.current.weight:
                release.apply(event)
            case events.StepPassed() if release.phase is Phase.BAKING and release.current.approve:
                release.apply(event)
            case events.Sampled() if release.phase is Phase.BAKING:
                release.apply(event)
                tick = event.tick
            case events.Shifted() if release.phase is Phase.BAKING:
                return
            case events.RollbackStarted() | events.Promoted():
                return
            case _:
                pass


def _ends(judged: events.Judged, release: Release) -> bool:
    return judged.final and (judged.verdict is not Verdict.PASS or release.at_last_step)
