"""Baselines: what earlier releases measured of each service, in `history/<service>.jsonl` (the last line counts)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from onlyvips_release.codec import decode, encode
from onlyvips_release.core import events
from onlyvips_release.core.judge.history import Record, learn
from onlyvips_release.core.judge.ingest import Ingest, Seen
from onlyvips_release.core.judge.service_history import ServiceHistory
from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.state.files import make_folder, write_whole

STALE = timedelta(days=7)
KEPT = 20
"""Releases kept per service."""


class Baselines:
    """The baselines of a platform's services, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, plan: ReleasePlan, now: datetime) -> tuple[dict[str, ServiceHistory], tuple[str, ...]]:
        """The usable baseline of each routed service, and a note per service: which one it is, or why there is none."""
        usable, notes = {}, []
        for service in plan.routed:
            stable = service.stable.name if service.stable else ""
            baseline, note = self._usable(service.name, stable, plan.judge.tick.total_seconds(), now)
            if baseline:
                usable[service.name] = baseline
            notes.append(f"{service.name}: {note}")
        return usable, tuple(notes)

    def _usable(self, service: str, stable: str, tick: float, now: datetime) -> tuple[ServiceHistory | None, str]:
        path = self.folder / f"{service}.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None, "no history yet: equal arms are taken to differ twice as much as chance, so proof takes longer"
        except OSError as error:
            return None, f"history is not used: {path} cannot be read ({error.strerror})"
        last = _last(lines)
        if last is None:
            return None, f"history is not used: {path} holds no record of this tool"
        age = now - datetime.fromisoformat(last.at)
        refused = ""
        if age > STALE or age < -timedelta(minutes=5):
            refused = f"it is {age.days} days old, at most {STALE.days} are trusted"
        elif last.revision != stable:
            refused = f"it is of {last.revision}, users are on {stable}"
        elif last.tick != tick:
            refused = f"its ticks are {last.tick:g} s, the plan's {tick:g} s"
        if refused:
            return None, f"history of {last.release} is not used: {refused}"
        phi0 = "/".join(f"{value:.2g}" for value in last.phi0) if last.phi0 else "not measured"
        hours = age.total_seconds() / 3600
        return last, f"history of {last.release}: {hours:.1f} h old, {last.requests:,.0f} requests, phi0 {phi0}"

    def keep(self, measured: Iterable[tuple[str, ServiceHistory]]) -> None:
        """Append baselines by service.

        One of stable alone does not replace one of two equal arms (which has `phi0`) of the same revision.
        """
        make_folder(self.folder)
        for service, baseline in measured:
            path = self.folder / f"{service}.jsonl"
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            last = _last(lines)
            if baseline.phi0 is None and last and last.phi0 and last.revision == baseline.revision:
                continue
            lines = [*lines[1 - KEPT :], json.dumps(encode(baseline), separators=(",", ":"))]
            write_whole(path, ("\n".join(lines) + "\n").encode())


def _last(lines: list[str]) -> ServiceHistory | None:
    """The baseline that counts, None = the last line is no record of this tool."""
    try:
        last: ServiceHistory = decode(ServiceHistory, json.loads(lines[-1]))
        datetime.fromisoformat(last.at)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return last


def measured_by(journal: Iterable[events.Event], at: str) -> list[tuple[str, ServiceHistory]]:
    """The baselines that the bakes of one finished release give, by service. `at`: now, ISO 8601."""
    started: events.Started | None = None
    ingest, records = Ingest(), dict[str, list[Record]]()
    weight: float = 0
    baseline, baking, promoted = False, True, False
    for event in journal:
        match event:
            case events.Started():
                started = event
                records = {service.name: [] for service in event.plan.routed}
            case events.Shifted(weight=weight):
                baseline = False
            case events.RollbackStarted() | events.Committed():
                baking = False
            case events.Sampled(trouble=trouble, series=series) if baking and 0 < weight < 100:
                for name, rows in records.items():
                    arms = series.get(name, {})
                    canary, stable = (ingest.take(name, arm, arms.get(arm, ())) for arm in (Arm.CANARY, Arm.STABLE))
                    if baseline and not trouble:
                        rows.append(Record(weight, Seen(canary, stable)))  # type: ignore[arg-type]  # any number
                baseline = True
            case events.Finished(phase=phase):
                promoted = phase is events.Phase.PROMOTED
            case _:
                pass
    return _measured(started, records, at, promoted) if started else []


def _measured(
    started: events.Started, records: dict[str, list[Record]], at: str, promoted: bool
) -> list[tuple[str, ServiceHistory]]:
    judge = started.plan.judge
    dt = judge.tick.total_seconds()
    block = max(4, round(judge.block.total_seconds() / dt))
    arm = Arm.CANARY if promoted else Arm.STABLE
    measured = []
    for name, rows in records.items():
        baseline = learn(started.release, at, started.revisions[name][arm], dt, rows, block, equal=promoted)
        if baseline:
            measured.append((name, baseline))
    return measured
