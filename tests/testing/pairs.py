"""All pairs of parameter values in few rows."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence


def pairwise(parameters: Mapping[str, Sequence[object]], seed: int = 0, tries: int = 60) -> list[dict[str, object]]:
    """Rows in which every value of a parameter meets every value of every other one; the same rows for one seed.

    Greedy: of some random rows the one that covers most pairs that are still missing is taken.
    """
    source, names = random.Random(seed), list(parameters)
    missing = {
        ((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in parameters[a] for y in parameters[b]
    }
    rows = []
    while missing:
        wanted = min(missing, key=repr)
        candidates = []
        for _ in range(tries):
            row = {name: source.choice(list(values)) for name, values in parameters.items()} | dict(wanted)
            candidates.append((len(covered(row) & missing), row))
        best = max(candidates, key=lambda candidate: candidate[0])[1]
        missing -= covered(best)
        rows.append(best)
    return rows


def covered(row: Mapping[str, object]) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    """The pairs of one row."""
    return set(itertools.combinations(row.items(), 2))
