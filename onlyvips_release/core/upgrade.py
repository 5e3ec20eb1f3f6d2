"""Events of journals of version 1, as today's table expects them. Pure.

Then a passing suite or verdict moved the release by itself; now `SmokePassed`, `StepPassed` and `BakePassed` do. A
failed watch was a `Watched` of its own; now it is a `Judged`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onlyvips_release.core import events
from onlyvips_release.core.events import Event, Phase
from onlyvips_release.core.lifecycle import TABLE
from onlyvips_release.core.model import Arm, Verdict
from onlyvips_release.core.reasons import Reason


@dataclass(slots=True)
class Upgrade:
    """Of one journal, event by event: only what the events of version 1 left out is followed."""

    phase: Phase = Phase.PREPARING
    steps: int = 1
    step: int = 0
    passed: set[Arm] = field(default_factory=set)

    def events(self, event: Event) -> Iterator[Event]:
        """The event as it is written today, and what followed from it."""
        if isinstance(event, events.Watched) and event.verdict is Verdict.FAIL:
            event = events.Judged(Verdict.FAIL, Reason.WATCH, event.sentence, final=True)
        yield from self._follow(event)
        match event:
            case events.Started():
                self.steps = len(event.plan.steps)
            case events.SuiteRan(result) if result.suite == "smoke" and self.phase is Phase.CHECKING:
                if result.verdict is Verdict.PASS:
                    self.passed.add(result.arm)
                if self.passed == set(Arm):
                    yield from self._follow(events.SmokePassed(result.arm))
            case events.Judged(verdict=Verdict.PASS, final=True) if self.phase in (Phase.BAKING, Phase.PAUSED):
                last = self.step == self.steps - 1 or event.reason == Reason.PROMOTED_BY_A_PERSON
                self.step += 0 if last else 1
                yield from self._follow(events.BakePassed() if last else events.StepPassed())
            case events.RollbackStarted() | events.Resumed(taken_over=True):
                self.passed = set()
            case _:
                pass

    def _follow(self, event: Event) -> Iterator[Event]:
        self.phase = TABLE[self.phase].get(type(event), self.phase)
        yield event
