"""`python -m tests.mutants [--seed COMMIT] [--count N] [--write]`: exit 1 when fewer than 90 % were killed."""

from __future__ import annotations

import argparse
import ast
import difflib
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.crash.cells import commit
from tests.faults.bench import ROOT
from tests.faults.hunt import Hunters, Red, Tests, files_for
from tests.faults.seed import PACKAGE, Broken
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.operators import Mutant, mutants

TARGETS = ("core", "runner", "upkeep", "rescue", "guardian", "state", "traffic")
BAR = 0.90
DOC = ROOT / "docs" / "mutants.md"


def modules() -> list[Path]:
    """What is mutated."""
    base = ROOT / PACKAGE
    files = [path for name in TARGETS for path in (base / name).rglob("*.py")]
    return sorted([*files, *(path for name in TARGETS if (path := base / f"{name}.py").exists())])


def executed(path: Path, tests: Tests) -> set[int]:
    """First lines of the statements that some test runs; also values of the module's own level."""
    name = str(path.relative_to(ROOT / PACKAGE))
    ran = {line for test in tests.values() for line in test["ran"].get(name, ())}
    top = ast.parse(path.read_text()).body if ran else []
    inside = [statement for node in top if isinstance(node, ast.ClassDef) for statement in node.body]
    return ran | {s.lineno for s in (*top, *inside) if isinstance(s, ast.Assign | ast.AnnAssign)}


def chosen(tests: Tests, seed: str, count: int) -> list[Mutant]:
    """As many as asked for, at random among all that there are."""
    found = [mutant for path in modules() for mutant in mutants(path, executed(path, tests))]
    return random.Random(seed).sample(found, min(count, len(found)))


def difference(broken: Broken) -> str:
    """The lines that a mutant changes."""
    before, after = broken.path.read_text().splitlines(), broken.text.splitlines()
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    return "\n".join([f"{broken.path.relative_to(ROOT)}:{broken.line}", *lines[1:]])


def excuse(broken: Broken) -> str:
    """Why nobody can notice it, "" = somebody should. By the changed lines, wherever they stand."""
    return EQUIVALENT.get("\n".join(line.strip() for line in difference(broken).splitlines()[1:]), "")


def main(words: Sequence[str] | None = None) -> int:
    """0 = enough were killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--seed", default="")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(words)
    seed, begun, hunters = options.seed or commit(), time.monotonic(), Hunters()
    try:
        tests = hunters.control(files_for(Broken(path, "", 1) for path in modules()), traced=True)
        sys.stdout.write(f"control: {len(tests)} tests pass ({time.monotonic() - begun:.0f} s)\n")
        faults = {str(n): mutant.broken() for n, mutant in enumerate(chosen(tests, seed, options.count))}
        killed = dict[str, str]()
        for name, caught in hunters.hunt(faults, tests, {}, nearest=3):
            killed[name] = caught.by
            why = excuse(faults[name])
            told = "killed by " + caught.by if caught.by else f"EQUIVALENT ({why})" if why else "SURVIVED"
            sys.stdout.write(f"{told} ({caught.seconds:.0f} s): {difference(faults[name])}\n")
            sys.stdout.flush()
    except Red as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        hunters.close()
    left = [faults[name] for name in faults if not killed[name]]
    share = report(left, len(faults))
    sys.stdout.write(f"{share[1]}, {time.monotonic() - begun:.0f} s\n")
    if options.write:
        write(seed, left, share[1])
    return 0 if share[0] >= BAR else 1


def report(left: Sequence[Broken], count: int) -> tuple[float, str]:
    """The share that was killed of those that can be noticed, and the same in words."""
    equivalent = sum(bool(excuse(broken)) for broken in left)
    share = (count - len(left)) / max(count - equivalent, 1)
    return share, f"{count - len(left)} of {count} killed, {equivalent} cannot be noticed: {share:.1%}"


def write(seed: str, left: Sequence[Broken], words: str) -> None:
    """docs/mutants.md."""
    blocks: Mapping[str, list[Broken]] = {
        "Survivors": [broken for broken in left if not excuse(broken)],
        "Mutants that nobody can notice": [broken for broken in left if excuse(broken)],
    }
    lines = [
        "# Mutants",
        "",
        f"`python -m tests.mutants --seed {seed} --write` (`make long`): {words}.",
        "Each is one small random change of code that fast tests run; those that run the changed module were run.",
    ]
    for title, found in blocks.items():
        lines += ["", f"## {title}"]
        for broken in found:
            why = excuse(broken)
            lines += ["", *([f"{why}:", ""] if why else []), "```diff", difference(broken), "```"]
    DOC.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
