"""The cells of the crash matrix on the real target: which there are, and how one is run and judged from outside.

`python -m tests.crash.cells` runs all of them and writes docs/crash-matrix.md (`make long`).
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.testing.crash_rig import LEASE, REQUESTS, CrashRig, Users, kill
from tests.testing.crash_world import WORLDS, Point, begin, cuts, died, safe, take_over, watch_over
from tests.testing.platform_rig import ROOT
from tests.testing.simulation import Traits
from tests.testing.tap import FREQUENT

WAYS = {
    "controller": ("controller",),
    "controller, guardian": ("controller", "guardian"),
    "controller, Envoy": ("controller", "envoy"),
    "guardian": ("guardian",),
    "Envoy": ("envoy",),
    "all": ("controller", "guardian", "envoy", "services"),
}
"""What is killed (SIGKILL) while the controller stands exactly at the point."""

TELLING = (
    "before router.set_weight 10",
    "after router.set_weight 10",
    "10/before source.sample",
    "10/after journal.append Judged",
    "10/after router.set_weight 100",
    "10/after journal.append Committed",
    "10/after workload.promote",
    "10/after journal.append Replaced",
    "10/after router.set_weight 0",
    "abort/after journal.append RollbackStarted",
)
"""Points at which not only the controller is killed."""

SAFE_WITHIN = LEASE + 1.0


@dataclass(frozen=True)
class Cell:
    """One point and what is killed there."""

    point: str
    way: str


def points() -> list[str]:
    """Both sides of every kind of call of a promoted and of an aborted release, as the simulation makes them."""
    good, bad = Point(), Point()
    begin(WORLDS["good"](Traits()), good)
    begin(WORLDS["bad"](Traits()), bad)
    return [*dict.fromkeys(named(good.seen, "10/")), *dict.fromkeys(p for p in named(bad.seen, "abort/") if back(p))]


def named(seen: list[str], prefix: str) -> list[str]:
    """Each kind at weight 10 or later where it is called there, else before."""
    shift = seen.index("after router.set_weight 10")
    later = set(seen[shift + 1 :])
    first = [kind for kind in dict.fromkeys(seen[: shift + 1]) if kind not in later]
    return [*first, *(prefix + kind for kind in dict.fromkeys(seen[shift + 1 :]))]


def back(point: str) -> bool:
    """Only what belongs to a way back."""
    return point.startswith("abort/") and any(
        word in point for word in ("Roll", "set_weight 0", "probe stable", "Finis")
    )


def cells() -> list[Cell]:
    """All, in the order of the table."""
    others = [Cell(point, way) for way in WAYS if way != "controller" for point in TELLING]
    return [*(Cell(point, "controller") for point in points()), *others]


def chosen(count: int, seed: str) -> list[Cell]:
    """A part of them that another seed makes another one."""
    return random.Random(seed).sample(cells(), count)


def commit() -> str:
    """The commit that is tested: the seed of the part that runs in CI."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


@dataclass
class Outcome:
    """How a cell ended. `safe_s`: seconds until the last user met a canary that nobody watched."""

    wrong: list[str]
    end: str
    safe_s: float
    failed: int


def run(rig: CrashRig, cell: Cell) -> Outcome:
    """Kill, look, `recover`, look again. Nothing is read from the journal."""
    rig.number += 1
    canary = f"v{rig.number}"
    hit = WAYS[cell.way]
    users = Users(rig.ports["router"])
    wrong = list[str]()
    users.start()
    with rig.controller(rig.quick(canary), cell.point, "stop") as child:
        assert child.stdout is not None
        if child.stdout.readline() != "reached\n":
            users.stop()
            return Outcome([f"{cell.point} was never reached"], "", 0, 0)
        weight_then, promised = rig.in_force(), rig.record()["safe_weight"]
        strike(rig, child, hit)
        at = time.monotonic()
        code = child.wait(60) if "controller" not in hit else None
    if "controller" in hit and "guardian" not in hit:
        wait_for_guardian(rig)
        if "envoy" not in hit:
            weight = rig.in_force()
            if weight != promised:
                wrong.append(f"weight {weight} % is in force, {promised} % was the safe one ({weight_then} % before)")
    again = None if "controller" not in hit else rig.cli("recover")
    code = again.returncode if again else code
    users.stop()
    canary_until = users.last_on_canary(at) if weight_then not in (0, 100) and again else 0.0
    failed = users.failed()
    if again and "guardian" not in hit and canary_until > SAFE_WITHIN:
        wrong.append(f"users met the canary for {canary_until:.1f} s")
    if "envoy" not in hit and failed:
        wrong.append(f"{failed} failed requests")
    return Outcome([*wrong, *judged(rig, canary, code)], f"exit {code}, users on {rig.stable}", canary_until, failed)


def strike(rig: CrashRig, child: subprocess.Popen[str], hit: tuple[str, ...]) -> None:
    """The controller stands still: now it, and what else is meant, is killed."""
    services = [i.pid for i in rig.platform().target.workload.inspect() if i.pid]
    victims = {"guardian": [rig.guardian()], "envoy": [rig.envoy()], "services": services, "controller": [child.pid]}
    for what in hit:
        for pid in victims[what]:
            if pid:
                kill(pid)
    if "controller" not in hit:
        os.kill(child.pid, signal.SIGCONT)


