"""What the judge says, for a tired person: what, how much, against what, how sure, from how many requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onlyvips_release.judge.judgement import MetricView
from onlyvips_release.plan import Line


@dataclass(frozen=True, slots=True)
class Need:
    """What promotion lacks: `options` are (weight, canary requests still needed, minutes)."""

    service: str
    seen: int
    options: Sequence[tuple[int, float, float]]

    @property
    def missing(self) -> float:
        """Minutes at the current weight."""
        return self.options[0][2]


def rollback(view: MetricView, alpha: float) -> str:
    """Why the canary is stopped."""
    odds = f"fewer than 1 of {round(1 / alpha)} releases"
    seen = f"{view.service}: {share(view.canary_bad, view.canary_total)} of canary requests failed"
    against = f"{share(view.stable_bad, view.stable_total)} on stable"
    if view.metric == "slo_errors":
        limit = f"your absolute limit is {percent(view.tolerated)}"
    else:
        limit = f"you tolerate {percent(view.tolerated)}"
    return (
        f"{seen} against {against}; {limit}. Were it within tolerance, evidence this strong would appear in {odds}, "
        "however often we look."
    )


def environment(view: MetricView) -> str:
    """Both arms are beyond the absolute limit."""
    return (
        f"{view.service}: {share(view.canary_bad, view.canary_total)} of canary requests failed, but stable is beyond "
        f"the absolute limit of {percent(view.tolerated)} too ({share(view.stable_bad, view.stable_total)})"
    )


def promote(views: Sequence[MetricView], limit: Line) -> str:
    """What was proven."""
    requests = ", ".join(
        f"{v.service} {v.canary_bad} of {v.canary_total:,} (stable {v.stable_bad} of {v.stable_total:,})" for v in views
    )
    return (
        f"proven no worse than {limit.factor:g} x stable + {percent(limit.plus)} on every service; "
        f"failed canary requests: {requests}"
    )


def no_traffic(services: Sequence[str]) -> str:
    """Nobody came: that says nothing of the canary."""
    return f"no decision: no user request reached the canary of {', '.join(services)}, so nothing is known about it"


def smouldering(views: Sequence[MetricView], R: float, threshold: float) -> str:
    """Something speaks against it, but not enough to convict."""
    worst = max(views, key=lambda v: v.weight * v.evidence)
    canary, stable = share(worst.canary_bad, worst.canary_total), share(worst.stable_bad, worst.stable_total)
    return (
        f"no decision: evidence is gathering ({R:.1f}; {threshold:.0f} would convict, below 2 is clean), most of it "
        f"from {worst.service}: {canary} of canary requests failed, {stable} on stable"
    )


def not_enough(need: Need) -> str:
    """How much more it takes."""
    weight, left, minutes = need.options[0]
    told = f"no decision: {need.seen:,} canary requests of {need.service} are not enough evidence"
    if left < 1:
        return f"{told}: the canary is not proven to be better than the limit, though an equal one would be by now"
    if minutes == float("inf"):
        return told
    more = f"{told}; about {round_up(left):,} more are needed, {span(minutes)} at {weight} %"
    other, _, faster = need.options[1]
    return f"{more} or {span(faster)} at {other} %" if other > weight else more


def share(bad: int, total: int) -> str:
    """`4.2 % (41 of 980)`."""
    return f"{percent(bad / total) if total else 'none'} ({bad:,} of {total:,})"


def percent(value: float) -> str:
    """Two digits that count."""
    shown = 100 * value
    return f"{shown:.0f} %" if shown >= 10 or shown == 0 else f"{shown:.2g} %"


def span(minutes: float) -> str:
    """Minutes in words."""
    if minutes < 1:
        return f"{max(1, round(minutes * 60))} s"
    return f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.0f} h"


def round_up(number: float) -> int:
    """Two leading digits."""
    digits = max(len(str(int(number))) - 2, 0)
    step = 10**digits
    return int(-(-number // step) * step)
