"""The picture of a release: weight, failures with their interval, volume; one time axis, events as lines. SVG, pure.

No script, no font or file from elsewhere; light and dark by its own style. Ticks without data are gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from onlyvips_release.core.judge import Interval
from onlyvips_release.reporting.markup import render
from onlyvips_release.reporting.timeline import Moment, Point, Story
from onlyvips_release.reporting.wording import clean, percent, span

WIDTH, LEFT, RIGHT, TOP, GAP = 760, 52, 750, 30, 26
TOUCHING = 22
"""Distance below which two numbers would overlap."""
MOST = 400
"""Ticks that are drawn; of more, every n-th."""

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)

UNKNOWN_RATE = 0.001
"""Of stable's failures, where no history tells."""

Spot = tuple[float, float]
"""Seconds since the start, and a value."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One strip: `lines` by class, split into pieces by gaps; a piece of class `band` is a closed line."""

    kind: str
    title: str
    height: int
    top: float
    lines: Sequence[tuple[str, Sequence[Sequence[Spot]]]]
    scale: Callable[[float], str] = percent

    def shapes(self, y: float, x: Callable[[float], float]) -> Iterator[tuple[str, str]]:
        """Class and points of every piece, where the strip's upper edge is at `y`; a line of one spot is a dot."""
        for kind, pieces in self.lines:
            for piece in filter(None, pieces):
                spots = piece if kind == "band" else [piece[0], *piece]
                shares = ((at, min(max(value / self.top, 0.0), 1.0)) for at, value in spots)
                yield kind, " ".join(f"{x(at)},{round(y + self.height * (1 - share), 1)}" for at, share in shares)


