"""What happened in a release, for whoever draws or prints it: a fold over its journal and its suites' event streams.

Decides nothing and repeats no rule: what was counted is what the judge of the folded release had counted by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from onlyvips_release.core import events
from onlyvips_release.core.judge.buckets import edge
from onlyvips_release.core.judge.ingest import Ingest, Side
from onlyvips_release.core.lifecycle import FINAL, Release
from onlyvips_release.core.model import Arm, SuiteResult, Verdict
from onlyvips_release.reporting.terminal import error_views, line, verdict_of
from onlyvips_release.state.layout import SUITES
from onlyvips_release.suites import stream

OUTCOMES = ("failed", "not run", "skipped", "xfailed", "xpassed", "passed")
"""Of a check, worst first."""

Counts = tuple[int, int, int, int]
"""Failed and all requests of the canary, then of stable, since the first step (in the watch: canary = new stable)."""

BY_PEOPLE = events.Requested | events.Paused | events.Resumed
MARKED = BY_PEOPLE | events.Shifted | events.Interfered | events.Committed | events.Promoted | events.RollbackStarted
MARKED |= events.RolledBack | events.Restored | events.Unconfirmed
"""Events that are a line in the picture."""


@dataclass(frozen=True, slots=True)
class Point:
    """One tick, `at` seconds after the start. `p95`: milliseconds of canary and stable in this tick, None = nobody saw;
    `trouble`: it was not judged; `watch`: after promotion."""

    at: float
    weight: float
    counts: Mapping[str, Counts]
    p95: Mapping[str, tuple[float | None, float | None]]
    trouble: bool
    watch: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened, `at` seconds after the start; `number` > 0 = its line in the picture."""

    at: float
    text: str
    number: int = 0
    person: bool = False


@dataclass(slots=True)
class Check:
    """One check of one run of a suite, as its events tell it. `facts`: what was expected, what came, the limit, the
    logs, where the check says so; `exchanges`: its last requests and answers."""

    node: str
    title: str = ""
    outcome: str = "not run"
    severity: str = "normal"
    seconds: float = 0.0
    text: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    exchanges: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The title, or what the node id says."""
        return self.title or self.node.rpartition("::")[2].removeprefix("test_").replace("_", " ")

    @property
    def reason(self) -> str:
        """The line of a failure that says what is wrong."""
        if got := self.facts.get("got", "").strip():
            expected = self.facts.get("expected")
            return f"expected {expected}, got {got}" if expected else got.splitlines()[0]
        lines = [line for line in self.text.splitlines() if line.strip()]
        marked = [line[1:].strip() for line in lines if line.startswith("E ")]
        return (marked or lines or ["it left no text"])[0]

    def feed(self, event: stream.Report) -> None:
        """One report of one of its phases."""
        self.seconds += event.duration
        self.severity = event.severity or self.severity
        self.title = event.title or self.title
        outcome = event.outcome
        if event.wasxfail:
            outcome = {"passed": "xpassed", "skipped": "xfailed"}.get(outcome, outcome)
        if outcome in OUTCOMES and (event.when == "call" or outcome != "passed"):
            self.outcome = outcome if self.outcome == "not run" else min(self.outcome, outcome, key=OUTCOMES.index)
        if event.text:
            self.text = f"{self.text}\n{event.text}".strip()
        if detail := event.detail:
            self.exchanges += tuple(f"{one.request}\n{one.response}" for one in detail.exchanges)
            parts = {"expected": detail.expected, "got": detail.got, "limit": detail.limit, "logs": detail.logs}
            self.facts |= {name: value for name, value in parts.items() if value}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a suite; `result` None = cut off by the end of the release. `left_out`: what it did not test;
    `left_behind`: what it left on the platform; `at`: when it ended, in seconds after the release's start."""

    folder: str
    suite: str
    arm: str
    weight: float
    result: SuiteResult | None
    checks: tuple[Check, ...]
    left_out: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
    at: float = 0.0

    @property
    def title(self) -> str:
        """What ran where."""
        return f"{self.suite} suite on {self.arm} at {self.weight} %"

    @property
    def verdict(self) -> Verdict:
        """A run that was cut off has not decided anything."""
        return self.result.verdict if self.result else Verdict.INCONCLUSIVE

    @property
    def end(self) -> str:
        """Verdict and reason, or that there is none."""
        return f"{self.verdict} ({self.result.reason})" if self.result else "cut off by the end of the release"

    def count(self, *outcomes: str) -> int:
        """How many of its checks ended so."""
        return sum(check.outcome in outcomes for check in self.checks)


