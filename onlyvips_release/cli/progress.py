"""What a person or a CI system sees while a release runs, and after it. Decides nothing."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from onlyvips_release.cli.options import echo_line, echo_to, silence
from onlyvips_release.codec import encode
from onlyvips_release.core import events
from onlyvips_release.core.events import Requested
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.errors import Refused
from onlyvips_release.reporting import github
from onlyvips_release.reporting.allure import allure_html
from onlyvips_release.reporting.folder import read
from onlyvips_release.reporting.terminal import Printer

if TYPE_CHECKING:
    from onlyvips_release.platform import Platform

Show = Callable[[events.Event, Release], None]


@contextmanager
def show_progress(platform: Platform, *, as_json: bool, stream: Path | None = None) -> Iterator[Show]:
    """A live view on a terminal, else lines with a heartbeat; with `as_json` they go to stderr. `stream`: also there,
    as JSON lines. Nothing that goes wrong with showing ends a release."""
    out = sys.stderr if as_json else sys.stdout
    live = not as_json and out.isatty() and not platform.environment.simple_terminal
    with ExitStack() as stack:
        if live:
            from onlyvips_release.reporting.live import show_live  # noqa: PLC0415 - rich is slow to import

            views: list[Show] = [stack.enter_context(show_live())]
        else:
            views = [stack.enter_context(show_lines(out, platform.environment.in_github))]
        if stream is not None:
            views.append(stack.enter_context(write_json_lines(stream)))

        def show(event: events.Event, release: Release) -> None:
            for view in views:
                view(event, release)

        yield show


@contextmanager
def show_lines(out: IO[str], grouped: bool, every: float = 30.0) -> Iterator[Show]:
    """A line per event, and one after each `every` seconds of silence. `grouped`: GitHub folds the lines."""
    printer = Printer(partial(echo_to, out), lambda: datetime.now().astimezone(), every)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(min(1.0, every)):
            printer.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    if grouped:
        echo_to(out, "::group::release")
    try:
        yield printer
    finally:
        over.set()
        thread.join()
        if grouped:
            echo_to(out, "::endgroup::")


@contextmanager
def write_json_lines(path: Path) -> Iterator[Show]:
    """Append each event as `{"t": …, "event": …, "phase": …, its fields}`, flushed at once.

    Raises Refused where the file cannot be opened; a disk that is full later costs the rest of the lines.
    """
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}", remedy="give --events another file") from None

    def write(event: events.Event, release: Release) -> None:
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        row = {"t": now, "event": type(event).__name__, "phase": str(release.phase), **encode(event)}
        try:
            file.write(json.dumps(row) + "\n")
            file.flush()
        except OSError as error:
            echo_line(f"{path} is not complete: {error.strerror}", err=True)
            silence(file)

    with file:
        yield write


@contextmanager
def abort_after(platform: Platform, limit: float | None) -> Iterator[None]:
    """Requested `abort` after so many seconds; None = never."""
    if limit is None:
        yield
        return
    timer = threading.Timer(limit, platform.target.requests.ask, (Requested("abort", f"--timeout of {limit:g} s"),))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def report_lines(platform: Platform, release: Release, *, brief: bool) -> Iterator[str]:
    """Where the reports are; in a GitHub workflow also its annotations, summary and outputs.

    `brief`: somebody waits for the end, so nothing that takes seconds is made. What goes wrong is only a line.
    """
    page = platform.reports.page(release.id)
    if not page.exists():
        return
    yield f"report: {page}"
    try:
        if platform.environment.in_github:
            yield from github_lines(platform, release, page)
        if not brief:
            yield allure_html(platform.reports, release.id, platform.environment.variables)
    except Exception as error:
        yield f"not reported everywhere: {type(error).__name__}: {error}"


def github_lines(platform: Platform, release: Release, page: Path) -> Iterator[str]:
    """Annotations as lines; summary and outputs go into the files that the workflow names."""
    story = read(platform.layout.journal(release.id), page.parent)
    yield from github.notices(story)
    texts = {
        "GITHUB_STEP_SUMMARY": github.step_summary(story),
        "GITHUB_OUTPUT": github.outputs(story, os.path.relpath(page)),
    }
    for name, text in texts.items():
        if path := platform.environment.variables.get(name):
            with Path(path).open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)
