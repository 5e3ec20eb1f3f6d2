"""What a person or a CI system sees while a release runs, and after it. Decides nothing."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from onlyvips_release.codec import encode
from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Request
from onlyvips_release.platform import Platform
from onlyvips_release.reporting import github
from onlyvips_release.reporting.folder import allure_html, read
from onlyvips_release.reporting.terminal import Printer
from onlyvips_release.state.requests import RequestFile

Tell = Callable[[events.Event, Release], None]


@contextmanager
def shown(platform: Platform, *, as_json: bool, stream: Path | None = None) -> Iterator[Tell]:
    """A live view on a terminal, else lines with a heartbeat; with `as_json` they go to stderr. `stream`: also there,
    as JSON lines."""
    out = sys.stderr if as_json else sys.stdout
    with ExitStack() as stack:
        if not as_json and out.isatty() and platform.place.env.get("TERM") != "dumb":
            from onlyvips_release.reporting.live import View  # noqa: PLC0415 - rich is slow to import

            views: list[Tell] = [stack.enter_context(View())]
        else:
            views = [stack.enter_context(lines(out, in_github(platform)))]
        if stream is not None:
            views.append(stack.enter_context(json_lines(stream)))

        def tell(event: events.Event, release: Release) -> None:
            for view in views:
                view(event, release)

        yield tell


@contextmanager
def lines(out: IO[str], grouped: bool, every: float = 30.0) -> Iterator[Printer]:
    """A line per event, and one when nothing was said for `every` seconds. `grouped`: foldable on GitHub."""

    def write(text: str) -> None:
        out.write(text)
        out.flush()

    printer = Printer(write, lambda: datetime.now().astimezone(), every)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(min(1.0, every)):
            printer.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    write("::group::release\n" if grouped else "")
    try:
        yield printer
    finally:
        over.set()
        thread.join()
        write("::endgroup::\n" if grouped else "")


@contextmanager
def json_lines(path: Path) -> Iterator[Tell]:
    """Each event as `{"t": …, "event": …, "phase": …, its fields}`, appended and flushed at once."""
    with path.open("a", encoding="utf-8") as file:

        def tell(event: events.Event, release: Release) -> None:
            now = datetime.now().astimezone().isoformat(timespec="milliseconds")
            found = {"t": now, "event": type(event).__name__, "phase": str(release.phase), **encode(event)}
            file.write(json.dumps(found) + "\n")
            file.flush()

        yield tell


@contextmanager
def aborted_after(platform: Platform, limit: float | None) -> Iterator[None]:
    """Leave the wish `abort` after so many seconds; None = never."""
    if limit is None:
        yield
        return
    wish = RequestFile(platform.state / "live")
    timer = threading.Timer(limit, wish.ask, (Request("abort", f"--timeout of {limit:g} s"),))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def in_github(platform: Platform) -> bool:
    """Whether a GitHub workflow runs this."""
    return platform.place.env.get("GITHUB_ACTIONS") == "true"


def reported(platform: Platform, release: Release, *, brief: bool) -> Iterator[str]:
    """Lines that say where the reports are; in a GitHub workflow also its annotations, summary and outputs.

    `brief`: somebody waits for the end, so nothing that takes seconds is made. What goes wrong is only told.
    """
    folder = platform.place.reports / release.id
    page = folder / "report.html"
    if not page.exists():
        return
    yield f"report: {page}"
    try:
        if in_github(platform):
            yield from to_github(platform, release, page)
        if not brief:
            yield allure_html(platform.place.reports, release.id, platform.place.env)
    except Exception as error:
        yield f"not reported everywhere: {type(error).__name__}: {error}"


def to_github(platform: Platform, release: Release, page: Path) -> Iterator[str]:
    """Annotations as lines; summary and outputs into the files that the workflow names."""
    story = read(platform.journal(release.id), page.parent)
    yield from github.notices(story)
    texts = {
        "GITHUB_STEP_SUMMARY": github.step_summary(story),
        "GITHUB_OUTPUT": github.outputs(story, os.path.relpath(page)),
    }
    for name, text in texts.items():
        if path := platform.place.env.get(name):
            with Path(path).open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)