@dataclass(slots=True)
class Story:
    """Everything that a report shows. Times are UTC; `ended` is the last record's."""

    release: Release
    started: datetime
    ended: datetime
    holder: Mapping[str, str]
    way_back: Mapping[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    weights: list[tuple[float, float]] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether the release has its end."""
        return self.release.finished is not None and self.release.phase in FINAL

    @property
    def verdict(self) -> Verdict:
        """The one verdict."""
        return verdict_of(self.release)

    @property
    def decision(self) -> str:
        """In two or three words."""
        finished = self.release.finished
        if finished is None:
            return "Not finished"
        if not self.over:
            return "Not confirmed" if finished.exit == 4 else "Users on stable, clean-up left out"
        return {
            Verdict.PASS: "Promoted",
            Verdict.FAIL: "Rolled back",
            Verdict.INCONCLUSIVE: "Undecided, rolled back",
        }[self.verdict]

    @property
    def sentence(self) -> str:
        """Why, in one sentence."""
        release = self.release
        if release.finished is not None:
            return release.finished.sentence
        weight = "not confirmed" if release.weight is None else f"{release.weight} %"
        return (
            f"The record ends in {release.phase}, with the canary's weight {weight}: the controller is still at work, "
            "or it died. `onlyvips-release status` says which; `recover` takes users back to stable."
        )

    @property
    def outcomes(self) -> dict[str, int]:
        """How many checks ended in each way, over all runs."""
        return {outcome: sum(run.count(outcome) for run in self.runs) for outcome in OUTCOMES}

    @property
    def failed(self) -> list[tuple[Run, Check]]:
        """Every failed check, with the run that it failed in."""
        return [(run, check) for run in self.runs for check in run.checks if check.outcome == "failed"]

    @property
    def last_counts(self) -> Mapping[str, Counts]:
        """What was counted while both arms served, by service."""
        return next((point.counts for point in reversed(self.points) if not point.watch), {})

    @property
    def seconds(self) -> float:
        """From the first record to the last."""
        return (self.ended - self.started).total_seconds()


def tell(records: Iterable[tuple[str, events.Event]], folder: Path) -> Story:
    """The story of a journal (its times and events, oldest first) and of the release's folder of suites.

    Raises ValueError for a journal without a first event.
    """
    story: Story | None = None
    numbers = iter(range(1, 1_000_000))
    results: list[tuple[float, SuiteResult]] = []
    ingest = Ingest()
    for stamp, event in records:
        time = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
        if story is None:
            if not isinstance(event, events.Started):
                raise ValueError("the journal does not begin with Started")
            story = Story(Release(), time, time, event.holder)
        story.release.apply(event)
        story.ended = max(time, story.ended)
        at = (time - story.started).total_seconds()
        match event:
            case events.Sampled():
                story.points.append(point(story.release, event, at, ingest))
            case events.Shifted(weight):
                story.weights.append((at, weight))
            case events.Prepared(way_back):
                story.way_back = way_back
            case events.SuiteRan(result):
                results.append((at, result))
            case events.CanaryStarted(instances) | events.Replaced(_, instances):
                story.logs |= {i.log: f"{i.service} {i.revision}" for i in instances if i.log}
            case _:
                pass
        if text := line(event, story.release):
            marked = isinstance(event, MARKED)
            story.moments.append(Moment(at, text, next(numbers) if marked else 0, isinstance(event, BY_PEOPLE)))
    if story is None:
        raise ValueError("the journal is empty")
    story.runs = read_runs(folder / SUITES, results)
    return story


def point(release: Release, event: events.Sampled, at: float, ingest: Ingest) -> Point:
    """What the judge has counted after this tick, and how slow the answers of this tick were."""
    views = error_views(release)
    counts = {v.service: (v.canary_bad, v.canary_total, v.stable_bad, v.stable_total) for v in views}
    watch = release.phase is events.Phase.WATCHING
    slow = {}
    for name in counts:
        arms = event.series.get(name, {})
        canary, stable = (slowness(ingest.take(name, arm, arms.get(arm, ()))) for arm in (Arm.CANARY, Arm.STABLE))
        slow[name] = (stable, None) if watch else (canary, stable)
    return Point(at, release.weight or 0, counts, slow, bool(event.trouble), watch)


def slowness(side: Side) -> float | None:
    """Upper edge of the bucket that holds the 95th percentile, in milliseconds; None without answers."""
    latency = side.latency or {}
    left = 0.95 * sum(latency.values())
    for bucket in sorted(latency):
        left -= latency[bucket]
        if left <= 0:
            return edge(bucket)
    return None


# --- suites ---------------------------------------------------------------------------------------------------------


def read_runs(suites: Path, results: Iterable[tuple[float, SuiteResult]]) -> list[Run]:
    """Every run, in order: those that the journal names, and those that were cut off."""
    ended = list(results)
    known = {Path(result.report).name: (at, result) for at, result in ended if result.report}
    found = sorted({*known, *(path.name for path in suites.glob("*-*-*-*"))}, key=number)
    runs = [read_run(suites / name, *known.get(name, (0.0, None))) for name in found]
    return runs + [Run("", r.suite, r.arm, r.weight, r, (), at=at) for at, r in ended if not r.report]


def number(name: str) -> int:
    """The number that a suite's folder begins with."""
    first = name.partition("-")[0]
    return int(first) if first.isdigit() else 0


def read_run(folder: Path, at: float, result: SuiteResult | None) -> Run:
    """One run from its event stream; without one, from the journal's word alone."""
    checks: dict[str, Check] = {}
    left_out: list[str] = []
    left_behind: list[str] = []
    for event in stream.read_stream(folder / "events.jsonl"):
        match event:
            case stream.Collected(ids):
                for node in ids:
                    checks.setdefault(node, Check(node))
            case stream.Deselected(ids):
                left_out += [f"{node} (deselected)" for node in ids]
            case stream.Lost(ids):
                left_out += [f"{node} (removed from the run, not deselected)" for node in ids]
            case stream.NotTested(needs):
                left_out += [f"needs {need}: {', '.join(tests)}" for need, tests in needs.items()]
            case stream.LeftBehind(what):
                left_behind += what
            case stream.CollectError(node, text):
                left_out.append(f"{node} (cannot be collected: {text[-200:]})")
            case stream.Report(node):
                checks.setdefault(node, Check(node)).feed(event)
            case _:
                pass
    _, suite, arm, weight = (*folder.name.split("-"), "", "", "", "")[:4]
    if result is not None:
        suite, arm, weight = result.suite, result.arm, str(result.weight)
        for node in result.failed:
            checks.setdefault(node, Check(node, outcome="failed", text=result.reason))
    kept = tuple(sorted(checks.values(), key=lambda check: OUTCOMES.index(check.outcome)))
    return Run(folder.name, suite, arm, int(weight or 0), result, kept, tuple(left_out), tuple(left_behind), at)


# --- what is not in it ----------------------------------------------------------------------------------------------


def not_tested(story: Story) -> list[str]:
    """What nobody looked at: said aloud, because a green report hides it."""
    release, plan = story.release, story.release.plan
    told = []
    for step in plan.steps:
        if not any(weight == step.weight for _, weight in story.weights):
            told.append(f"the step at {step.weight} %: never reached")
        elif not any(run.suite == "canary" and run.weight == step.weight and run.result for run in story.runs):
            told.append(f"canary checks at {step.weight} %: none ended")
    if release.watched is None:
        told.append("the watch after promotion: never reached")
    for service in plan.routed:
        if not story.last_counts.get(service.name, (0, 0, 0, 0))[1]:
            told.append(f"{service.name}: no user request to the canary was judged")
    told += [f"{s.name}: takes no user traffic, so only its own checks speak for it" for s in plan.unrouted]
    if not any(arm is not None for one in story.points for arms in one.p95.values() for arm in arms):
        told.append("latency: not recorded in this release")
    metrics = release.outcome.metrics if release.outcome else ()
    told += [f"{m['service']}: {m['metric']} was not judged: {m['state']}" for m in metrics if m.get("state")]
    if plan.judge.slo.errors is None:
        told.append("no absolute limit on errors: the plan switches it off")
    told += [note for note in release.noted if "not proven" in note]
    for run in story.runs:
        told += [f"{run.title}: {name}" for name in run.left_out]
        told += [f"{run.title}: {c.name} ({c.outcome})" for c in run.checks if c.outcome in OUTCOMES[1:4]]
        if run.result is None:
            told.append(f"{run.title}: cut off by the end of the release")
    return list(dict.fromkeys(told))


# --- against the release before -------------------------------------------------------------------------------------


def changes(now: Iterable[Run], before: Iterable[Run]) -> list[str]:
    """Checks that fail now and did not, are mended, are new, or are gone; the last run of each counts."""
    new, old = last_outcomes(now), last_outcomes(before)
    told = []
    for key in sorted({*new, *old}):
        name, was, is_ = f"{key[2]} ({key[0]} on {key[1]})", old.get(key), new.get(key)
        if was == is_:
            continue
        if was is None:
            told.append(f"new: {name}: {is_}")
        elif is_ is None:
            told.append(f"gone: {name} (was {was})")
        else:
            word = "now failing" if is_ == "failed" else "mended" if was == "failed" else "changed"
            told.append(f"{word}: {name}: {was} before, {is_} now")
    order = ("now failing", "gone", "changed", "mended", "new")
    return sorted(told, key=lambda text: order.index(text.partition(":")[0]))


def last_outcomes(runs: Iterable[Run]) -> dict[tuple[str, str, str], str]:
    """(suite, arm, node) -> outcome."""
    return {(run.suite, run.arm, check.node): check.outcome for run in runs for check in run.checks}
