"""Rules of other tools on the same counts. Each: the tick after which it rolls back, or 0."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from benchmarks.judge.worlds import BUCKETS, Array, Outcome

MINUTE = 60.0
NEVER = 0
EARLY = 1295
"""Rolled back before the fault began."""

Z98 = 2.3263478740408408
"""Two-sided 98 %."""

WORDS = ("Pass", "High", "Low", "Error")
SOLVER = 1e-4
"""What the root finder of Kayenta cannot tell from zero."""


def per_minute(values: Array, dt: float) -> Array:
    """Sums over whole minutes along the first axis."""
    ticks = round(MINUTE / dt)
    whole = len(values) // ticks
    return np.asarray(values[: whole * ticks].reshape(whole, ticks, *values.shape[1:]).sum(axis=1))


def count(bad: Array, limit: int, dt: float) -> int:
    """The tick at the end of the minute in which more than `limit` of the minutes so far were bad."""
    late = np.flatnonzero(np.cumsum(bad) > limit)
    return int((late[0] + 1) * round(MINUTE / dt)) if len(late) else NEVER


def unsuccessful(x: Array, n: Array, limit: float) -> Array:
    """No canary traffic, or a success rate below the limit."""
    return np.asarray((n == 0) | (n - x < limit * n))


def z_test(xc: Array, nc: Array, xb: Array, nb: Array, *, requests: int = 10, bad: int = 1) -> Array:
    """Where the pooled one-sided z on running totals passes 1.645."""
    a, n, b, m = (np.cumsum(v, axis=0, dtype=float) for v in (xc, nc, xb, nb))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (a + b) / (n + m)
        z = (a / n - b / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return np.asarray((np.nan_to_num(z, nan=0.0) > 1.645) & (n >= requests) & (a >= bad))


def first(fired: Array, ticks: int = 1) -> int:
    """End of the first element that fired, in ticks."""
    where = np.flatnonzero(fired)
    return int((where[0] + 1) * ticks) if len(where) else NEVER


def ratio(x: Array, n: Array) -> Array:
    """Rates; 0 without traffic."""
    return np.asarray(x / np.maximum(n, 1))


def since(rolled: Outcome, onset: float) -> Outcome:
    """Ticks from the onset instead of the start."""
    return {name: v and (EARLY if v <= onset else v - round(onset)) for name, v in rolled.items()}


# --- Kayenta ---------------------------------------------------------------------------------------------------------


def kayenta_end(canary: Array, control: Array, *, low: bool = False) -> bool:
    """By L and HL alone: is the canary High (or Low) at the end?"""
    n, m = len(canary), len(control)
    differences = np.sort(np.subtract.outer(canary, control).ravel())
    k = math.floor(n * m / 2 - 2.326 * math.sqrt(n * m * (n + m + 1) / 12))
    estimate = float(np.median(differences))
    if estimate == 0:
        return False
    if low:
        return bool(differences[n * m - k] < -0.25 * abs(estimate))
    return bool(differences[k - 1] > 0.25 * abs(estimate))


def kayenta(canary: Sequence[float], control: Sequence[float]) -> str:
    """One metric, small or tied data: Pass, High, Low, Nodata or Error, nan=replace."""
    x, y = (np.nan_to_num(np.asarray(values, float), nan=0.0) for values in (canary, control))
    if not len(x) or not len(y):
        return "Pass"
    if np.array_equal(x, y):
        return "Pass"
    low, high = x.min() - y.max(), x.max() - y.min()
    if low == high:
        return "Error"  # the solver is given an interval of one point
    lower, upper = root(x, y, Z98, corrected=True), root(x, y, -Z98, corrected=True)
    estimate = root(x, y, 0.0, corrected=False)
    critical = 0.25 * abs(estimate)
    means = x.mean() / y.mean() if y.mean() else math.inf
    if abs(estimate) < SOLVER:
        return "Pass"
    if lower > critical and means >= 1:
        return "High"
    return "Low" if upper < -critical and means <= 1 else "Pass"


def root(x: Array, y: Array, z: float, *, corrected: bool) -> float:
    """The shift of x at which the Mann-Whitney statistic equals z (as in R's wilcox.test)."""
    low, high = float(x.min() - y.max()), float(x.max() - y.min())
    if statistic(x - low, y, corrected=corrected) <= z:
        return low
    if statistic(x - high, y, corrected=corrected) >= z:
        return high
    while high - low > 1e-6 * max(1.0, abs(low), abs(high)):
        middle = (low + high) / 2
        low, high = (middle, high) if statistic(x - middle, y, corrected=corrected) > z else (low, middle)
    return (low + high) / 2


def statistic(x: Array, y: Array, *, corrected: bool) -> float:
    """Standardised rank sum: mid-ranks, variance corrected for ties."""
    n, m = len(x), len(y)
    ranks, tied = mid_ranks(np.concatenate([x, y]))
    dz = ranks[:n].sum() - n * (n + 1) / 2 - n * m / 2
    variance = n * m / 12 * (n + m + 1 - tied / ((n + m) * (n + m - 1)))
    return float((dz - (0.5 * np.sign(dz) if corrected else 0.0)) / math.sqrt(variance)) if variance > 0 else 0.0


def mid_ranks(values: Array) -> tuple[Array, float]:
    """Ranks from 1, ties shared; sum of t^3 - t over the ties."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place]), float((counts**3 - counts).sum())


# --- PipeCD ----------------------------------------------------------------------------------------------------------

CHOICES = {n: np.array(list(itertools.combinations(range(2 * n), n))) for n in (5,)}


def pipecd(x: tuple[Array, Array], n: tuple[Array, Array], dt: float) -> int:
    """Every 5 min: exact one-sided Mann-Whitney on the last five rates (canary, stable), alpha 5 %."""
    for end in range(5, len(n[0]) + 1, 5):
        part = slice(end - 5, end)
        heard = [counts[part] > 0 for counts in n]
        rates = [
            (bad[part] / np.maximum(counts[part], 1))[there] for bad, counts, there in zip(x, n, heard, strict=True)
        ]
        if mann_whitney_fails(*rates):
            return end * round(MINUTE / dt)
    return NEVER


def mann_whitney_fails(canary: Array, control: Array) -> bool:
    """One arm empty: yes. All equal, or both empty: no."""
    if not len(canary) or not len(control):
        return len(canary) != len(control)
    together = np.concatenate([canary, control])
    if np.all(together == together[0]):
        return False
    ranks, _ = mid_ranks(together)
    if len(canary) == len(control) == 5:
        sums = ranks[CHOICES[5]].sum(axis=1)
    else:
        sums = np.array([sum(c) for c in itertools.combinations(ranks.tolist(), len(canary))])
    return bool((sums >= ranks[: len(canary)].sum() - 1e-9).mean() < 0.05)


# --- whole panels ----------------------------------------------------------------------------------------------------


def on_errors(xc: Array, nc: Array, xb: Array, nb: Array, dt: float) -> Outcome:
    """Every rule on bad events out of requests."""
    a, n, b, m = (per_minute(v, dt) for v in (xc, nc, xb, nb))
    return {
        "argo 99 % limit 0": count(unsuccessful(a, n, 0.99), 0, dt),
        "argo 99 % limit 3": count(unsuccessful(a, n, 0.99), 3, dt),
        "argo docs (5m, 95 %, 3)": argo_documented(a, n, dt),
        "flagger 99 % threshold 5": count(unsuccessful(a, n, 0.99), 4, dt),
        "kayenta": len(xc) if kayenta_end(ratio(a, n), ratio(b, m)) else NEVER,
        "pipecd": pipecd((a, b), (n, m), dt),
        "z-test": first(z_test(xc, nc, xb, nb)),
    }


def argo_documented(x: Array, n: Array, dt: float) -> int:
    """Windows of five minutes, 95 %, three of them may be bad."""
    whole = len(n) // 5 * 5
    windows = [v[:whole].reshape(-1, 5).sum(axis=1) for v in (x, n)]
    return 5 * count(unsuccessful(windows[0], windows[1], 0.95), 3, dt)


def p99(over: Array, n: Array, edges: Sequence[float] = BUCKETS) -> Array:
    """Per minute, linear inside its bucket; nan without traffic. `over`: slower than each edge."""
    found = np.full(len(n), np.nan)
    lows = np.concatenate([[0.0], np.asarray(edges)])
    for i in np.flatnonzero(n > 0):
        above = np.concatenate([[n[i]], over[i]]).astype(float)
        wanted = 0.01 * n[i]
        k = int(np.argmax(above <= wanted)) if (above <= wanted).any() else len(above)
        if k == len(above):
            found[i] = lows[-1]
            continue
        found[i] = lows[k - 1] + (lows[k] - lows[k - 1]) * (above[k - 1] - wanted) / (above[k - 1] - above[k])
    return found


def on_latency(over: tuple[Array, Array], n: tuple[Array, Array], dt: float, edges: Sequence[float]) -> Outcome:
    """p99 per minute above 500 ms, or above 1.2 times stable's."""
    (oc, ob), (nc, nb) = [per_minute(v, dt) for v in over], [per_minute(v, dt) for v in n]
    canary, stable = p99(oc, nc, edges), p99(ob, nb, edges)
    slow = ~(canary <= 500)
    worse = ~(canary <= 1.2 * stable)
    filled = [np.nan_to_num(v, nan=0.0) for v in (canary, stable)]
    return {
        "argo p99 > 500 ms, limit 0": count(slow, 0, dt),
        "argo p99 > 1.2 stable, limit 0": count(worse, 0, dt),
        "flagger p99 > 500 ms, threshold 5": count(slow, 4, dt),
        "flagger p99 > 1.2 stable, threshold 5": count(worse, 4, dt),
        "kayenta": len(n[0]) if kayenta_end(filled[0], filled[1]) else NEVER,
    }


def on_volume(yc: Array, nc: Array, yb: Array, nb: Array, dt: float) -> Outcome:
    """Bad when the canary's rate is below 0.8 times stable's."""
    a, n, b, m = (per_minute(v, dt) for v in (yc, nc, yb, nb))
    bad = (n == 0) | (ratio(a, n) < 0.8 * ratio(b, m))
    return {
        "argo rate < 0.8 stable, limit 0": count(bad, 0, dt),
        "flagger rate < 0.8 stable, threshold 5": count(bad, 4, dt),
        "kayenta": len(nc) if kayenta_end(ratio(a, n), ratio(b, m), low=True) else NEVER,
    }


def on_release(services: Sequence[dict[str, Array]], dt: float) -> Outcome:
    """All services as one release; each has xc nc xb nb yc yb and oc ob (slower than each edge)."""
    minutes = round(MINUTE / dt)
    bad, fired, worst = np.zeros(0, bool), np.zeros(0, bool), 1.0
    for service in services:
        s = {name: per_minute(values, dt) for name, values in service.items()}
        canary, stable = p99(s["oc"], s["nc"]), p99(s["ob"], s["nb"])
        wrong = unsuccessful(s["xc"], s["nc"], 0.99) | ~(canary <= 500)
        z = z_test(s["xc"], s["nc"], s["xb"], s["nb"], requests=0, bad=0) | rarer(s)
        bad, fired = (wrong, z) if not len(bad) else (bad | wrong, fired | z)
        failed = [
            kayenta_end(ratio(s["xc"], s["nc"]), ratio(s["xb"], s["nb"])),
            kayenta_end(np.nan_to_num(canary, nan=0.0), np.nan_to_num(stable, nan=0.0)),
            kayenta_end(ratio(s["yc"], s["nc"]), ratio(s["yb"], s["nb"]), low=True),
        ]
        worst = min(worst, 1 - sum(failed) / len(failed))
    end = len(bad) * minutes
    return {
        "argo 99 % limit 0": count(bad, 0, dt),
        "argo 99 % limit 3": count(bad, 3, dt),
        "flagger 99 % threshold 5": count(bad, 4, dt),
        "z-test": first(fired, minutes),
        "kayenta 75 %": end if worst < 0.75 else NEVER,
        "kayenta 95 %": end if worst < 0.95 else NEVER,
    }


def rarer(s: dict[str, Array]) -> Array:
    """z of business events per request, as a share, running totals; the canary has fewer."""
    y, n, x, m = (np.cumsum(s[name], dtype=float) for name in ("yc", "nc", "yb", "nb"))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (x + y) / (n + m)
        z = (x / m - y / n) / np.sqrt(pooled * np.maximum(1 - pooled, 0) * (1 / n + 1 / m))
    return np.asarray(np.nan_to_num(z, nan=0.0) > 1.645)
