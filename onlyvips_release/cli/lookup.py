"""Which platform a command means: by its plan file, or by its name. Whoever gets one has taken the signals over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onlyvips_release
from onlyvips_release.environment import read_environment
from onlyvips_release.errors import Refused
from onlyvips_release.state.layout import Layout, platforms

if TYPE_CHECKING:
    from onlyvips_release.platform import Platform


def load_platform(plan: Path) -> Platform:
    """The platform of a plan file. Raises PlanError."""
    platform = onlyvips_release.Platform.load(plan)
    platform.clock.listen()
    return platform


def open_platform(layout: Layout) -> Platform | None:
    """The platform as its newest journal describes it; None = no release of it ever began."""
    platform = onlyvips_release.Platform.opened(layout)
    if platform is not None:
        platform.clock.listen()
    return platform


def released_platform(target: str) -> Platform:
    """The same of a plan file or a platform's name. Raises Refused where no release ever began."""
    layout = find_layout(target)
    platform = open_platform(layout)
    if platform is None:
        raise Refused(f"no release ever began in {layout.folder}", remedy="see `onlyvips-release status`")
    return platform


def find_layouts(target: str | None) -> list[Layout]:
    """The paths of a platform; None = of every platform of this machine."""
    return platforms(read_environment().state) if target is None else [find_layout(target)]


def find_layout(target: str) -> Layout:
    """The paths of a platform, by its plan file or by its name."""
    state = read_environment().state
    if not Path(target).is_file():
        return Layout(state, target)
    from onlyvips_release.planfile import platform_of  # noqa: PLC0415 - a name needs no YAML

    return Layout(state, platform_of(Path(target)))
