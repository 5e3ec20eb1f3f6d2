"""The acceptance table as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

from benchmarks import judge_cost
from benchmarks.judge import runs
from benchmarks.judge.peers import WORDS
from benchmarks.judge.runs import ALONE, DEFAULT, ONE_OF_16, Run, errors, errors_found, latency
from benchmarks.judge.worlds import FINE_BUCKETS, LOG_BUCKETS, Errors, Gauge, Latency, Span
from onlyvips_release.core.judge import forecast
from onlyvips_release.core.judge.compare import Lines

Columns = Mapping[str, Sequence[float | None]]
Cases = Mapping[str, Columns]
"""Outcomes: case -> column -> one value per seed."""

RATES, MEDIANS = 1000, 300


@dataclass(frozen=True)
class Seen:
    """A bar held against what came out."""

    must: str
    seen: str
    ok: bool


Bar = Callable[[Cases], Seen]


@dataclass(frozen=True)
class Row:
    """One row. `runs`: seeds per case; `first`: how many of them CI repeats `of`: rows whose outcomes its bars read as well, as
    "D4/100 rps".
    """

    id: str
    scenario: str
    cases: Mapping[str, Run]
    bars: Sequence[Bar]
    runs: int = RATES
    first: int = 10
    of: Sequence[str] = ()


# --- bars ------------------------------------------------------------------------------------------------------------


def rate(what: str, threshold: float, limit: float, only: str = "", column: str = "lnE", without: str = "?") -> Bar:
    """In each case, how often evidence ever reached `threshold`; fails above limit + 3 standard errors."""

    def bar(cases: Cases) -> Seen:
        shares, ok = [], True
        for case, columns in cases.items():
            if only in case and without not in case:
                tops = [v for v in columns[column] if v is not None]
                share = sum(v >= math.log(threshold) - 5e-4 for v in tops) / len(tops)
                shares.append((share, case))
                ok = ok and share <= limit + 3 * math.sqrt(limit * (1 - limit) / len(tops))
        worst = max(shares)
        mean = sum(share for share, _ in shares) / len(shares)
        seen = f"{percent(worst[0])} ({worst[1]})" + (f", mean {percent(mean)}" if len(shares) > 1 else "")
        return Seen(f"{what} <= {percent(limit)}", seen, ok)

    return bar


def quantile(values: Sequence[float | None], q: float) -> float:
    """Over all runs; never (None), and too early (0), are infinite; the upper value on ties."""
    ordered = sorted(v or math.inf for v in values)
    return ordered[min(len(ordered) - 1, math.floor(q * len(ordered)))]


def tick(case: str) -> float:
    """Seconds of its ticks (blocks, scrapes), by its name."""
    return next((dt for word, dt in (("2-s", 2.0), ("CPU", 60.0), ("leak", 15.0)) if word in case), 5.0)


def at_most(must: str, limit: float, value: Callable[[Cases], float], shown: str = "{:g}") -> Bar:
    """One figure that must not be above its limit."""

    def bar(cases: Cases) -> Seen:
        return Seen(must, shown.format(value(cases)), value(cases) <= limit)

    return bar


def seconds(case: str, limit: float, q: float = 0.5) -> Bar:
    """Median (or quantile) of the time to the decision; may exceed the limit by one tick."""
    name = "median" if q == 0.5 else f"p{100 * q:.0f}"
    must = f"{case}: {name} <= {limit:g} s"
    return at_most(must, limit + tick(case), lambda cases: quantile(cases[case]["ticks"], q) * tick(case), "{:g} s")


def middle(case: str, column: str, limit: float, what: str) -> Bar:
    """Median of another column."""
    return at_most(f"{case}: <= {limit:g} {what}", limit, lambda cases: quantile(cases[case][column], 0.5))


def oracle_ratio(case: str, limit: float) -> Bar:
    """Median canary requests over those of the test that knows everything."""

    def value(cases: Cases) -> float:
        return quantile(cases[case]["requests"], 0.5) / quantile(cases[case]["oracle"], 0.5)

    return at_most(f"{case}: oracle ratio <= {limit:g}", limit, value, "{:.2f}")


def not_above(column: str, limit: float, what: str) -> Bar:
    """The largest value of all runs."""

    def value(cases: Cases) -> float:
        return max(v for columns in cases.values() for v in columns[column] if v is not None)

    return at_most(f"{what} <= {limit:g}", limit, value, "{:.2g}")


def widths(limit: float) -> Bar:
    """Median final width over an ordinary 95 % interval's."""

    def value(cases: Cases) -> float:
        return max(quantile(columns["width"], 0.5) for columns in cases.values())

    return at_most(f"width <= {limit:g} x ordinary", limit, value, "at most {:.2f}")


