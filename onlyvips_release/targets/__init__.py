"""Where releases can run: one row per target, found by its name or by the kind of a part of a plan.

The built-in rows stand in `BUILT_IN`, so that no command scans the metadata of installed packages for them. A package
that brings a further target names its row in the entry point group `onlyvips_release.targets`. Either way a row is
imported when it is needed, and the target's `module` not before something is done there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from onlyvips_release.core.limits import TICK
from onlyvips_release.core.plan import LISTEN, PlatformPart, ServicePart
from onlyvips_release.errors import Refused

if TYPE_CHECKING:
    from onlyvips_release.core import target as seam
    from onlyvips_release.core.plan import ReleasePlan
    from onlyvips_release.core.ports import Clock
    from onlyvips_release.environment import Environment

GROUP = "onlyvips_release.targets"
BUILT_IN = {"embedded": "onlyvips_release.targets.embedded_plan:TARGET"}
"""Name -> row. The first is the target of a plan that names none."""

NOT_BUILT = frozenset({
    "launch", "notify", "docker", "kubernetes", "image", "compose", "deployment", "network",
})  # fmt: skip
"""Targets and keys of plans that are refused until they are built."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a plan has where its file gives nothing, and how many pinned answers prove a revision."""

    tick: timedelta = TICK
    listen: tuple[str, int] = LISTEN
    drain: timedelta = timedelta(seconds=10)
    proof: int = 20


@dataclass(frozen=True, slots=True)
class Target:
    """One row. `module` makes the target's ports from a plan: its `open_target(plan, environment, clock)`.

    `service`: parts of a service; the plan gives each service exactly one, or is refused with `missing` or `several`.
    `engine`: the target's part of the plan as a whole. `revision`: the keys of a revision that the target takes.
    `old_part` makes the record of a part from the record of a service that was written when services had no `runs`.
    """

    name: str
    module: str
    service: tuple[type[ServicePart], ...]
    missing: str
    several: str
    engine: type[PlatformPart] | None = None
    revision: tuple[str, ...] = ("revision", "command", "env")
    defaults: Defaults = Defaults()
    old_part: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None


def find(name: str) -> Target:
    """The row of a target; "" is the first one. Refused where no such target is installed."""
    where = BUILT_IN.get(name or next(iter(BUILT_IN)))
    if where:
        return _load(where)
    if name not in NOT_BUILT and (where := _installed().get(name)):
        return _load(where)
    raise Refused(_missing(name), remedy="correct the target in the plan, or install the package that brings it")


def open_target(plan: ReleasePlan, environment: Environment, clock: Clock) -> seam.Target:
    """Everything that a release of this plan needs from its target: `open_target` of the row's module."""
    opened: seam.Target = import_module(find(plan.target).module).open_target(plan, environment, clock)
    return opened


def every() -> tuple[Target, ...]:
    """All rows, the built-in ones first."""
    return tuple(_load(where) for where in dict.fromkeys((*BUILT_IN.values(), *_installed().values())))


def part(kind: str) -> type[ServicePart] | type[PlatformPart]:
    """The class of a part that journals and plans call `kind`. Refused where no installed target has it."""
    for row in _rows():
        for found in (*row.service, row.engine):
            if found and found.kind == kind:
                return found
    raise Refused(f"no target that is installed has {kind!r}", remedy="install the package that brings this target")


def old_part(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of the part of a service in a journal without `runs`: only the first target wrote such ones."""
    make = find("").old_part
    return make(service) if make else {}


def _installed() -> dict[str, str]:
    """Rows that packages name in their metadata."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and rarely needed

    return {point.name: point.value for point in entry_points(group=GROUP)}


def _rows() -> Iterator[Target]:
    """The rows; packages are not scanned while a built-in row will do."""
    yield from map(_load, BUILT_IN.values())
    yield from every()


def _missing(name: str) -> str:
    known = ", ".join(row.name for row in every())
    return f"{name!r} is not built yet: use {known}" if name in NOT_BUILT else f"{name!r} is no target: use {known}"


@cache
def _load(where: str) -> Target:
    row: Target = resolve_name(where)
    return row
