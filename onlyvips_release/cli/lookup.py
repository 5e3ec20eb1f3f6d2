"""Which platform a command means: by its plan file, or by its name. Whoever gets one has taken the signals over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onlyvips_release
from onlyvips_release.environment import find_place
from onlyvips_release.errors import Refused

if TYPE_CHECKING:
    from onlyvips_release.platform import Platform


def load_platform(plan: Path) -> Platform:
    """The platform of a plan file. Raises PlanError."""
    platform = onlyvips_release.Platform.load(plan)
    platform.clock.listen()
    return platform


def open_platform(folder: Path) -> Platform | None:
    """The platform as its newest journal describes it; None = no release ever began in this state folder."""
    platform = onlyvips_release.Platform.opened(folder)
    if platform is not None:
        platform.clock.listen()
    return platform


def released_platform(target: str) -> Platform:
    """The same of a plan file or a platform's name. Raises Refused where no release ever began."""
    folder = state_folder(target)
    platform = open_platform(folder)
    if platform is None:
        raise Refused(f"no release ever began in {folder}", remedy="see `onlyvips-release status`")
    return platform


def state_folders(target: str | None) -> list[Path]:
    """Where the state of a platform is kept; None = of every platform of this machine."""
    if target is not None:
        return [state_folder(target)]
    return sorted(path.parent for path in find_place().state.glob("*/live"))


def state_folder(target: str) -> Path:
    """Where the state of a platform is kept, by its plan file or by its name."""
    state = find_place().state
    if not Path(target).is_file():
        return state / target
    from onlyvips_release.planfile import platform_of  # noqa: PLC0415 - a name needs no YAML

    return state / platform_of(Path(target))