def share_found(case: str, limit: float) -> Bar:
    """At least this share is found; fails below limit - 3 standard errors."""

    def bar(cases: Cases) -> Seen:
        ticks = cases[case]["ticks"]
        share = sum(bool(v) for v in ticks) / len(ticks)
        ok = share >= limit - 3 * math.sqrt(limit * (1 - limit) / len(ticks))
        return Seen(f"{case}: >= {percent(limit)} found", percent(share), ok)

    return bar


def percent(share: float) -> str:
    """`0.25 %`."""
    return f"{100 * share:.3g} %"


def exactly(case: str, at_most: bool = False, **wanted: float | None) -> Bar:
    """A vector: what one replay must give; E within 6 % (or below)."""

    def bar(cases: Cases) -> Seen:
        seen = {name: cases[case][name][0] for name in wanted}
        ok = all(value == wanted[name] for name, value in seen.items() if name != "E")
        if "E" in wanted:
            part = (seen["E"] or 0.0) / (wanted["E"] or 1.0)
            ok = ok and part < 1.06 and (at_most or part > 0.94)
        return Seen(f"{case}: {told(wanted)}" + (" at most" if at_most else ""), told(seen), ok)

    return bar


def told(values: Mapping[str, float | None]) -> str:
    """`rollback at point 3, E = 913`."""
    parts = []
    for name, value in values.items():
        if name == "ticks":
            parts.append(f"rollback at point {value:g}" if value else "no rollback")
        elif name == "word":
            parts.append(WORDS[int(value or 0)])
        else:
            parts.append(f"{name} = {value:g}")
    return ", ".join(parts)


def covered(limit: float) -> Bar:
    """Share of runs in which the interval held the truth at all looks; fails below limit - 3 standard errors."""

    def bar(cases: Cases) -> Seen:
        shares = [
            (sum(v or 0 for v in columns["covered"]) / len(columns["covered"]), c) for c, columns in cases.items()
        ]
        n = len(next(iter(cases.values()))["covered"])
        worst = min(shares)
        ok = worst[0] >= limit - 3 * math.sqrt(limit * (1 - limit) / n)
        return Seen(f"covers at all looks >= {percent(limit)}", f"{percent(worst[0])} ({worst[1]})", ok)

    return bar


def planned(case: str, world: Errors, limit: float) -> Bar:
    """The planner's median time against the simulated one."""

    def bar(cases: Cases) -> Seen:
        simulated = quantile(cases[case]["ticks"], 0.5) * 5.0
        n = forecast.to_find(world.bad or 0.0, world.base, 9.0, DEFAULT, 1.1, ONE_OF_16, 0.5)
        foretold = forecast.seconds(n, world.rps * 0.1, 5.0, 1.1, ONE_OF_16)
        off = foretold / simulated - 1
        return Seen(
            f"{case}: within {percent(limit)}", f"{foretold:g} for {simulated:g} s, {off:+.1%}", abs(off) <= limit
        )

    return bar


