"""Gauges: the processor time and memory of each instance, which come from another place than a router's counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from onlyvips_release.core.model import Sample, Series
from onlyvips_release.core.ports import Source

Gauge = tuple[float, int]
"""Processor seconds used so far, and resident bytes now."""


class Gauges(Protocol):
    """What instances use."""

    def read(self) -> Mapping[str, Gauge]:
        """By the name that the instance's series has; an instance that cannot be measured is not in it."""


class GaugedSource:
    """Port Source: the counts of another source, with gauges."""

    def __init__(self, source: Source, gauges: Gauges) -> None:
        self.source, self.gauges = source, gauges

    @property
    def lag(self) -> float:
        """Of the counts."""
        return self.source.lag

    def sample(self) -> Sample:
        """Raises Unavailable for want of counts; an unknown gauge is None."""
        sample, gauges = self.source.sample(), self.gauges.read()

        def gauged(series: Series) -> Series:
            cpu, memory = gauges.get(series.name, (None, None))
            return replace(series, cpu=cpu, memory=memory)

        arms = {
            service: {arm: tuple(map(gauged, of_arm)) for arm, of_arm in by_arm.items()}
            for service, by_arm in sample.arms.items()
        }
        return replace(sample, arms=arms)
