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

from onlyvips_release.errors import (
    Interrupted,
    JournalError,
    LeaseHeld,
    LeaseLost,
    NotConfirmed,
    NotReady,
    PlanError,
    Problem,
    Refused,
    ReleaseError,
    TargetError,
    Unavailable,
)

if TYPE_CHECKING:
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
    from onlyvips_release.core.lifecycle import (
        Release,
    )
    from onlyvips_release.core.limits import (
        ErrorLimits,
        GaugeLimits,
        JudgePlan,
        Line,
        SloLimits,
    )
    from onlyvips_release.core.model import (
        Arm,
        Verdict,
    )
    from onlyvips_release.core.plan import (
        MINUTE,
        SECOND,
        Accept,
        Health,
        Identity,
        OnInconclusive,
        ReleasePlan,
        Revision,
        Service,
        Step,
        Suite,
    )
    from onlyvips_release.platform import (
        Platform,
    )
    from onlyvips_release.targets.parts import (
        External,
        Process,
    )

__version__ = "0.1.0"

SURFACE = {
    "platform": """
        Platform
    """,
    "core.events": """
        Event Phase BakePassed CanaryStarted Committed Finished GuardianActed Interfered Judged Noted Notified
        Observed Paused Prepared Promoted Replaced Requested Restored Resumed RollbackStarted RolledBack
        Sampled Shifted SmokePassed Started StepPassed SuiteRan Unconfirmed Watched
    """,
    "core.lifecycle": """
        Release
    """,
    "core.model": """
        Arm Verdict
    """,
    "core.limits": """
        ErrorLimits GaugeLimits JudgePlan Line SloLimits
    """,
    "core.plan": """
        MINUTE SECOND Accept Health Identity OnInconclusive ReleasePlan Revision Service Step Suite
    """,
    "targets.parts": """
        External Process
    """,
}
"""By module: the names that are loaded from there when they are asked for."""

__all__ = [
    "MINUTE",
    "SECOND",
    "Accept",
    "Arm",
    "BakePassed",
    "CanaryStarted",
    "Committed",
    "ErrorLimits",
    "Event",
    "External",
    "Finished",
    "GaugeLimits",
    "GuardianActed",
    "Health",
    "Identity",
    "Interfered",
    "Interrupted",
    "JournalError",
    "JudgePlan",
    "Judged",
    "LeaseHeld",
    "LeaseLost",
    "Line",
    "NotConfirmed",
    "NotReady",
    "Noted",
    "Notified",
    "Observed",
    "OnInconclusive",
    "Paused",
    "Phase",
    "PlanError",
    "Platform",
    "Prepared",
    "Problem",
    "Process",
    "Promoted",
    "Refused",
    "Release",
    "ReleaseError",
    "ReleasePlan",
    "Replaced",
    "Requested",
    "Restored",
    "Resumed",
    "Revision",
    "RollbackStarted",
    "RolledBack",
    "Sampled",
    "Service",
    "Shifted",
    "SloLimits",
    "SmokePassed",
    "Started",
    "Step",
    "StepPassed",
    "Suite",
    "SuiteRan",
    "TargetError",
    "Unavailable",
    "Unconfirmed",
    "Verdict",
    "Watched",
    "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in SURFACE.items():
        if name in names.split():
            return getattr(import_module(f"onlyvips_release.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
