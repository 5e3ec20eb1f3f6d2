"""`summary.json`, whose fields are `Summary`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from onlyvips_release.core.lifecycle import Release
from onlyvips_release.reporting.terminal import verdict_of

VERSION = 1
"""Grows when a field goes or changes its meaning, never when one is added."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A release in a few fields, for machines. `exit` and `weight` None = not known, `reason` "" = nothing was decided.

    `revisions`: service -> stable and canary; `serving`: service -> revision, "?" = not proven; `metrics`: the judge's
    view of each metric at its last word; `started` and `ended`: ISO 8601, "" = not recorded.
    """

    version: int
    release: str
    platform: str
    phase: str
    verdict: str
    exit: int | None
    sentence: str
    reason: str
    weight: float | None
    revisions: dict[str, dict[str, str]]
    serving: dict[str, str]
    notes: list[str]
    metrics: list[dict[str, Any]]
    started: str
    ended: str
    checks: dict[str, int]


def summary(release: Release, started: str, ended: str, checks: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The release in the fields of `Summary`: also what `run --json` prints. `checks`: outcome -> how many."""
    finished = release.finished
    found = Summary(
        version=VERSION,
        release=release.id,
        platform=release.plan.platform,
        phase=str(release.phase),
        verdict=str(verdict_of(release)),
        exit=finished.exit if finished else None,
        sentence=finished.sentence if finished else "",
        reason=release.outcome.reason if release.outcome else "",
        weight=release.weight,
        revisions={name: {"stable": release.old[name], "canary": release.new[name]} for name in release.new},
        serving=release.serving,
        notes=release.noted,
        metrics=[dict(metric) for metric in release.outcome.metrics] if release.outcome else [],
        started=started,
        ended=ended,
        checks=dict(checks or {}),
    )
    return asdict(found)


def schema() -> dict[str, Any]:
    """JSON Schema of `summary.json`."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - slow to import

    return TypeAdapter(Summary).json_schema()