def rival(case: str, column: str, seen_before: float, runs_before: int = 1000) -> Bar:
    """A peer's rule reproduces the share that was published, within 3 standard errors of the difference."""

    def bar(cases: Cases) -> Seen:
        values = cases[case][column]
        share, p = sum(bool(v) for v in values) / len(values), max(seen_before, 0.003)
        error = math.sqrt(max(p * (1 - p), 0.003) * (1 / len(values) + 1 / runs_before))
        return Seen(f"{case}: {column} {percent(seen_before)}", percent(share), abs(share - seen_before) <= 3 * error)

    return bar


# --- rows ------------------------------------------------------------------------------------------------------------

BASES, RPS = (0.0, 0.001, 0.01, 0.05), (1, 10, 100, 1000)
GRID = [(base, rps) for base in BASES for rps in RPS]
LOADED = [(base, rps) for base, rps in GRID if base > 0 and rps > 1]
LATE = Span(onset=600.0)
FIVE = Span(onset=300.0)
FIVE_LONG = Span(onset=300.0, until=600.0)
TWO_SECONDS = Span(dt=2.0)
AT_TWO = ((0.001, 100), (0.01, 10), (0.01, 1000))
AT_ONCE = Span()
KINDS = ("icc", "batch2", "batch5")
NOISES = {"A/A": Latency(0), "drift": Latency(0, drift=True), "noise 10 %/30 s": Latency(0, noise=(0.1, 30))}
FAST = Latency(100, edges=FINE_BUCKETS, median=5.0)
CPUS = {"sd 10 %/60 s": Gauge(0.1, 60), "sd 20 %/120 s": Gauge(0.2, 120)}
INTERVALS = (
    (0.01, 0.01, 10), (0.01, 0.01, 100), (0.01, 0.02, 100), (0.001, 0.005, 100), (0.001, 0.001, 100), (0.05, 0.05, 10),
    (0.01, 0.11, 10),
)  # fmt: skip


def named(base: float, rps: float) -> str:
    """Of a case."""
    return f"{100 * base:g} % at {rps:g} rps"


def equal(p: float, rps: float, span: Span = AT_ONCE) -> Errors:
    """A/A."""
    return Errors(rps, p, span=span)


def on_line(p: float, rps: float, span: Span = AT_ONCE) -> Errors:
    """A canary exactly as bad as is tolerated."""
    return Errors(rps, p, 1.2 * p + 0.001, span=span)


def at(world: Latency, rps: float) -> Latency:
    """With this traffic."""
    return replace(world, rps=rps)


def released(
    rps: float, threshold: float | None = 100.0, *, span: Span = AT_ONCE, bad: float | None = None, factor: float = 1.0
) -> Run:
    """Four services, base .3 %."""
    errors_ = Errors(rps, 0.003, bad, span=span)
    return runs.release(errors_, Latency(rps, factor, noise=(0.03, 30), span=span), threshold)


def timed(id_: str, scenario: str, cases: Mapping[str, tuple[Run, float]], *more: Bar) -> Row:
    """A row of medians: each case with its limit in seconds."""
    bars = [seconds(case, limit) for case, (_, limit) in cases.items()]
    return Row(id_, scenario, {case: run for case, (run, _) in cases.items()}, [*bars, *more], MEDIANS)


def gauges(id_: str, scenario: str, pods: int, *limits: float) -> list[Row]:
    """CPU and leaks: rates, and times."""
    memory = Gauge(0.02, 60, pods=pods)
    still = {f"CPU A/A {name}": runs.level(replace(world, pods=pods), None) for name, world in CPUS.items()}
    faults = {
        "CPU x2": runs.level(Gauge(0.1, 60, factor=2, pods=pods)),
        "leak 1 %/min": runs.level(replace(memory, slope=0.01), slope=True),
        "leak 3 %/min": runs.level(replace(memory, slope=0.03), slope=True),
    }
    times = {case: (run, limit) for (case, run), limit in zip(faults.items(), limits, strict=True)}
    return [
        Row(
            id_,
            f"CPU A/A, leak A/A{scenario}",
            {**still, "leak A/A": runs.level(memory, None, slope=True)},
            [rate("1 of 16", ONE_OF_16, 0.005)],
        ),
        timed(f"{id_}b", f"CPU x2; leak 1 %/min; 3 %/min; 1 of 16{scenario}", times),
    ]


