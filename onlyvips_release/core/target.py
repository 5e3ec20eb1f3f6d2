"""What a target gives: all ports of one platform from one plan, and what people want to see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from onlyvips_release.core import ports
from onlyvips_release.core.model import Percent
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.suite import Access
from onlyvips_release.errors import ReleaseError


class Archive(Protocol):
    """The records of all releases of one platform."""

    def names(self) -> list[str]:
        """The ids of all releases, oldest first."""

    def journal(self, release: str) -> ports.Journal:
        """The record of one release; whoever holds the lease may append to it."""

    def token(self, release: str) -> str:
        """The secret in the pins of one release; it is made when it is needed first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`: `state` is ok, problem or note; `fix` says what to do about a problem."""

    name: str
    state: str
    text: str
    fix: str = ""


def ok(name: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", text)


def problem(name: str, text: str, fix: str) -> Finding:
    """A release would be refused, or could not be trusted."""
    return Finding(name, "problem", text, fix)


def guarded(name: str, check: Callable[..., Finding], *words: Any) -> Finding:
    """A check whose error is its finding."""
    try:
        return check(name, *words)
    except (ReleaseError, OSError) as error:
        fix = error.remedy if isinstance(error, ReleaseError) else "see that it runs, and that its address is right"
        return problem(name, f"{type(error).__name__}: {error}", fix)


@dataclass(frozen=True, slots=True)
class Live:
    """Where users are, measured at the data plane for `seconds`: nothing of it comes from a record of ours.

    `weight`: the one in force, None = the routes are not ours; `answered`: "service arm" -> requests; `trouble`: why
    nothing could be measured.
    """

    weight: Percent | None = None
    answered: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    trouble: str = ""


class Target(Protocol):
    """Where one platform runs: every port, made from one plan. `token` is the secret of the pins."""

    @property
    def lease(self) -> ports.Lease: ...

    @property
    def requests(self) -> ports.Requests: ...

    @property
    def archive(self) -> Archive: ...

    @property
    def workload(self) -> ports.Workload: ...

    @property
    def source(self) -> ports.Source: ...

    def for_plan(self, plan: ReleasePlan) -> Target:
        """The same platform under the plan of another release; a lease that is held stays held."""

    def router(self, release: str = "", token: str = "") -> ports.Router:
        """The router, for the pins of one release; without one it keeps the pins that there are."""

    def prober(self, token: str) -> ports.Prober:
        """Requests of our own."""

    def access(self, token: str) -> Mapping[str, Access]:
        """How a suite reaches each service with traffic; wiring adds what belongs to no target."""

    def guardian(self, release: str) -> ports.Guardian:
        """Who watches the lease while this release is carried out."""

    def examine(self) -> Iterator[Finding]:
        """What stands in the way of a release of this plan; nothing is touched."""

    def live(self, seconds: float) -> Live:
        """Measure where users are."""
