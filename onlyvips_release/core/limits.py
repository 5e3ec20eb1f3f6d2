"""Limits of the judge, as a plan gives them. Values that refuse contradictions when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, NoReturn

from onlyvips_release.core import keys
from onlyvips_release.core.keys import Key, Off
from onlyvips_release.errors import PlanError, Problem

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def refuse(key: str, message: str) -> NoReturn:
    """Raise the one error of a plan value; the file's reader adds line and column."""
    raise PlanError((Problem(0, 0, key, message),))


def require(condition: bool, key: str, message: str) -> None:
    """Refuse the value of `key` unless this holds."""
    if not condition:
        refuse(key, message)


@dataclass(frozen=True, slots=True)
class Line:
    """A line `canary rate = factor * stable rate + plus` (shares, not percents)."""

    factor: Annotated[keys.Number, Key("Times stable's rate.")]
    plus: Annotated[keys.Number, Key("Share that is added, 0.01 = one point.")]

    def __post_init__(self) -> None:
        allowed = 0 <= self.factor <= 100 and 0 <= self.plus < 1
        require(allowed, "judge.errors", f"factor {self.factor} must be in 0..100 and plus {self.plus} in 0..1")


@dataclass(frozen=True, slots=True)
class ErrorLimits:
    """The two lines of errors, in terms of stable's rate."""

    tolerated: Annotated[Line, Key("Beyond this line a canary is stopped.")] = Line(1.2, 0.001)
    never_accept: Annotated[Line, Key("A canary proven below this line may be promoted.")] = Line(1.5, 0.005)

    def __post_init__(self) -> None:
        inner, outer = self.tolerated, self.never_accept
        beyond = outer.factor >= inner.factor and outer.plus >= inner.plus and inner != outer
        require(beyond, "judge.errors", "never_accept must lie beyond tolerated in both factor and plus")


@dataclass(frozen=True, slots=True)
class SloLimits:
    """Absolute guards, whatever stable does. None = off."""

    errors: Annotated[keys.NumberOrOff, Key("Share of users' first attempts that may fail, or off.")] = 0.05
    slower_than: Annotated[keys.DurationOrOff, Key("What counts as slow: 1ms to 1m, or off.")] = 500 * MILLISECOND
    share: Annotated[keys.Number, Key("Share of answers that may be slow.")] = 0.01

    def __post_init__(self) -> None:
        for key, share in (("errors", self.errors), ("share", self.share)):
            require(share is None or 0 < share < 1, f"judge.slo.{key}", f"{share} is not a share between 0 and 1")
        slow = self.slower_than
        require(slow is None or MILLISECOND <= slow <= MINUTE, "judge.slo.slower_than", "give 1ms to 1m, or off")


@dataclass(frozen=True, slots=True)
class GaugeLimits:
    """Limits of a gauge, per request for CPU."""

    more: Annotated[keys.Number, Key("Tolerated share above stable.")] = 0.2
    most: Annotated[keys.Number | None, Key("Absolute limit, for CPU in cores; default none.")] = None

    def __post_init__(self) -> None:
        require(0 < self.more <= 10, "more", f"{self.more} is not a share above 0, at most 10")
        require(self.most is None or self.most > 0, "most", "must be more than nothing")


@dataclass(frozen=True, slots=True)
class MemoryLimits(GaugeLimits):
    """Limits of memory."""

    more: Annotated[keys.Number, Key("Tolerated share above stable.")] = 0.1
    most: Annotated[keys.Bytes | None, Key("Absolute limit, in bytes or such as 512MB; default none.")] = None


TICK = 2 * SECOND


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """Limits of the judge. None = off, but for `slower`."""

    alpha: Annotated[keys.Number, Key("Chance to roll back a canary within `tolerated`, over all looks.")] = 0.01
    beta: Annotated[keys.Number, Key("Chance to promote a canary beyond `never_accept`, over all looks.")] = 0.05
    tick: Annotated[keys.Duration, Key("Time between two samples: 200ms to 5m.")] = TICK
    errors: Annotated[ErrorLimits, Key("Lines for the share of users' first attempts that fail.")] = ErrorLimits()
    slo: Annotated[SloLimits, Key("Absolute guards.")] = SloLimits()
    slower: Annotated[keys.NumberOrZero, Key("Tolerated latency, or off. Default: 0.1 by history, else 0.25.")] = None
    volume: Annotated[keys.NumberOrOff, Key("Least share of stable's business calls per request, or off.")] = 0.9
    traffic_share: Annotated[keys.NumberOrOff, Key("Least share of what the weight gives; off with sticky.")] = 0.8
    cpu: Annotated[GaugeLimits | None, Off(), Key("Limits of CPU per request, or off.")] = GaugeLimits()
    memory: Annotated[MemoryLimits | None, Off(), Key("Limits of memory, or off.")] = MemoryLimits()
    block: Annotated[keys.Span, Key("Gauges are read in blocks of this length: 1s to 1h.")] = MINUTE
    warm_up: Annotated[keys.Duration, Key("Gauges are not read before this time.")] = 3 * MINUTE

    def __post_init__(self) -> None:
        for key, value in (("alpha", self.alpha), ("beta", self.beta)):
            require(0 < value < 0.5, f"judge.{key}", f"{value} is not between 0 and 0.5")
        for key, share in (("volume", self.volume), ("traffic_share", self.traffic_share)):
            message = f"{share} is not a share above 0, at most 1 (or off)"
            require(share is None or 0 < share <= 1, f"judge.{key}", message)
        message = f"{self.slower} is not a share in 0..10 (0.1 = 10 % slower)"
        require(self.slower is None or 0 <= self.slower <= 10, "judge.slower", message)
        require(SECOND <= self.block <= 60 * MINUTE, "judge.block", "give 1s to 1h")
        require(200 * MILLISECOND <= self.tick <= 5 * MINUTE, "judge.tick", "give 200ms to 5m")
