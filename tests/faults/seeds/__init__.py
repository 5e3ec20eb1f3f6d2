"""The seeds by area: one module each. A new fault is one entry there."""

from __future__ import annotations

from tests.faults.seed import Seed
from tests.faults.seeds import judge

SEEDS: tuple[Seed, ...] = (*judge.SEEDS,)
