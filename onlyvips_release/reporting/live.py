"""The live view of a release on a terminal: where it stands, what was counted, what happened last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.reporting.terminal import error_views, line, waiting
from onlyvips_release.reporting.wording import clean, percent

BARS = "▁▂▃▄▅▆▇█"
LINES = 8
"""How many of the newest lines are on the screen."""

COLOURS = {"FAIL": "red", "PASS": "green"}


@contextmanager
def show_live(console: Console | None = None) -> Iterator[View]:
    """A view to call with each event; at the end all of its lines are printed, so that they stay."""
    view, console = View(), console or Console()
    live = Live(get_renderable=view.render, console=console, refresh_per_second=2, transient=True)
    live.start()
    try:
        yield view
    finally:
        with suppress(OSError):  # its reader has gone
            live.stop()
            for text in view.lines:
                console.print(escape(text), highlight=False, soft_wrap=True)


class View:
    """What is on the screen: a release, its newest lines, its failures so far."""

    def __init__(self) -> None:
        self.release: Release | None = None
        self.lines: list[str] = []
        self.rates: dict[str, deque[float]] = {}

    def __call__(self, event: events.Event, release: Release) -> None:
        """One event."""
        self.release = release
        if isinstance(event, events.Sampled):
            for view in error_views(release):
                rate = view.canary_bad / view.canary_total if view.canary_total else 0.0
                self.rates.setdefault(view.service, deque(maxlen=24)).append(rate)
        if text := line(event, release):
            self.lines.append(f"{datetime.now().astimezone():%H:%M:%S} {release.phase:<12} {clean(text, 400)}")

    def render(self) -> Group:
        """What is on the screen now."""
        release = self.release
        if release is None:
            return Group(Text("starting"))
        weight = "not confirmed" if release.weight is None else f"{release.weight} %"
        head = Text(f"{release.id}  {release.phase}  canary weight {weight}", style="bold")
        last = (Text(text, style=style(text), overflow="ellipsis", no_wrap=True) for text in self.lines[-LINES:])
        return Group(head, self.progress(release), self.counts(release), *last)

    def progress(self, release: Release) -> Table:
        """How much of the bake or the watch is over, or what is waited for."""
        row = Table.grid(padding=(0, 1))
        if release.phase in (events.Phase.BAKING, events.Phase.PAUSED, events.Phase.WATCHING):
            limit = release.plan.watch if release.phase is events.Phase.WATCHING else release.current.bake
            whole = limit.total_seconds()
            bar = ProgressBar(total=whole, completed=min(release.evidence.baked, whole), width=40)
            step = f"step {release.step + 1} of {len(release.plan.steps)}"
            row.add_row(bar, f"{release.evidence.baked:.0f} of {whole:.0f} s, {step}")
        else:
            row.add_row(f"waiting for {waiting(release)}")
        return row

    def counts(self, release: Release) -> Table:
        """Failed of all requests of both arms."""
        table = Table(box=None, pad_edge=False)
        for name in ("service", "canary failed", "stable failed", "canary's share"):
            table.add_column(name)
        for v in error_views(release):
            rate = percent(v.canary_bad / v.canary_total) if v.canary_total else "-"
            canary, stable = f"{v.canary_bad}/{v.canary_total}", f"{v.stable_bad}/{v.stable_total}"
            table.add_row(v.service, canary, stable, f"{sparkline(list(self.rates.get(v.service, ())))} {rate}")
        return table


def sparkline(values: list[float]) -> str:
    """One character each; the highest is full height, but never below 1 % of failures."""
    top = max([0.01, *values])
    return "".join(BARS[min(len(BARS) - 1, int(value / top * (len(BARS) - 1) + 0.5))] for value in values)


def style(text: str) -> str:
    """The colour of a line."""
    return next((colour for word, colour in COLOURS.items() if f" {word}" in text), "")
