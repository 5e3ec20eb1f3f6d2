"""The seeds by area: one module each. A new fault is one entry there."""

from __future__ import annotations

from tests.faults.seed import Seed
from tests.faults.seeds import gate, holding, judge, release, router

SEEDS: tuple[Seed, ...] = (*judge.SEEDS, *release.SEEDS, *holding.SEEDS, *router.SEEDS, *gate.SEEDS)
