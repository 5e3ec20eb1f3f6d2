"""Faults that were planted by hand, and the tests that must catch each: `python -m tests.crash.faults` (`make long`).

Each is put into a copy of the package; then its tests must fail. The first six are those of architecture.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.testing.platform_rig import ROOT

CRASHES = "tests/crash/test_simulation.py"
SIMULATION = f"{CRASHES}::test_crash_at_every_call_leaves_users_safe_and_is_ended_by_the_next_command"


@dataclass(frozen=True)
class Fault:
    """`old` in `file` becomes `new`; `tests` must go red."""

    what: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = (
    Fault(
        "resume does not restart the step",
        "core/lifecycle.py",
        "self.finished, self.weight, self.signal, self.signals = None, None, 0, 0",
        "self.finished, self.signal, self.signals = None, 0, 0",
        SIMULATION,
    ),
    Fault(
        "rollback forgets the router",
        "core/lifecycle.py",
        "    if not release.committed:\n        if release.weight != 0:\n            return Shift(0)\n",
        "    if not release.committed:\n",
        SIMULATION,
    ),
    Fault(
        "promotion forgets the router",
        "core/lifecycle.py",
        "    if release.weight != 100:\n        return Shift(100)\n    if release.committed:",
        "    if release.committed:",
        "tests/test_runner.py::test_weights_of_a_promotion_are_in_force_where_the_contract_wants_them",
    ),
    Fault(
        "an event is not recorded",
        "runner.py",
        "            self.ports.journal.append(event)\n",
        "            if not isinstance(event, Committed):\n                self.ports.journal.append(event)\n",
        SIMULATION,
    ),
    Fault(
        "INCONCLUSIVE promotes",
        "core/policy.py",
        "        case Verdict.INCONCLUSIVE:\n            return [judged, RollbackStarted(judged.sentence)]",
        "        case Verdict.INCONCLUSIVE:\n            return [replace(judged, verdict=Verdict.PASS)]",
        "tests/test_runner.py::test_no_traffic_is_inconclusive_and_never_blames_the_canary",
    ),
    Fault(
        "the weight is never set",
        "runner.py",
        "        try:\n            self.ports.router.set_weight(weight)\n        except Unavailable:",
        "        try:\n            pass\n        except Unavailable:",
        "tests/test_runner.py::test_good_release_is_promoted_and_its_journal_tells_the_same",
    ),
    Fault(
        "the guardian ends as soon as somebody takes over",
        "guardian.py",
        "while (claim := lease.look()) and not claim.released:",
        "while (claim := lease.look()) and not claim.released and claim.fence == fence:",
        f"{CRASHES}::test_crash_during_the_recovery_of_every_crash",
    ),
    Fault(
        "the guardian writes 0 instead of the safe weight",
        "guardian.py",
        "weight = claim.safe_weight if claim else 0",
        "weight = 0",
        "tests/contracts/test_guardian.py",
    ),
    Fault(
        "a take-over leaves the old stage where it is",
        "state/lease.py",
        "            if number < fence:\n                with",
        "            if number < 0:\n                with",
        "tests/state/test_lease.py",
    ),
    Fault(
        "the heartbeat speaks for a hung main loop",
        "state/lease.py",
        "            if self.clock.monotonic() > self._deadline:\n                continue\n",
        "",
        "tests/contracts/test_lease.py",
    ),
    Fault(
        "a guardian that slept shoots the controller that slept beside it",
        "state/lease.py",
        "LONGEST_LOOK = 1.0",
        "LONGEST_LOOK = 1e9",
        "tests/state/test_lease.py",
    ),
    Fault(
        "a pid that was used again is taken for the holder",
        "clients/process.py",
        "abs(birth(self.pid) - self.started) < 0.005",
        "birth(self.pid) > 0",
        "tests/state/test_lease.py",
    ),
    Fault(
        "the safe weight stays 0 behind the point of no return",
        "core/lifecycle.py",
        "self.committed, self.safe_weight = True, safe_weight",
        "self.committed = True",
        "tests/test_runner.py::test_weights_of_a_promotion_are_in_force_where_the_contract_wants_them",
    ),
    Fault(
        "recover goes on where stable is not proven",
        "core/policy.py",
        "or release.routed_on(release.new)\n",
        "or release.committed\n",
        SIMULATION,
    ),
    Fault(
        "a living pid is refused without a renewal seen",
        "state/lease.py",
        "if found.renewed and not short:",
        "if not short:",
        "tests/state/test_lease.py",
    ),
    Fault(
        "a journal that vanished is begun anew",
        "state/journal.py",
        "(os.O_CREAT if self.new else 0)",
        "os.O_CREAT",
        "tests/state/test_journal.py",
    ),
    Fault(
        "a routes file that was edited under our version is believed",
        "traffic/envoy.py",
        'digest(written.get("resources")) != match["digest"]',
        "False",
        "tests/traffic/test_envoy.py::test_edit_under_our_own_version_is_interference",
    ),
    Fault(
        "a router that knows no release drops the pins",
        "traffic/envoy.py",
        "if pins and not token:",
        "if False:",
        "tests/traffic/test_envoy.py::test_router_that_was_told_of_no_release_keeps_its_pins_until_reset",
    ),
    Fault(
        "going back needs disk space",
        "traffic/envoy.py",
        "elif pins and weight in self.safe_versions:",
        "elif False:",
        "tests/traffic/test_envoy.py::test_safe_weights_need_no_disk_space_once_they_were_prepared",
    ),
)


def caught(fault: Fault) -> bool:
    """Whether its tests go red in a copy of everything."""
    with tempfile.TemporaryDirectory(prefix="ov-fault-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "reports", ".*_cache"))
        path = copy / "onlyvips_release" / fault.file
        text = path.read_text()
        if text.count(fault.old) != 1:
            raise ValueError(f"{fault.what}: its place is {text.count(fault.old)} times in {fault.file}")
        path.write_text(text.replace(fault.old, fault.new))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--timeout",
            "120",
            fault.tests,
        ]
        env = os.environ | {"PYTHONPATH": str(copy)}
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
        return done.returncode == 1


def main(*only: str) -> int:
    """Each fault (or those whose text contains a word of `only`); 0 = every one was caught."""
    missed = 0
    for fault in FAULTS:
        if only and not any(word in fault.what for word in only):
            continue
        ok = caught(fault)
        missed += not ok
        sys.stdout.write(f"{'caught' if ok else 'MISSED'}: {fault.what} ({fault.tests.rpartition('::')[2]})\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
