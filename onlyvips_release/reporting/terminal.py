"""One line per event for people and CI logs, and a heartbeat, because silence kills long bakes. Pure wording."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from onlyvips_release.core import commands, events
from onlyvips_release.core.judge import MetricView
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.wording import one_line

QUIET = 60.0
"""Seconds of bake without any request after which a heartbeat says what to do."""


def line(event: events.Event, release: Release) -> str:
    """An event as one line of text; "" = not worth a line."""
    match event:
        case events.Started(release=name, revisions=revisions):
            pairs = ", ".join(f"{s} {arms.get('stable')} -> {arms['canary']}" for s, arms in revisions.items())  # type: ignore[call-overload,index]  # Arm is a str
            return f"{name} started: {pairs}"
        case events.Prepared():
            return "stable answers, the way back is proven"
        case events.CanaryStarted(instances):
            return f"ready in the canary track: {', '.join(f'{i.service} {i.revision}' for i in instances)}"
        case events.SuiteRan(result):
            what = f"{result.suite} suite on {result.arm} at {result.weight} %"
            return f"{what}: {result.verdict} ({result.reason})"
        case events.Shifted(weight, _, took):
            return f"{weight} % of users on the canary arm, confirmed in {took:.0f} ms"
        case events.Judged(verdict, _, sentence, final):
            return f"{verdict}{'' if final else ' (not final)'}: {sentence}"
        case events.Requested(what, by, _, reason):
            return f"{what} asked for by {by}" + (f": {reason}" if reason else "")
        case events.Paused(why, weight):
            return f"paused at {weight} %: {why}"
        case events.Noted(what):
            return what
        case events.Interfered(what):
            return f"somebody else interfered: {what}"
        case events.Committed():
            return "point of no return: users are on the new revisions, stable is being replaced"
        case events.Replaced(revisions):
            return f"now stable: {', '.join(f'{s} {r}' for s, r in revisions.items())}"
        case events.Promoted():
            return f"promoted; watching for {release.plan.watch.total_seconds():g} s"
        case events.Watched(verdict, sentence):
            return f"watch: {verdict}: {sentence}"
        case events.RollbackStarted(cause):
            return f"rolling back: {cause}"
        case events.RolledBack():
            return "users are on stable, proven; the canary is gone"
        case events.Restored(to):
            return f"restored: {', '.join(f'{s} {r}' for s, r in to.items())}"
        case events.Unconfirmed(what, _, command):
            return f"NOT CONFIRMED: {what}. Run: {command}"
        case events.Finished(_, code, sentence):
            return f"{sentence} [exit {code}]"
        case _:
            return ""


class Printer:
    """Prints events as they come; `every`: seconds without a line after which a heartbeat is printed.

    Samples cause heartbeats; in phases without samples a thread of the caller must call `beat`.
    """

    def __init__(self, echo: Callable[[str], object], now: Callable[[], datetime], every: float = 30.0) -> None:
        self.echo, self.now, self.every = echo, now, every
        self.last_line = 0.0
        self.release: Release | None = None

    def __call__(self, event: events.Event, release: Release) -> None:
        """One event."""
        self.release = release
        text = line(event, release)
        if not text and isinstance(event, events.Sampled) and self._silent():
            text = heartbeat(event, release)
        if text:
            self._print(text, release)

    def beat(self) -> None:
        """Print what is waited for, and how long at most, where no line came for `every` seconds."""
        release = self.release
        if release is not None and not release.finished and self._silent():
            self._print(f"still waiting for {waiting(release)}", release)

    def _silent(self) -> bool:
        return self.now().timestamp() - self.last_line >= self.every

    def _print(self, text: str, release: Release) -> None:
        stamp = self.now()
        self.last_line = stamp.timestamp()
        self.echo(f"{stamp:%H:%M:%S} {release.phase:<12} {one_line(text)}")


def waiting(release: Release) -> str:
    """What the command under way waits for, and its limit."""
    plan = release.plan
    match commands.next_command(release):
        case commands.Prepare():
            return "stable's pinned answers"
        case commands.StartCanary():
            longest = max(s.health.within.total_seconds() for s in plan.routed if s.health) if plan.routed else 0
            return f"the canary to become ready, at most {longest:g} s for each service"
        case commands.RunSmoke(arm):
            return f"the smoke suite on {arm}, at most {plan.smoke.deadline.total_seconds():g} s"
        case commands.Shift(weight):
            return f"the router to confirm {weight} %"
        case commands.Observe():
            return f"the next sample, every {plan.judge.tick.total_seconds():g} s"
        case None:
            return "the end"
        case command:
            return f"{type(command).__name__}: instances to drain, start and answer"


def heartbeat(event: events.Sampled, release: Release) -> str:
    """What is waited for, the last values, the limit."""
    limit = release.plan.watch if release.phase is events.Phase.WATCHING else release.current.bake
    held = f"{release.weight} %, {release.evidence.baked:.0f} of {limit.total_seconds():.0f} s"
    if event.trouble:
        return f"{held}; not judged: {event.trouble}"
    look, views = release.evidence.judge.look(), error_views(release)
    quiet = [v.service for v in views if not (v.canary_total or v.stable_total)]
    if quiet and release.evidence.baked >= QUIET:
        where = "{}:{}".format(*release.plan.listen)
        return f"{held}; NO REQUEST of users reached {', '.join(quiet)} yet: see that {where} is where they go"
    counts = "; ".join(f"{v.service} {v.canary_bad}/{v.canary_total} vs {v.stable_bad}/{v.stable_total}" for v in views)
    return f"{held}; failed/requests canary vs stable: {counts}; evidence against {look.R:.2g} of {look.threshold:.0f}"


def error_views(release: Release) -> list[MetricView]:
    """The judge's view of each service's failures."""
    return [view for view in release.evidence.judge.views() if view.metric == "errors"]


def verdict_of(release: Release) -> Verdict:
    """The one verdict; a release without an end has not decided anything."""
    if release.finished is None:
        return Verdict.INCONCLUSIVE
    if release.phase is events.Phase.PROMOTED:
        return Verdict.PASS
    if release.outcome is not None and release.outcome.verdict is Verdict.INCONCLUSIVE:
        return Verdict.INCONCLUSIVE
    return Verdict.FAIL
