"""What the judge says, for a tired person: what, how much, against what, how sure, from how many requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onlyvips_release.core.plan import Line

if TYPE_CHECKING:
    from onlyvips_release.core.judge.decision import MetricView


@dataclass(frozen=True, slots=True)
class Option:
    """What promotion still lacks at a weight: canary requests (0 = an equal one had enough), and minutes."""

    weight: int
    left: float
    minutes: float


def rollback(view: MetricView, alpha: float, convicted: Sequence[str] = ()) -> str:
    """Why the canary is stopped. `convicted`: services whose own evidence would have been enough."""
    others = [service for service in convicted if service != view.service]
    also = f" Convicted on their own too: {', '.join(others)}." if others else ""
    return (
        f"{view.service}: {view.story}; {view.limit}. Were it within tolerance, evidence this strong would appear in "
        f"fewer than 1 of {round(1 / alpha)} releases, however often we look.{also}"
    )


def environment(view: MetricView) -> str:
    """Both arms are beyond the absolute limit."""
    return f"{view.service}: stable is beyond the absolute limit too: {view.story}; {view.limit}"


def promote(views: Sequence[MetricView], limit: Line) -> str:
    """What was proven."""
    requests = ", ".join(
        f"{v.service} {v.canary_bad} of {v.canary_total:,} (stable {v.stable_bad} of {v.stable_total:,})"
        for v in views
        if v.metric == "errors"
    )
    return (
        f"proven no worse than {limit.factor:g} x stable + {percent(limit.plus)} on every service; "
        f"failed canary requests: {requests}"
    )


def no_traffic(services: Sequence[str]) -> str:
    """Nobody came: that says nothing of the canary."""
    return f"no decision: no user request reached the canary of {', '.join(services)}, so nothing is known about it"


def no_control(services: Sequence[str]) -> str:
    """Stable had no traffic while the canary had some."""
    return (
        f"no decision: no user request reached stable of {', '.join(services)}, so there is nothing to compare the "
        "canary with"
    )


def not_seen(view: MetricView) -> str:
    """A metric that the plan asks proof of was never told."""
    return f"no decision: {view.metric} of {view.service} cannot be proven ({view.state}); turn it off in the plan"


def smouldering(views: Sequence[MetricView], R: float, threshold: float) -> str:
    """Something speaks against it, but not enough to convict."""
    worst = max(views, key=lambda v: v.weight * v.evidence)
    return (
        f"no decision: evidence is gathering ({R:.1f}; {threshold:.0f} would convict, below 2 is clean), most of it "
        f"from {worst.service}: {worst.story}"
    )


def not_enough(view: MetricView, options: Sequence[Option]) -> str:
    """How much more it takes, at this weight and at a larger one."""
    now, larger = options
    told = f"no decision: {view.canary_total:,} canary requests of {view.service} are not enough evidence"
    if now.left <= 0:
        return (
            f"{told}: it is not proven to be better than the limit, though an equal one would be by now. {view.story}"
        )
    if math.isinf(now.minutes):
        return told
    more = f"{told}; about {round_up(now.left):,} more are needed, {span(now.minutes)} at {now.weight} %"
    return f"{more} or {span(larger.minutes)} at {larger.weight} %" if larger.weight > now.weight else more


def share(part: float, whole: float) -> str:
    """`4.2 % (41 of 980)`; nothing seen is not zero."""
    return f"{percent(part / whole)} ({part:,.0f} of {whole:,.0f})" if whole else "none (0 of 0)"


def percent(value: float) -> str:
    """Two digits that count; never `100 %` for less than all, never `0 %` for something."""
    shown = 100 * value
    if 0 < shown < 0.0001:
        return "under 0.0001 %"
    if 99.5 <= shown < 100:
        return "over 99 %"
    return f"{shown:.0f} %" if shown >= 10 or shown == 0 else f"{shown:.2g} %"


def times(ratio: float) -> str:
    """`2.3 times`."""
    return f"{ratio:.2g} times"


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
