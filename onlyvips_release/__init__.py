"""Take a new version of a platform to production without hurting its users.

    plan -> PREPARING -> CHECKING -> SHIFTING -> BAKING -> PROMOTING -> WATCHING -> PROMOTED
                 |           |           ^  |       |          |            |
                 |           |           +--|-------+          |            |
                 +-----------+--------------+--- ROLLING_BACK -+------------+---> ROLLED_BACK

    next_command(release) -> runner -> port -> adapter -> the world
             ^                                    |
    release.apply(event) <- journal <- event <----+         samples -> judge -> algebra -> verdict

Read on in `plan`, `lifecycle`, `algebra`, `runner`. Importing this does nothing; `Platform` is loaded when asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onlyvips_release.errors import PlanError, ReleaseError

if TYPE_CHECKING:
    from onlyvips_release.platform import Platform

__version__ = "0.1.0"
__all__ = ["PlanError", "Platform", "ReleaseError", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Platform":
        from onlyvips_release.platform import Platform  # noqa: PLC0415 - everything heavy hangs on it

        return Platform
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
