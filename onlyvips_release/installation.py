"""What a first installation releases. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import ReleasePlan, Revision

WATCH = timedelta(seconds=15)
"""Longest watch of a first installation: no users were there before it whom a longer one could protect."""

Revisions = dict[str, dict[Arm, str]]
"""service -> arm -> name of its revision, "" = none."""


def new_services(plan: ReleasePlan, serving: Mapping[str, Revision]) -> dict[str, Revision]:
    """What must be installed: `stable` of each service that nothing serves yet, else its `canary`."""
    return {s.name: s.stable or s.canary for s in plan.services if s.name not in serving}


def installation(
    plan: ReleasePlan, serving: Mapping[str, Revision], new: Mapping[str, Revision]
) -> tuple[ReleasePlan, Revisions]:
    """The plan of a first installation, in which services that are served already stay as they are.

    The revision to be installed is the canary; there is no stable one to compare it with.
    """
    wanted = {**new, **serving}
    services = tuple(replace(s, stable=None, canary=wanted[s.name]) for s in plan.services)
    revisions = {
        s.name: {Arm.STABLE: serving[s.name].name if s.name in serving else "", Arm.CANARY: wanted[s.name].name}
        for s in plan.services
    }
    return replace(plan, services=services, watch=min(plan.watch, WATCH)), revisions
