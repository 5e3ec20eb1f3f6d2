"""What can happen to a release: its events, which are kept in its journal. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onlyvips_release.core.judge.service_history import ServiceHistory
from onlyvips_release.core.model import Arm, Counters, Instance, Percent, Probe, SuiteResult, Verdict
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.reasons import Reason


class Phase(StrEnum):
    """Where a release stands (architecture: Flow)."""

    PREPARING = "PREPARING"
    CHECKING = "CHECKING"
    SHIFTING = "SHIFTING"
    BAKING = "BAKING"
    PAUSED = "PAUSED"
    PROMOTING = "PROMOTING"
    WATCHING = "WATCHING"
    ROLLING_BACK = "ROLLING_BACK"
    PROMOTED = "PROMOTED"
    ROLLED_BACK = "ROLLED_BACK"


# --- what happened ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The release exists. `revisions`: service -> arm -> name; `holder` says who, where, from which CI job.

    `history`: what earlier releases taught the judge, by service; `notes`: where that is from, or why it is not used.
    `restore`: users are on the canary revisions of an earlier release, and the stable ones are to be brought back.
    `first`: a first installation, nothing serves users yet. `one_act`: the target replaces services with and without
    traffic together.
    """

    release: str
    target: str
    plan: ReleasePlan
    plan_sha256: str
    holder: Mapping[str, str]
    revisions: Mapping[str, Mapping[Arm, str]]
    history: Mapping[str, ServiceHistory] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    restore: bool = False
    first: bool = False
    one_act: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Stable runs and answers; `way_back`: service -> identity of what users can be sent back to."""

    way_back: Mapping[str, str]
    route_base: str = ""


@dataclass(frozen=True, slots=True)
class CanaryStarted:
    """These instances are ready in the canary track, sized for `weight`, and proven by pinned requests."""

    instances: tuple[Instance, ...]
    weight: Percent = 100


@dataclass(frozen=True, slots=True)
class SuiteRan:
    """One run of a suite ended."""

    result: SuiteResult


@dataclass(frozen=True, slots=True)
class SmokePassed:
    """The smoke suite passed wherever the release needs it before its first shift; `arm`: the arm that came last."""

    arm: Arm


@dataclass(frozen=True, slots=True)
class Shifted:
    """`weight` is in force at the data plane since `at` (UTC, ISO 8601).

    `proven`: pinned requests to stable were answered by the expected revision right after it (only in a rollback).
    """

    weight: Percent
    at: str
    took_ms: float
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Sampled:
    """Raw counts at a tick of the release's clock; `trouble` says why this tick must not be judged.

    `lost`: service -> users' requests that failed before an arm was chosen.
    """

    tick: int
    series: Counters
    trouble: str = ""
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the target and the pinned probes showed at the last tick; recorded where it is not as before, and at every
    failed probe. `weight` None = it could not be read."""

    instances: tuple[Instance, ...]
    probes: tuple[Probe, ...] = ()
    weight: Percent | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What the verdict algebra said; `final` ends the step."""

    verdict: Verdict
    reason: Reason
    sentence: str
    final: bool
    R: float = 0.0
    blame: str = ""
    metrics: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StepPassed:
    """The step under way has passed; the next one follows."""


@dataclass(frozen=True, slots=True)
class BakePassed:
    """The last step has passed (a first installation has none): the canary is promoted."""


@dataclass(frozen=True, slots=True)
class Requested:
    """A person or a signal asked for something (abort, pause, resume, promote); `signal` 0 = a person."""

    what: str
    by: str
    signal: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Paused:
    """Held until a person says go on; `approval` = the plan asks for one, and going on means the next step."""

    why: str
    weight: Percent
    approval: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """Somebody goes on: an unfinished step begins again.

    `taken_over`: nobody held the weight meanwhile, and what was proven before must be proven again; `hurry`: only to
    end the release, without watching it.
    """

    by: str
    taken_over: bool = False
    hurry: bool = False


@dataclass(frozen=True, slots=True)
class Interfered:
    """Somebody else changed what the release owns."""

    what: str
    expected: str = ""
    found: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth telling that decides nothing (a router started again, an unjudged guard)."""

    what: str


@dataclass(frozen=True, slots=True)
class Committed:
    """Point of no return: from here on forward is the safe direction, until the new stable is proven."""

    safe_weight: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """These services' stable instances are now of these revisions, proven where they take traffic."""

    revisions: Mapping[str, str]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Promoted:
    """The canary revision is stable, users are on it, the canary track is empty or idle."""

    at: str


@dataclass(frozen=True, slots=True)
class Watched:
    """The watch after promotion ended without anything against the new stable; `verdict`: PASS, or INCONCLUSIVE."""

    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class RollbackStarted:
    """Users go back, because of `cause`; `tool` = the cause is an error of the tool itself."""

    cause: str
    tool: bool = False


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Users are on stable, proven; the canary is removed."""

    at: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The old revision serves again after the point of no return."""

    to: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GuardianActed:
    """The controller gave no sign of life, so the guardian wrote the safe `weight`; `confirmed` = it was in force."""

    weight: int
    at: str
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Something could not be proven; `command` is what a person can run without the tool."""

    what: str
    since: str
    command: str


@dataclass(frozen=True, slots=True)
class Notified:
    """A message reached people through `sink`; `key` names it there."""

    sink: str
    key: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end, with the exit code of the command and the sentence for people."""

    phase: Phase
    exit: int
    sentence: str


Event = (
    Started | Prepared | CanaryStarted | SuiteRan | SmokePassed | Shifted | Sampled | Observed | Judged
    | StepPassed | BakePassed | Requested | Paused | Resumed | Interfered | Noted | Committed | Replaced
    | Promoted | Watched | RollbackStarted | RolledBack | Restored | GuardianActed | Unconfirmed | Notified
    | Finished
)  # fmt: skip
