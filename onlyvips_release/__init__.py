"""Take a new version of a platform to production without hurting its users.

    plan -> PREPARING -> CHECKING -> SHIFTING -> BAKING -> PROMOTING -> WATCHING -> PROMOTED
                 |           |           ^  |       |          |            |
                 |           |           +--|-------+          |            |
                 +-----------+--------------+--- ROLLING_BACK -+------------+---> ROLLED_BACK

    next_command(release) -> runner -> port -> adapter -> the world
             ^                                    |
    release.apply(event) <- journal <- event <----+         samples -> judge -> policy -> verdict

Read on in `core.plan`, `core.lifecycle`, `core.policy`, `runner`. Importing this loads nothing else: each name of the
public surface is loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onlyvips_release.core.events import *
    from onlyvips_release.core.lifecycle import Release
    from onlyvips_release.core.limits import *
    from onlyvips_release.core.model import Arm, Verdict
    from onlyvips_release.core.plan import *
    from onlyvips_release.errors import *  # type: ignore[assignment]  # `Interfered` is the event
    from onlyvips_release.platform import Platform
    from onlyvips_release.targets.parts import External, Process

__version__ = "0.1.0"

MODULES = (
    *("errors", "core.plan", "core.limits", "core.model", "core.events", "core.lifecycle"),
    *("targets.parts", "platform"),
)
"""Where the public names are found, what is slow to load last."""

__all__ = [  # noqa: RUF022
    "Accept", "Arm", "BakePassed", "CanaryStarted", "Committed", "ErrorLimits", "Event", "External", "Finished",
    "GaugeLimits", "GuardianActed", "Health", "Identity", "Interfered", "Interrupted", "JournalError", "JudgePlan",
    "Judged", "LeaseHeld", "LeaseLost", "Line", "MINUTE", "NotConfirmed", "NotReady", "Noted", "Notified",
    "Observed", "OnInconclusive", "Paused", "Phase", "PlanError", "Platform", "Prepared", "Problem", "Process",
    "Promoted", "Refused", "Release", "ReleaseError", "ReleasePlan", "Replaced", "Requested", "Restored", "Resumed",
    "Revision", "RollbackStarted", "RolledBack", "SECOND", "Sampled", "Service", "Shifted", "SloLimits",
    "SmokePassed", "Started", "Step", "StepPassed", "Suite", "SuiteRan", "TargetError", "Unavailable",
    "Unconfirmed", "Verdict", "Watched", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module in MODULES if name in __all__ else ():
        found = import_module(f"onlyvips_release.{module}")
        if hasattr(found, name) and not (name == "Interfered" and module == "errors"):
            return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
