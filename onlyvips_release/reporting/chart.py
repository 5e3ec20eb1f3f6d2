"""The picture of a release: weight, failures with their interval, volume; one time axis, events as lines. SVG, pure.

No script, no font or file from elsewhere; light and dark by its own style. Ticks without data are gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path

from onlyvips_release.core.judge import Interval
from onlyvips_release.reporting.timeline import Moment, Point, Story
from onlyvips_release.reporting.wording import clean, clock, esc, percent, span

WIDTH, LEFT, RIGHT, TOP, GAP = 760, 52, 10, 30, 26
TOUCHING = 22
"""Distance below which two numbers would overlap."""
MOST = 400
"""Ticks that are drawn; of more, every n-th."""

STYLE = (Path(__file__).parent / "chart.css").read_text().rstrip()

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)

ARMS = '<tspan class="c">canary ━</tspan> <tspan class="s">stable ╍</tspan>'

UNKNOWN_RATE = 0.001
"""Of stable's failures, where no history tells."""

Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One strip: `lines` by class, `bands` as (at, low, high); gaps split both into pieces."""

    title: str
    height: int
    top: float
    lines: Sequence[tuple[str, Sequence[Sequence[Spot]]]]
    bands: Sequence[Sequence[tuple[float, float, float]]] = ()
    key: str = ""
    scale: Callable[[float], str] = percent


def svg(story: Story) -> str:
    """The whole picture as one element, with a text for who cannot see it."""
    panels = [weight_panel(story)]
    for service in story.release.plan.routed:
        panels += [error_panel(story, service.name), *latency_panels(story, service.name)]
    panels += volume_panels(story)
    begin = beginning(story)
    length = max(story.seconds - begin, 1.0)

    def x(at: float) -> float:
        return round(LEFT + (at - begin) / length * (WIDTH - LEFT - RIGHT), 1)

    parts, y = [], float(TOP)
    for panel in panels:
        y += GAP
        parts.append(draw(panel, y, x))
        y += panel.height
    height = y + 24
    about = f"{len(panels)} strips over {span(length)}: " + "; ".join(panel.title for panel in panels)
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="chart-title chart-about"><title id="chart-title">Course of {esc(story.release.id)}</title>'
        f'<desc id="chart-about">{esc(about)}</desc><style>{STYLE}</style>'
        f"{axis(begin, length, y, x)}{event_lines(story, y, x)}{''.join(parts)}</svg>"
    )


def beginning(story: Story) -> float:
    """A little before the first thing that touches users: smoke suites at weight 0 would fill the picture."""
    first = next((moment.at for moment in story.moments if moment.number), 0.0)
    return max(0.0, first - 0.1 * (story.seconds - first))


def draw(panel: Panel, y: float, x: Callable[[float], float]) -> str:
    """One strip with its upper edge at `y`."""

    def up(value: float) -> float:
        return round(y + panel.height * (1 - min(max(value / panel.top, 0.0), 1.0)), 1)

    bands = "".join(f'<polygon class="band" points="{outline(band, x, up)}"/>' for band in panel.bands if band)
    lines = "".join(
        f'<polyline class="{kind}" points="{" ".join(f"{x(at)},{up(value)}" for at, value in [piece[0], *piece])}"/>'
        for kind, pieces in panel.lines
        for piece in pieces
        if piece
    )
    bottom = y + panel.height
    return (
        f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}M{LEFT} {bottom}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT}" y="{y - 6}">{esc(panel.title, 60)}{panel.key}</text>'
        f'<text class="soft" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{panel.scale(panel.top)}</text>'
        f'<text class="soft" x="{LEFT - 6}" y="{bottom + 4}" text-anchor="end">0</text>{bands}{lines}'
    )


def outline(
    band: Sequence[tuple[float, float, float]], x: Callable[[float], float], up: Callable[[float], float]
) -> str:
    """A band as one closed line: along its upper edge and back along the lower one."""
    there = [f"{x(at)},{up(high)}" for at, _, high in band]
    back = [f"{x(at)},{up(low)}" for at, low, _ in reversed(band)]
    return " ".join(there + back)


def weight_panel(story: Story) -> Panel:
    """Steps, not slopes: a weight is in force at once."""
    spots: list[Spot] = [(beginning(story), 0.0)]
    for at, weight in story.weights:
        spots += [(at, spots[-1][1]), (at, weight / 100)]
    spots.append((story.seconds, spots[-1][1]))
    return Panel("canary's share of the users", 56, 1.0, [("canary", [spots])])


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
        bands.append([(at, *around(base or 0.0, *known[at])) for at, _, base in shares if at in known])
    seen = [value for one in (*canary, *stable, *limit) for _, value in one]
    top = max([0.02, *(1.3 * value for value in seen)])
    key = (
        f' <tspan class="soft">failed requests:</tspan> {ARMS} <tspan class="l">tolerated ┈</tspan> '
        '<tspan class="soft">band: where it lies, 95 % at all times at once</tspan>'
    )
    lines = [("limit", limit), ("stable", stable), ("canary", canary)]
    return Panel(service, 72, min(top, 1.0), lines, bands, key)


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

    return arm_panels(story, service, spots, f' <tspan class="soft">p95 of first attempts:</tspan> {ARMS}', "{:.3g} ms")


def volume_panels(story: Story) -> list[Panel]:
    """Judged requests per second of both arms over all services, tick by tick."""

    def spots(piece: Sequence[Point], arm: int) -> list[Spot]:
        sums = [(point.at, sum(counts[2 * arm + 1] for counts in point.counts.values())) for point in piece]
        return [(b, (new - old) / (b - a)) for (a, old), (b, new) in pairwise(sums) if b > a]

    return arm_panels(story, "judged requests per second", spots, f" {ARMS}", "{:.3g}")


def arm_panels(
    story: Story, title: str, spots: Callable[[Sequence[Point], int], list[Spot]], key: str, scale: str
) -> list[Panel]:
    """The panel of both arms (`spots`: of canary 0 and stable 1), if there is anything to draw in it."""
    arms = (("stable", 1), ("canary", 0))
    lines = [(name, [spots(piece, arm) for piece in pieces(story.points)]) for name, arm in arms]
    values = [value for _, drawn_pieces in lines for piece in drawn_pieces for _, value in piece]
    return [Panel(title, 56, max(1.0, 1.1 * max(values)), lines, (), key, scale.format)] if values else []


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


def axis(begin: float, length: float, bottom: float, x: Callable[[float], float]) -> str:
    """At most eight times, since the start."""
    step = next((s for s in STEPS if length / s <= 8), STEPS[-1])
    marks = [n * step for n in range(ceil(begin / step), int((begin + length) / step) + 1)]
    return "".join(
        f'<path class="grid" d="M{x(at)} {TOP}V{bottom}"/>'
        f'<text class="soft" x="{x(at)}" y="{bottom + 18}" text-anchor="middle">{clock(at)}</text>'
        for at in marks
    )


def event_lines(story: Story, bottom: float, x: Callable[[float], float]) -> str:
    """Numbered as in the timeline; those that would touch share a number such as 4-6."""
    groups: list[list[Moment]] = []
    for moment in story.moments:
        if moment.number and groups and x(moment.at) - x(groups[-1][0].at) < TOUCHING:
            groups[-1].append(moment)
        elif moment.number:
            groups.append([moment])
    lines, labels = [], []
    for group in groups:
        first, last = group[0].number, group[-1].number
        label = f"{first}-{last}" if last > first else str(first)
        labels.append(f'<text x="{x(group[0].at)}" y="{TOP - 6}" text-anchor="middle">{label}</text>')
        for one in group:
            title = f"<title>{esc(clock(one.at))} {esc(one.text, 200)}</title>"
            lines.append(f'<g>{title}<path class="event" d="M{x(one.at)} {TOP}V{bottom}"/></g>')
    return "".join(lines + labels)


def samples_csv(story: Story) -> str:
    """The points behind the picture; counts are cumulative since the first step."""
    rows = ["seconds,weight,service,canary_failed,canary_all,stable_failed,stable_all,judged,phase"]
    for one in story.points:
        phase = "watch" if one.watch else "bake"
        for service, counts in one.counts.items():
            numbers = ",".join(map(str, counts))
            rows.append(f"{one.at:.1f},{one.weight},{clean(service)},{numbers},{int(not one.trouble)},{phase}")
    return "\n".join(rows) + "\n"