def wait_for_guardian(rig: CrashRig) -> None:
    """Until it has acted and ended, or never was."""
    end = time.monotonic() + 20
    while rig.guardian() and time.monotonic() < end:
        time.sleep(0.02)


def judged(rig: CrashRig, canary: str, code: int | None) -> list[str]:
    """Requests, the router's dump, processes and the exit code must tell one and the same story."""
    wrong = []
    seen = rig.settled()
    if seen == {f"stable {canary}": REQUESTS}:
        rig.stable = canary
    elif seen != {f"stable {rig.stable}": REQUESTS}:
        wrong.append(f"requests were answered by {seen}")
    if code not in ((0,) if rig.stable == canary else (0, 1, 3)):
        wrong.append(f"exit {code} while users are on {rig.stable}")
    if rig.in_force() != 0:
        wrong.append(f"weight {rig.in_force()} % at the end")
    try:
        alive = set(rig.revisions().values())
        if alive != {rig.stable}:
            wrong.append(f"what runs is {alive}")
    except (AssertionError, ValueError) as error:
        wrong.append(f"what runs is not one instance each: {error}")
    if (found := [name for name in rig.processes() if name != "pump"]) != ["envoy", f"miniapp {rig.stable}"]:
        wrong.append(f"processes {found}")
    return wrong


# --- the table ----------------------------------------------------------------------------------------------------


def simulated() -> dict[str, str]:
    """Kind -> how `recover` ended after a crash there, and whether users were safe."""
    found: dict[str, set[str]] = {}
    for make in WORLDS.values():
        for kind, world in cuts(make(Traits()), begin):
            died(world)
            begun = world.time
            watch_over(world, Point())
            took, fine = world.time - begun, safe(world)
            release = take_over(world, "recover", Point())
            end = f"{release.phase}" if release else "nothing open"
            found.setdefault(kind, set()).add(f"{end}, {'safe' if fine else 'UNSAFE'} after {took:.0f} s")
    return {kind: "; ".join(sorted(ends)) for kind, ends in found.items()}


def sources() -> str:
    """Digest of what was tested."""
    files = sorted((ROOT / "onlyvips_release").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def main() -> int:
    """Every cell on one platform; the table; 0 = all right."""
    results: dict[Cell, Outcome] = {}
    with CrashRig() as rig:
        rig.up()
        for cell in cells():
            results[cell] = outcome = run(rig, cell)
            sys.stdout.write(f"{cell.way:22} {cell.point:45} {outcome}\n")
            sys.stdout.flush()
            if outcome.wrong:
                rig.cli("recover")
    (ROOT / "docs" / "crash-matrix.md").write_text(table(results))
    return 1 if any(outcome.wrong for outcome in results.values()) else 0


def table(results: dict[Cell, Outcome]) -> str:
    """Rows: points; columns: the simulation, and what was killed on the real target."""
    told = simulated()
    real = {cell.point.rpartition("/")[2] for cell in results}
    lines = [
        "# The crash matrix",
        "",
        f"Written by `make long` (`python -m tests.crash.cells`) from sources `{sources()}`:",
        f"{len(results)} real cells, {sum(not o.wrong for o in results.values())} right. Embedded target, real Envoy,",
        f"SIGKILL, lease {LEASE:g} s; each cell judged by {REQUESTS} requests, the process table and the router.",
        "CI runs 25 of them, chosen by the commit; the simulation runs every state, double crashes and 1,000 seeded",
        "random ones (tests/crash).",
        "",
        "A real cell says how `recover` ended and for how many seconds users still met a canary that nobody held.",
        "`10/`: at weight 10 or later; `abort/`: while a person's abort is carried out.",
        "",
        "| Point | " + " | ".join(WAYS) + " |",
        "|---|" + "---|" * len(WAYS),
    ]
    for point in dict.fromkeys(cell.point for cell in results):
        row = [results.get(Cell(point, way)) for way in WAYS]
        lines.append(f"| {point} | " + " | ".join(shown(outcome) for outcome in row) + " |")
    lines += ["", "## Simulation", "", "| Call | `recover` ended as, users safe |", "|---|---|"]
    lines += [f"| {kind} | {end} |" for kind, end in sorted(told.items())]
    only = sorted(kind for kind in told if kind not in real)
    lines += ["", f"Without a real twin: {', '.join(only) or 'none'}. Called all the time, and no point: {FREQUENT}."]
    return "\n".join(lines) + "\n"


def shown(outcome: Outcome | None) -> str:
    """One cell."""
    if outcome is None:
        return ""
    if outcome.wrong:
        return f"**WRONG**: {'; '.join(outcome.wrong)}"
    return f"{outcome.end}, {outcome.safe_s:.1f} s" + (f", {outcome.failed} refused" if outcome.failed else "")


if __name__ == "__main__":
    sys.exit(main())
