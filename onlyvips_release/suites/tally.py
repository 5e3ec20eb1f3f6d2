"""What proves a suite: events of one run of pytest go in, the verdict with its reason comes out. Pure, fail-closed.

A release judges each suite by it, and the guard of a bare pytest judges its own run by it. pytest's exit code is no
verdict (many suites exit 0 although something failed or was not proved), so it can only make a verdict worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from onlyvips_release.core.model import Verdict
from onlyvips_release.core.plan import SEVERITIES
from onlyvips_release.core.reasons import SuiteReason
from onlyvips_release.suites import stream

RETRIES = 3
"""So many repeated connections in one run are a failed check of their own."""

STOPPING = ("blocker", "critical")
"""Severities whose first failure ends the run."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run must prove. `gate`: the lowest severity whose failure counts; `required`: node ids that must pass;
    `deselect`: tests may be deselected; `released`: it must test the release that runs it, and nothing else."""

    min_passed: int = 1
    required: tuple[str, ...] = ()
    gate: str = "normal"
    deselect: bool = False
    released: bool = True


class Conclusion(NamedTuple):
    """A verdict, its reason for machines, and the same in words."""

    verdict: Verdict
    kind: SuiteReason
    reason: str


@dataclass
class Tally:
    """The events of one run so far."""

    terms: Terms
    run: str
    started: bool = False
    origin: str = ""
    blind: list[str] = field(default_factory=list)
    damaged: int = 0
    planned: tuple[str, ...] = ()
    deselected: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    collect_errors: list[str] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    surprising: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    workers_down: int = 0
    retries: dict[str, int] = field(default_factory=dict)
    running: str = ""
    exit: int | None = None

    def feed_line(self, line: bytes) -> None:
        """One line of the stream; events of another run are left out, and what is no event is counted as damage."""
        try:
            run, event = stream.parse_line(line)
        except ValueError:
            self.damaged += 1
            return
        if event and run == self.run:
            self.feed(event)

    def feed(self, event: stream.StreamEvent) -> None:
        """One event of this run."""
        match event:
            case stream.Start():
                self.started, self.origin = True, event.targets
                self.blind = [name for name in ("warnings", "threads") if not getattr(event, name)]
            case stream.Collected(ids):
                self.planned = max(self.planned, ids, key=len)
            case stream.Deselected(ids):
                self.deselected |= set(ids)
            case stream.Lost(ids):
                self.lost |= set(ids)
            case stream.CollectError(node):
                self.collect_errors.append(node)
            case stream.WorkerDown():
                self.workers_down += 1
            case stream.LogStart(node):
                self.running = node
            case stream.Report():
                self._report(event)
            case stream.Finish(code):
                self.exit = code
            case _:
                pass

    def _report(self, event: stream.Report) -> None:
        node = event.node
        self.retries[node] = max(self.retries.get(node, 0), event.retries)
        if event.outcome == "rerun":
            self.attempts[node] = self.attempts.get(node, 1) + 1
            return
        if event.when == "call" or event.outcome != "passed":
            self.reported.add(node)
        if event.outcome == "failed":
            self.failures.append((node, event.when, event.severity))
            self.passed.discard(node)
        elif event.outcome == "skipped":
            self.skipped.append((node, event.severity))
            self.passed.discard(node)
        elif event.when == "call" and not any(node == failed for failed, _, _ in self.failures):
            self.passed.add(node)
            if event.wasxfail:
                self.surprising.add(node)

    @property
    def repeated(self) -> int:
        """Connections that had to be made again."""
        return sum(self.retries.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """Planned tests that never reported."""
        return tuple(node for node in self.planned if node not in self.reported)

    @property
    def names_failed(self) -> tuple[str, ...]:
        """Every test that failed, each once, in order."""
        own = ["connections"] if self.repeated >= RETRIES else []
        return tuple(dict.fromkeys([*(node for node, _, _ in self.failures), *own]))

    def counts(self, severity: str) -> bool:
        """Whether a failure of this severity is at or above the gate; one that is not known is."""
        return severity not in SEVERITIES or SEVERITIES.index(severity) <= SEVERITIES.index(self.terms.gate)

    def stops(self, severity: str) -> bool:
        """Whether a failure of this severity ends the run at once."""
        return severity in STOPPING and self.counts(severity)

    def failure(self, *, at_once: bool = False) -> Conclusion | None:
        """The first failure that counts (`at_once`: that ends the run), None = none."""
        for node, when, severity in self.failures:
            if self.stops(severity) if at_once else self.counts(severity):
                return Conclusion(Verdict.FAIL, SuiteReason.FAILED, f"{node} ({when})")
        if self.repeated >= RETRIES:
            words = f"{self.repeated} connections had to be made again"
            return Conclusion(Verdict.FAIL, SuiteReason.CONNECTIONS, words)
        return None

    def gaps(self, code: int | None) -> Iterator[Conclusion]:
        """Why this is no PASS, the most telling first. `code`: pytest's exit code, None = it was killed."""
        kinds, planned, passed, wanted = SuiteReason, len(self.planned), len(self.passed), self.terms.min_passed
        below = any(not self.counts(severity) for _, _, severity in self.failures)
        absent = [node for node in self.terms.required if not any(same_node(node, p) for p in self.passed)]
        hidden = [node for node, severity in self.skipped if severity in STOPPING]
        elsewhere = self.terms.released and self.origin != "context"
        deselected = 0 if self.terms.deselect else len(self.deselected)
        where, target = f" in {self.running}" if self.running else "", self.origin or "nobody"
        rows: tuple[tuple[object, SuiteReason, str], ...] = (
            (not self.started, kinds.NO_STREAM, "no event stream: pytest never started"),
            (elsewhere, kinds.OTHER_TARGET, f"it did not test this release: target by {target}"),
            (self.damaged, kinds.DAMAGED_STREAM, f"{self.damaged} lines of the event stream are damaged"),
            (self.collect_errors, kinds.COLLECTION_ERROR, f"collection error in {', '.join(self.collect_errors)}"),
            (self.exit is None, kinds.DIED, f"died before finish{where} (exit {code})"),
            (self.missing, kinds.MISSING, f"{len(self.missing)} of {planned} planned never reported"),
            (passed < wanted, kinds.TOO_FEW_PASSED, f"{passed} passed, {planned} collected, {wanted} must pass"),
            (code != 0 and not (code == 1 and below), kinds.EXIT_CODE, f"pytest exit {code}"),
            (absent, kinds.REQUIRED_NOT_PASSED, f"required but not passed: {', '.join(absent)}"),
            (self.workers_down, kinds.WORKER_LOST, f"{self.workers_down} workers were lost"),
            (hidden, kinds.CRITICAL_SKIPPED, f"skipped although critical: {', '.join(hidden)}"),
            (self.lost, kinds.DROPPED, f"removed without pytest's deselection: {', '.join(sorted(self.lost))}"),
            (deselected, kinds.DESELECTED, f"{deselected} deselected (`deselect: true` in the plan allows it)"),
            (self.blind, kinds.PLUGIN_MISSING, f"pytest ran without its {' and '.join(self.blind)} plugin"),
        )
        return (Conclusion(Verdict.INCONCLUSIVE, kind, reason) for holds, kind, reason in rows if holds)

    def conclude(self, code: int | None, late: Conclusion | None = None) -> Conclusion:
        """Failures first, then proof, else INCONCLUSIVE. `late`: the clock that ran out, which forbids a PASS."""
        remarks = ", ".join([f"{len(self.passed)} passed of {len(self.planned)}", *self.remarks()])
        proved = Conclusion(Verdict.PASS, SuiteReason.PASSED, remarks)
        return self.failure() or late or next(self.gaps(code), proved)

    def remarks(self) -> list[str]:
        """What a reader of a PASS should know."""
        below = ", ".join(f"{severity} {node}" for node, _, severity in self.failures)
        return [
            *([f"{len(self.deselected)} deselected"] if self.deselected else []),
            *([f"failed below the gate: {below}"] if below else []),
            *(f"{node} passed unexpectedly" for node in sorted(self.surprising)),
            *(f"{node}: {number} attempts" for node, number in sorted(self.attempts.items())),
            *([f"{self.repeated} connections made again"] if self.repeated else []),
        ]


def same_node(wanted: str, node: str) -> bool:
    """Whether a required id means this test. Folders may be left out (or be there too), and so may the parameters."""
    exact = "[" in wanted
    path, _, name = (node if exact else node.split("[", maxsplit=1)[0]).partition("::")
    wanted_path, _, wanted_name = wanted.partition("::") if "::" in wanted else ("", "", wanted)
    fits = ("/" + path).endswith("/" + wanted_path) or ("/" + wanted_path).endswith("/" + path)
    return name == wanted_name and (not wanted_path or fits)
