"""Where releases can run: one module per target, imported when something is done there."""

from __future__ import annotations

from importlib import import_module

from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.ports import Clock
from onlyvips_release.core.target import Target
from onlyvips_release.environment import Environment

MODULES = {"embedded": "onlyvips_release.targets.embedded"}


def open_target(plan: ReleasePlan, environment: Environment, clock: Clock) -> Target:
    """Everything that a release of this plan needs from its target."""
    opened: Target = import_module(MODULES[plan.target]).open_target(plan, environment, clock)
    return opened