def svg(story: Story) -> str:
    """The whole picture as one element, with a text for who cannot see it."""
    panels = [weight_panel(story)]
    for service in story.release.plan.routed:
        panels += [error_panel(story, service.name), *latency_panels(story, service.name)]
    panels += volume_panels(story)
    begin = beginning(story)
    length = max(story.seconds - begin, 1.0)

    def x(at: float) -> float:
        return round(LEFT + (at - begin) / length * (RIGHT - LEFT), 1)

    strips, y = [], float(TOP)
    for panel in panels:
        y += GAP
        strips.append((panel, y, panel.shapes(y, x)))
        y += panel.height
    title = f"Course of {story.release.id}"
    about = f"{len(panels)} strips over {span(length)}: " + "; ".join(panel.title for panel in panels)
    marks, groups = [(x(at), at) for at in axis(begin, length)], event_groups(story, x)
    edges = {"width": WIDTH, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": y}
    return render("chart.svg", title=title, about=about, strips=strips, marks=marks, groups=groups, **edges)


def beginning(story: Story) -> float:
    """A little before the first thing that touches users: smoke suites at weight 0 would fill the picture."""
    first = next((moment.at for moment in story.moments if moment.number), 0.0)
    return max(0.0, first - 0.1 * (story.seconds - first))


def weight_panel(story: Story) -> Panel:
    """Steps, not slopes: a weight is in force at once."""
    spots: list[Spot] = [(beginning(story), 0.0)]
    for at, weight in story.weights:
        spots += [(at, spots[-1][1]), (at, weight / 100)]
    spots.append((story.seconds, spots[-1][1]))
    return Panel("weight", "canary's share of the users", 56, 1.0, [("canary", [spots])])


def error_panel(story: Story, service: str) -> Panel:
    """Shares of failed requests since the first step; the band is where the canary's true share may lie."""
    limits = story.release.plan.judge.errors.tolerated
    canary, stable, limit, bands = [], [], [], []
    known = intervals(story, service)
    for piece in pieces(story.points):
        shares = [(one.at, *share(one.counts[service])) for one in piece]
        canary.append([(at, rate) for at, rate, _ in shares if rate is not None])
        stable.append([(at, base) for at, _, base in shares if base is not None])
        limit.append([(at, limits.factor * base + limits.plus) for at, _, base in shares if base is not None])
        edges = [(at, *around(base or 0.0, *known[at])) for at, _, base in shares if at in known]
        bands.append([(at, high) for at, _, high in edges] + [(at, low) for at, low, _ in reversed(edges)])
    seen = [value for one in (*canary, *stable, *limit) for _, value in one]
    top = max([0.02, *(1.3 * value for value in seen)])
    lines = [("band", bands), ("limit", limit), ("stable", stable), ("canary", canary)]
    return Panel("errors", service, 72, min(top, 1.0), lines)


def share(counts: Sequence[int]) -> tuple[float | None, float | None]:
    """Canary's and stable's share of failures; None = no request."""
    xc, nc, xb, nb = counts
    return xc / nc if nc else None, xb / nb if nb else None


def intervals(story: Story, service: str) -> dict[float, tuple[float, float]]:
    """By time: how much worse the canary is, so that all of these hold at once with 95 % (judge.md section 7)."""
    history = story.release.evidence.judge.known.get(service)
    interval = Interval(history.rate if history else UNKNOWN_RATE, story.release.plan.judge.tick.total_seconds())
    found, before = {}, (0, 0, 0, 0)
    for point in drawn(story.points):
        if point.watch:
            break
        counts = point.counts[service]
        interval.fold(*(now - then for now, then in zip(counts, before, strict=True)))
        before = counts
        low, high = interval.bounds
        if counts[1] and counts[3] and low <= high:
            found[point.at] = low, high
    return found


def around(base: float, low: float, high: float) -> tuple[float, float]:
    """The canary's share for these differences from stable's."""
    return max(0.0, base + low), min(1.0, base + high)


def latency_panels(story: Story, service: str) -> list[Panel]:
    """The 95th percentile of each tick, in milliseconds; none without answers."""

    def spots(piece: Sequence[Point], arm: int) -> list[Spot]:
        return [(point.at, value) for point in piece if (value := point.p95[service][arm]) is not None]

    return arm_panels(story, "latency", service, spots, "{:.3g} ms")


def volume_panels(story: Story) -> list[Panel]:
    """Judged requests per second of both arms over all services, tick by tick."""

    def spots(piece: Sequence[Point], arm: int) -> list[Spot]:
        sums = [(point.at, sum(counts[2 * arm + 1] for counts in point.counts.values())) for point in piece]
        return [(b, (new - old) / (b - a)) for (a, old), (b, new) in pairwise(sums) if b > a]

    return arm_panels(story, "volume", "judged requests per second", spots, "{:.3g}")


def arm_panels(
    story: Story, kind: str, title: str, spots: Callable[[Sequence[Point], int], list[Spot]], scale: str
) -> list[Panel]:
    """The panel of both arms (`spots`: of canary 0 and stable 1), if there is anything to draw in it."""
    arms = (("stable", 1), ("canary", 0))
    lines = [(name, [spots(piece, arm) for piece in pieces(story.points)]) for name, arm in arms]
    values = [value for _, drawn_pieces in lines for piece in drawn_pieces for _, value in piece]
    return [Panel(kind, title, 56, max(1.0, 1.1 * max(values)), lines, scale.format)] if values else []


def drawn(points: Sequence[Point]) -> Sequence[Point]:
    """At most `MOST` of them, evenly."""
    return points[:: max(1, -(-len(points) // MOST))]


def pieces(points: Sequence[Point]) -> list[list[Point]]:
    """Runs of judged ticks that belong together: a gap, another weight, or the promotion begins a new one."""
    found: list[list[Point]] = [[]]
    for one in drawn(points):
        last = found[-1][-1] if found[-1] else one
        if one.trouble or (one.watch, one.weight) != (last.watch, last.weight):
            found.append([])
        if not one.trouble:
            found[-1].append(one)
    return found


def axis(begin: float, length: float) -> list[int]:
    """At most eight times, in seconds since the start."""
    step = next((s for s in STEPS if length / s <= 8), STEPS[-1])
    return [n * step for n in range(ceil(begin / step), int((begin + length) / step) + 1)]


def event_groups(story: Story, x: Callable[[float], float]) -> list[list[tuple[float, Moment]]]:
    """Numbered as in the timeline, with their places; those that would touch share a number such as 4-6."""
    groups: list[list[tuple[float, Moment]]] = []
    for moment in story.moments:
        place = x(moment.at)
        if moment.number and groups and place - groups[-1][0][0] < TOUCHING:
            groups[-1].append((place, moment))
        elif moment.number:
            groups.append([(place, moment)])
    return groups


def samples_csv(story: Story) -> str:
    """The points behind the picture; counts are cumulative since the first step."""
    rows = ["seconds,weight,service,canary_failed,canary_all,stable_failed,stable_all,judged,phase"]
    for one in story.points:
        phase = "watch" if one.watch else "bake"
        for service, counts in one.counts.items():
            numbers = ",".join(map(str, counts))
            rows.append(f"{one.at:.1f},{one.weight},{clean(service)},{numbers},{int(not one.trouble)},{phase}")
    return "\n".join(rows) + "\n"
