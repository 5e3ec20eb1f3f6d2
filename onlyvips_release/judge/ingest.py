"""Raw cumulative counts become increments (judge.md section 1): resets, gaps and nonsense are settled here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from onlyvips_release.model import Series

Key = tuple[str, str, str]


@dataclass(slots=True)
class Ingest:
    """Increments of one source. `last`: key -> (start, good, bad) of the newest value taken."""

    last: dict[Key, tuple[str, int, int]] = field(default_factory=dict)

    def take(self, service: str, arm: str, series: Iterable[Series]) -> tuple[int, int]:
        """(bad, all) requests since the last call, summed over instances.

        The first value of a name is a baseline. Same name with a new start, or a smaller value, is a reset: the
        increment is the new value. What is not a finite count >= 0 is skipped, and the next increment carries it.
        """
        bad = total = 0
        for one in series:
            if not (sound(one.good) and sound(one.bad)):
                continue
            key = (service, arm, one.name)
            before = self.last.get(key)
            self.last[key] = (one.start, int(one.good), int(one.bad))
            if before is None:
                continue
            start, good, failed = before
            if one.start != start or one.good < good or one.bad < failed:
                good = failed = 0
            bad += int(one.bad) - failed
            total += int(one.bad) - failed + int(one.good) - good
        return bad, total


def sound(value: float) -> bool:
    """A count >= 0 that a float still tells apart from its neighbours."""
    return isinstance(value, int | float) and 0 <= value < 2**53
