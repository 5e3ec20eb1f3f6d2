"""What a controller does first when it takes a release over, and last when it cannot go on. Users before all else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from onlyvips_release.core.commands import Observe, StartCanary
from onlyvips_release.core.events import Event, Finished, Noted
from onlyvips_release.core.model import Arm
from onlyvips_release.errors import JournalError, NotConfirmed, Refused, ReleaseError, TargetError
from onlyvips_release.upkeep import POLL_INTERVAL, Upkeep

READY_WITHIN = 30.0
"""Seconds that revived instances have before the release goes on."""

FAILED = (TargetError, Refused)
"""An act that failed: a take-over goes on with the next one."""

LOOK_AFTER_LOSS = 5.0
"""Seconds for which a controller that lost its claim looks where users are."""


def take_over(upkeep: Upkeep, events: Iterable[Event]) -> None:
    """The safe weight is written even where no router runs, then what users are on is started, then all else.

    `events` tell who took over and why; they are recorded when users are on the safe side.
    """
    ports, track = upkeep.ports, upkeep.release.track
    upkeep.renew_lease(Observe())
    with contextlib.suppress(*FAILED):
        ports.router.set_weight(upkeep.safe_weight())
    upkeep.renew_lease(StartCanary(Arm.CANARY, 100))
    revived: list[str] = []
    with contextlib.suppress(*FAILED):
        if track is not None:
            upkeep.start_track(track, 100)
    with contextlib.suppress(*FAILED):
        revived += ports.workload.revive()
    with contextlib.suppress(*FAILED):
        revived += ports.router.revive()
    with contextlib.suppress(*FAILED):
        if track is None:  # also where `down` stopped it
            ports.workload.promote(ports.workload.stable())
    with contextlib.suppress(*FAILED):
        if track is not None:
            upkeep.point_canary(upkeep.start_track(track, 100), track)
    wait_for_answers(upkeep, Arm.STABLE if track is None else Arm.CANARY, needed=bool(revived))
    upkeep.mend_endpoints(Arm.STABLE)
    upkeep.record(*events, *(Noted(f"{name} was dead and was started again") for name in revived))


def wait_for_answers(upkeep: Upkeep, arm: Arm, *, needed: bool) -> None:
    """Until every service that was installed answers a pinned request on this arm, or the time for it is over."""
    clock, installed = upkeep.ports.clock, upkeep.release.installed
    end = clock.monotonic() + READY_WITHIN
    while needed and clock.monotonic() < end:
        if all(probe.status == 200 for probe in upkeep.ports.prober.probe(arm, 1) if probe.service in installed):
            return
        clock.sleep(POLL_INTERVAL)


def stop_unrecorded(upkeep: Upkeep, error: JournalError) -> None:
    """The journal cannot be written: stop, and set the safe weight (this needs no disk space)."""
    release, router = upkeep.release, upkeep.ports.router
    message, remedy = f"{error}; users are not proven on stable", router.by_hand(release.safe_weight)
    try:
        router.set_weight(release.safe_weight)
    except TargetError as failed:
        raise NotConfirmed(message, remedy=remedy) from failed
    if release.safe_weight or not upkeep.is_proven(Arm.STABLE, upkeep.routed(release.serving)):
        raise NotConfirmed(message, remedy=remedy) from error


def look_after_loss(upkeep: Upkeep) -> None:
    """Somebody else holds the platform: nothing is touched, only looked at."""
    release, ports = upkeep.release, upkeep.ports
    end = ports.clock.monotonic() + LOOK_AFTER_LOSS
    while ports.clock.monotonic() < end:
        with contextlib.suppress(ReleaseError):
            back = ports.router.read_weight() == 0
            if back and upkeep.is_proven(Arm.STABLE, upkeep.routed(release.old)):
                sentence = "the claim was lost to another command; users are on stable"
                release.finished = Finished(release.phase, 3, sentence)
                return
        ports.clock.sleep(POLL_INTERVAL)
    sentence = "the claim was lost to another command, and users are not proven on stable"
    release.finished = Finished(release.phase, 4, sentence)