POSTED: dict[str, tuple[list[float], list[float]]] = {
    "spinnaker#6278": ([100.0] * 7 + [1.0] * 3, [1.0] * 10),
    "kayenta#426": ([0, 1, 2, 1, 0, 0], [0] * 6),
    "kayenta#780": (
        [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 17.0, 17.1, 17.2, 17.3, 17.4, 17.5, 17.6, 17.7],
        [1.0, 100, 4, 101, 5, 102, 6, 103, 7, 104, 8, 105, 9, 106, 17],
    ),
    "spinnaker#5622": ([nan, 0.048, nan, 0.18, 0.089, nan, 0.098, 0.035, nan, nan], [nan] * 10),
    "kayenta#799": ([1, 4, 2, 3, 1], [0] * 5),
    "one point each": ([1.0], [0.0]),
    "canary emits nothing": ([], [0.1, 0.2, 0.1]),
}
"""Data that users posted where the best-known judge was wrong."""

PER_MINUTE = [round(60 * v) if v > 0 else 0 for v in POSTED["spinnaker#5622"][0]]

# fmt: off
ROWS = [
    Row("F1", "A/A, base 0, .1, 1, 5 % x 1, 10, 100, 1000 rps",
        {named(p, rps): errors(Errors(rps, p), rivals=True) for p, rps in GRID}, [rate("alone", ALONE, 0.005), rate("1 of 16", ONE_OF_16, 0.001)]),
    Row("F2", "canary = 1.2 p + .001, base .1, 1, 5 % x 10, 100, 1000 rps; also rho 1, delta 0 with A/A",
        {named(p, rps): errors(on_line(p, rps)) for p, rps in LOADED}
         | {f"rho 1, {named(p, rps)}": errors(Errors(rps, p), None, Lines(1.0, 0.0)) for p, rps in LOADED},
        [rate("alone", ALONE, 0.03), rate("1 of 16", ONE_OF_16, 0.003)]),
    Row("F3", "common, diurnal; 10, 100, 1000 rps",
        {f"{kind} at {rps} rps": errors(Errors(rps, p, kind=kind), rivals=True) for kind, p in (("common", 0.005), ("diurnal", 0.01))
         for rps in RPS[1:]},
        [rate("alone", ALONE, 0.005)]),
    Row("F4", "icc .02, batch 2, batch 5; 10, 100, 1000 rps",
        {f"{kind} at {rps} rps": errors(Errors(rps, 0.005, kind=kind)) for kind in KINDS for rps in RPS[1:]},
        [rate("alone", ALONE, 0.03), rate("1 of 16", ONE_OF_16, 0.006)]),
    Row("F5", "F4 without history",
        {f"{kind} at {rps} rps": errors(Errors(rps, 0.005, kind=kind), history=False) for kind in KINDS for rps in RPS[1:]},
        [rate("1 of 16", ONE_OF_16, 0.01, without="icc at 1000"), rate("1 of 16, icc .02 at 1000 rps", ONE_OF_16, 0.07, "icc at 1000")]),
    Row("F6", "exact expectation of the uncapped tick factor, 300 random designs x 13 stable rates",
        {"designs": runs.exact}, [not_above("tolerated", 1e-6, "E: excess over 1"), not_above("beyond", 1e-6, "E': excess over 1")], MEDIANS),
    Row("F7", "both arms 90 % or 100 % bad from minute 5 on (base .2 %); both 3 times slower; both 5 % for 5 min",
        {f"both {100 * p:g} % at {rps} rps": errors(Errors(rps, 0.002, both=p, span=FIVE), rivals=True) for p in (0.9, 1.0) for rps in RPS[1:]}
         | {f"both 5 % for 5 min at {rps} rps": errors(Errors(rps, 0.002, both=0.05, span=FIVE_LONG), rivals=True) for rps in RPS[1:]}
         | {f"both 3 x slower at {rps} rps": latency(Latency(rps, both=3, span=FIVE), None) for rps in RPS[1:]},
        [rate("alone", ALONE, 0.005)]),
    Row("F8", "F1 and F2 at a 2-s tick; with history, and without",
        {f"{name}, {history}, {named(p, rps)}": errors(world(p, rps, TWO_SECONDS), history=history == "history")
         for name, world in (("A/A", equal), ("line", on_line)) for history in ("history", "none") for p, rps in AT_TWO},
        [rate("A/A alone", ALONE, 0.005, "A/A"), rate("A/A 1 of 16", ONE_OF_16, 0.001, "A/A"), rate("line alone", ALONE, 0.03, "line"),
         rate("line 1 of 16", ONE_OF_16, 0.003, "line")]),
    timed("D1", "100 % errors (base .1 %), 100 rps",
        {"5-s tick": (errors_found(Errors(100, 0.001, 1.0)), 10), "2-s tick": (errors_found(Errors(100, 0.001, 1.0, span=TWO_SECONDS)), 4)},
        seconds("5-s tick", 15, 0.95), middle("5-s tick", "failed", 110, "failed"), middle("2-s tick", "failed", 45, "failed")),
    Row("D2", "100 % errors (base .1 %), 1 rps",
        {"1 rps": errors_found(Errors(1, 0.001, 1.0))}, [middle("1 rps", "requests", 5, "canary requests")], MEDIANS),
    timed("D3", "+10 pp (base 1 %)", {f"{rps} rps": (errors_found(Errors(rps, 0.01, 0.11)), limit) for rps, limit in ((10, 105), (100, 20))}),
    timed("D4", "+1 pp (base 1 %)",
        {f"{rps} rps": (errors_found(Errors(rps, 0.01, 0.02), oracle=True), limit) for rps, limit in ((100, 665), (1000, 75))},
        middle("100 rps", "requests", 6650, "canary requests"), oracle_ratio("100 rps", 2.1)),
    timed("D5", ".1 -> .5 %",
        {f"{rps} rps": (errors_found(Errors(rps, 0.001, 0.005)), limit) for rps, limit in ((100, 795), (1000, 85))}, share_found("100 rps", 0.95)),
    timed("D6", "0 -> 1 %; 5 -> 10 %",
        {f"{name}, {rps} rps": (errors_found(Errors(rps, p, bad)), limit)
         for name, p, bad, rps, limit in (("0 -> 1 %", 0.0, 0.01, 10, 650), ("5 -> 10 %", 0.05, 0.1, 10, 995), ("0 -> 1 %", 0.0, 0.01, 100, 70),
         ("5 -> 10 %", 0.05, 0.1, 100, 105))}),
    timed("L1", "onset at minute 10, after onset",
        {f"{name}, {rps} rps": (errors_found(Errors(rps, p, bad, span=LATE)), limit)
         for name, p, bad, rps, limit in (("100 %", 0.001, 1.0, 100, 20), ("+10 pp", 0.01, 0.11, 100, 30), ("+10 pp", 0.01, 0.11, 10, 145),
         ("+1 pp", 0.01, 0.02, 1000, 120), (".1 -> .5 %", 0.001, 0.005, 1000, 140))}),
    Row("L2", "latency A/A; drift; pod noise 10 %/30 s; 10, 100, 1000 rps",
        {f"{name} at {rps} rps": latency(replace(world, rps=rps), None) for name, world in NOISES.items() for rps in RPS[1:]},
        [rate("alone", ALONE, 0.015)]),
    Row("L3", "latency A/A, pod noise 10 %/120 s; 10, 100, 1000 rps",
        {f"{rps} rps": latency(Latency(rps, noise=(0.1, 120)), None) for rps in RPS[1:]}, [rate("alone", ALONE, 0.06)]),
    timed("L4", "x1.2 at 100 rps; x2 at 10, 100 rps; x2 at minute 10, 100 rps",
        {"x1.2, 100 rps": (latency(Latency(100, 1.2)), 205), "x2, 10 rps": (latency(Latency(10, 2.0)), 50),
         "x2, 100 rps": (latency(Latency(100, 2.0)), 15), "x2 at minute 10, 100 rps": (latency(Latency(100, 2.0, span=LATE)), 25)}),
    timed("L5", "p99-only x2, 100 rps: default buckets; log buckets",
        {"default buckets": (latency(Latency(100, tail=True)), 175), "log buckets": (latency(Latency(100, tail=True, edges=LOG_BUCKETS)), 75)}),
    Row("L6", "a fast service (median 5 ms) with 5 ms of slack: A/A; canary later by 5 ms (the line); 100 rps",
        {name: latency(replace(FAST, later=later), None, 5.0) for name, later in (("A/A", 0.0), ("line", 5.0))},
        [rate("A/A alone", ALONE, 0.015, "A/A"), rate("line alone", ALONE, 0.06, "line")]),
    timed("L6b", "the same service, x4, 100 rps", {"x4": (latency(replace(FAST, factor=4.0), slack=5.0), 20)}),
    Row("V1", "volume A/A, bursty A/A; f = .9 (the line); 10, 100, 1000 rps",
        {f"{name} at {rps} rps": runs.volumes(rps, factor, None, bursty=name == "bursty A/A")
         for name, factor in (("A/A", 1.0), ("bursty A/A", 1.0), ("line", 0.9)) for rps in RPS[1:]},
        [rate("A/A alone", ALONE, 0.015, "A/A"), rate("line alone", ALONE, 0.03, "line")]),
    timed("V2", "f = .5, 100 rps; .8, 1000 rps; 0, 10 rps; 1 of 16",
        {f"f {factor:g}, {rps} rps": (runs.volumes(rps, factor), limit)
         for factor, rps, limit in ((0.5, 100, 200), (0.8, 1000, 355), (0.0, 10, 230))}),
    Row("V3", "traffic share A/A; 1, 10, 100, 1000 rps", {f"{rps} rps": runs.shares(rps, 1.0, None) for rps in RPS}, [rate("alone", ALONE, 0.005)]),
    timed("V4", "traffic share (as seen in section 5.3): nothing; half; 1 of 16",
        {f"f {factor:g}, {rps} rps": (runs.shares(rps, factor), limit)
         for factor, rps, limit in ((0.0, 1, 190), (0.0, 10, 20), (0.0, 100, 15), (0.5, 10, 220))}),
    *gauges("G1", "", 3, 240, 1005, 400),
    *gauges("G2", ", one instance per arm: stable's own earlier blocks are the history", 1, 240, 1140, 515),
    timed("P1", "E' >= 20: equal canary, base 1 %, 100 rps", {"equal": (errors(Errors(100, 0.01), ALONE, DEFAULT), 150)}),
    Row("P1b", "E' >= 20: canary = 1.5 p + .005 on F1's grid",
        {named(p, rps): errors(Errors(rps, p, 1.5 * p + 0.005), None, DEFAULT) for p, rps in GRID}, [rate("E' >= 20, wrong", ALONE, 0.05)]),
    Row("R1", "release A/A, 10 and 100 rps, alpha 1 % and 5 %",
        {f"{rps} rps": released(rps, None) for rps in (10, 100)}, [rate("alpha 5 %", 20.0, 0.003), rate("alpha 1 %", 100.0, 0.003)]),
    timed("R2", "release, alpha 1 %: +10 pp 10, 100 rps; at minute 10, 100 rps; +1 pp 100 rps; x2 100 rps",
        {"+10 pp, 10 rps": (released(10, bad=0.103), 85), "+10 pp, 100 rps": (released(100, bad=0.103), 20),
         "+10 pp at minute 10, 100 rps": (released(100, bad=0.103, span=LATE), 25), "+1 pp, 100 rps": (released(100, bad=0.013), 265),
         "x2, 100 rps": (released(100, factor=2.0), 20)},
       ),
    Row("C1", "interval, looks each 60 s",
        {f"{b:g}, {a:g}, {rps} rps": runs.interval(b, a, rps) for b, a, rps in INTERVALS}, [covered(0.95), widths(2.0)]),
    Row("C2", "planner median against D rows, >= 10 rps, not tick-limited",
        {},
        [planned("D3/10 rps", Errors(10, 0.01, 0.11), 0.2), planned("D4/100 rps", Errors(100, 0.01, 0.02), 0.15),
         planned("D5/100 rps", Errors(100, 0.001, 0.005), 0.15), planned("D6/0 -> 1 %, 10 rps", Errors(10, 0.0, 0.01), 0.15),
         planned("D6/5 -> 10 %, 10 rps", Errors(10, 0.05, 0.1), 0.15)],
        0, of=("D3", "D4", "D5", "D6")),
    Row("T1", "telemetry, 50 % lost, 100 rps: A/A 1 %", {"A/A": runs.telemetry(Errors(100, 0.01), None)}, [rate("1 of 16", ONE_OF_16, 0.005)]),
    timed("T1b", "telemetry, 50 % lost, 100 rps: +1 pp; 1 of 16", {"+1 pp": (runs.telemetry(Errors(100, 0.01, 0.02), ONE_OF_16), 800)}),
    Row("K1", "the seven vectors of section 12, alpha 1 %",
        {**{name: runs.of_counts(*POSTED[name]) for name in ("kayenta#426", "kayenta#799")},
         "spinnaker#6278": runs.of_level(*POSTED["spinnaker#6278"]), "kayenta#780": runs.of_level(*POSTED["kayenta#780"], both=True),
         "spinnaker#5622": runs.of_counts(PER_MINUTE, [0] * 10), "one point each": runs.of_errors([(1, 1, 0, 1)]),
         "canary emits nothing": runs.of_errors([(0, 0, 0, 1)] * 3),
         "#426 with 1000 made-up requests a point": runs.of_errors([(x, 1000, 0, 1000) for x in (0, 1, 2, 1, 0, 0)])},
        [exactly("spinnaker#6278", ticks=3, E=913), exactly("kayenta#426", ticks=None, E=1.7), exactly("kayenta#780", True, ticks=None, E=1.05),
         exactly("spinnaker#5622", ticks=7, E=211), exactly("kayenta#799", ticks=None, E=6.9), exactly("one point each", ticks=None),
         exactly("canary emits nothing", ticks=None)],
        1, 1),
    Row("K2", "Kayenta's port on the same seven vectors (peers.md section 4.3)",
        {name: runs.of_kayenta(*data) for name, data in POSTED.items()},
        [exactly(name, word=WORDS.index(word)) for name, word in zip(POSTED, ("Pass", "Pass", "Pass", "Pass", "High", "Error", "Pass"), strict=True)],
        1, 1),
    Row("Q1", "peers' rules on an equal release (R1's runs) reproduce section 11",
        {},
        [rival(f"R1/{rps} rps", name, share)
         for name, shares in (("argo 99 % limit 0", (1.0, 0.93)), ("argo 99 % limit 3", (1.0, 0.27)), ("flagger 99 % threshold 5", (1.0, 0.12)),
         ("z-test", (0.91, 0.88)), ("kayenta 95 %", (0.01, 0.007))) for rps, share in zip((10, 100), shares, strict=True)],
        0, of=("R1",)),
    Row("X1", "one Compare with E', pure Python; 200 services x 8 metrics in one look",
        {"cost": lambda _: dict(judge_cost.measured())},
        [not_above("us", 300, "us CPU per tick"), not_above("kb", 16, "KB"), not_above("look", 1.0, "s CPU of 200 services x 8 metrics"),
         not_above("slope", 1.15, "exponent of the look's cost")],
        1, 0),
]
# fmt: on
BY_ID = {row.id: row for row in ROWS}
