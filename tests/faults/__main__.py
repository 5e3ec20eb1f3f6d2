"""`python -m tests.faults [--only WORDS] [--slice COMMIT] [--write]`: exit 1 for a missed fault, or a red control."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence

from tests.faults import table
from tests.faults.bench import ROOT
from tests.faults.hunt import Caught, Hunters, Red, files_for
from tests.faults.seed import Misfit, Seed, plant
from tests.faults.seeds import SEEDS


def chosen(seeds: Sequence[Seed], only: Sequence[str], commit: str) -> list[Seed]:
    """Those with all the words; a tenth of them that belongs to the commit."""
    found = [seed for seed in seeds if all(word.lower() in f"{seed.area} {seed.what}".lower() for word in only)]
    if not commit:
        return found
    by_commit = sorted(found, key=lambda seed: hashlib.sha256(f"{commit} {seed.what}".encode()).digest())
    return by_commit[: -(-len(found) // 10)]


def main(words: Sequence[str] | None = None) -> int:
    """0 = every fault was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--slice", default="")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(words)
    seeds, begun = chosen(SEEDS, options.only, options.slice), time.monotonic()
    try:
        faults = {seed.what: plant(seed, ROOT) for seed in seeds}
    except Misfit as error:
        sys.stderr.write(f"{error}\n")
        return 1
    hunters, found = Hunters(), dict[str, Caught]()
    try:
        tests = hunters.control(files_for(faults.values()), traced=not options.slice)
        sys.stdout.write(f"control: {len(tests)} tests pass ({time.monotonic() - begun:.0f} s)\n")
        for what, caught in hunters.hunt(faults, tests, table.hints()):
            found[what] = caught
            sys.stdout.write(
                f"{f'caught by {caught.by}' if caught.by else 'MISSED'} ({caught.seconds:.0f} s): {what}\n"
            )
            sys.stdout.flush()
    except Red as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        hunters.close()
    missed = [what for what in faults if not found[what].by]
    sys.stdout.write(f"{len(found) - len(missed)} of {len(found)} caught, {time.monotonic() - begun:.0f} s\n")
    if options.write:
        table.write([(seed, found[seed.what]) for seed in seeds])
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
