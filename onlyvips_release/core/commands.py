"""What a release does next: commands, and the one that each state leads to. Pure.

Every command may be repeated: after a crash the journal is folded again and the same command is issued again. A phase
in which nothing is issued is at its end, or waits for a person.
"""

from __future__ import annotations

from dataclasses import dataclass

from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Percent, Verdict


@dataclass(frozen=True, slots=True)
class Prepare:
    """Prove stable and the way back; bring the routes to their base."""


@dataclass(frozen=True, slots=True)
class StartCanary:
    """Run `revisions` in the canary track, sized for `weight`, and prove them by pinned requests."""

    revisions: Arm
    weight: Percent


@dataclass(frozen=True, slots=True)
class RunSmoke:
    """Run the smoke suite against one arm, pinned."""

    arm: Arm


@dataclass(frozen=True, slots=True)
class Shift:
    """Put a weight in force."""

    weight: Percent


@dataclass(frozen=True, slots=True)
class Observe:
    """Take one tick: inspect, sample, probe, decide."""


@dataclass(frozen=True, slots=True)
class ReplaceUnrouted:
    """Replace the services that take no traffic."""

    revisions: Arm


@dataclass(frozen=True, slots=True)
class Commit:
    """Pass the point of no return."""


@dataclass(frozen=True, slots=True)
class ReplaceStable:
    """Make `revisions` stable while users are on the canary track, and prove it."""

    revisions: Arm


@dataclass(frozen=True, slots=True)
class EndPromotion:
    """Drain and empty the canary track; the old revision stays idle where the target can keep it."""


@dataclass(frozen=True, slots=True)
class EndRollback:
    """Drain and remove all but stable, prove stable."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Clean up and say how it ended."""


@dataclass(frozen=True, slots=True)
class Leave:
    """A paused release that nobody will hold: weight 0, the canary kept warm."""


Command = (
    Prepare | StartCanary | RunSmoke | Shift | Observe | ReplaceUnrouted | Commit
    | ReplaceStable | EndPromotion | EndRollback | Finish | Leave
)  # fmt: skip


# --- which one ------------------------------------------------------------------------------------------------------


def next_command(release: Release) -> Command | None:
    """What a release in this state does next; None = nothing is left to do."""
    match release.phase:
        case Phase.PREPARING if not release.prepared:
            return Prepare()
        case Phase.PREPARING | Phase.CHECKING if not release.proven:
            return StartCanary(Arm.CANARY, 100 if release.first else release.current.weight)
        case Phase.CHECKING:
            return RunSmoke(_next_smoke(release))
        case Phase.SHIFTING | Phase.BAKING if not release.proven or release.sized < release.current.weight:
            return StartCanary(Arm.CANARY, release.current.weight)
        case Phase.SHIFTING:
            return Shift(release.current.weight)
        case Phase.PAUSED if release.finished:
            return None
        case Phase.PAUSED if release.until_paused:
            return Leave()
        case Phase.BAKING | Phase.PAUSED:
            return Observe() if release.weight is not None else Shift(release.current.weight)
        case Phase.PROMOTING:
            return _promotion(release)
        case Phase.WATCHING:
            return RunSmoke(Arm.STABLE) if Arm.STABLE not in release.smoke else Observe()
        case Phase.ROLLING_BACK:
            return _rollback(release) if release.finished is None else None
        case _:
            return Finish() if release.finished is None else None


def _next_smoke(release: Release) -> Arm:
    passed = {arm for arm, result in release.smoke.items() if result.verdict is Verdict.PASS}
    return Arm.STABLE if Arm.CANARY in passed and not release.first else Arm.CANARY


def _promotion(release: Release) -> Command:
    """The same on all targets. `Committed` is the point of no return."""
    if release.committed and release.routed_on(release.new):
        return Shift(0) if release.weight != 0 else EndPromotion()
    if not release.proven or release.sized < 100:
        return StartCanary(Arm.CANARY, 100)
    if release.weight != 100:
        return Shift(100)
    if release.committed:
        return ReplaceStable(Arm.CANARY)
    if not release.one_act and not release.unrouted_on(release.new):
        return ReplaceUnrouted(Arm.CANARY)
    if not release.one_act and release.plan.unrouted and Arm.CANARY not in release.smoke:
        return RunSmoke(Arm.CANARY)
    return Commit()


def _rollback(release: Release) -> Command:
    """Users first, slow things later.

    Behind `Committed` stable may be half replaced. Until `Promoted` users are on the canary track, and stay there while
    the old revision is made stable again. After it the track is empty: the old revision takes it, then users, then
    stable is replaced (a restore). A track that cannot be had is not waited for.
    """
    if release.committed and not release.first and not release.routed_on(release.old):
        if not release.track_lost and not (release.tracked_old if release.promoted else release.proven):
            return StartCanary(Arm.STABLE if release.promoted else Arm.CANARY, 100)
        return Shift(100) if release.weight != 100 and not release.track_lost else ReplaceStable(Arm.STABLE)
    if release.weight != 0:
        return Shift(0)
    if not release.first and not release.unrouted_on(release.old):
        return ReplaceUnrouted(Arm.STABLE)
    return EndRollback()
