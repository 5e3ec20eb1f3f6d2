"""The event stream of a run of pytest: one JSON line per event, written by its controller, read by whoever judges it.

`k` names the kind of an event, `run` the run that wrote it. Kinds and keys only grow: streams of old releases are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from onlyvips_release.codec import decode, encode, hints


class StreamEvent:
    """One line of the stream."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Start(StreamEvent):
    """pytest runs. `targets`: where they come from; `warnings`, `threads`: whether the plugins that turn silent
    failures red are there."""

    pid: int = 0
    targets: str = ""
    warnings: bool = False
    threads: bool = False


@dataclass(frozen=True, slots=True)
class CollectError(StreamEvent):
    """A module that cannot be imported."""

    node: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Collected(StreamEvent):
    """What is going to run; under xdist each worker sends its own. `levels`: severity -> how many."""

    ids: tuple[str, ...]
    levels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deselected(StreamEvent):
    """Tests that were left out by pytest's own means (-k, -m, --deselect)."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lost(StreamEvent):
    """Tests that were collected and do not run, although nothing deselected them."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotTested(StreamEvent):
    """What is missing -> the checks that were not generated because of it."""

    needs: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class LogStart(StreamEvent):
    """A test begins: so a test that hangs has a name."""

    node: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request of a check and its answer, as texts without secrets."""

    request: str = ""
    response: str = ""


@dataclass(frozen=True, slots=True)
class Detail:
    """A failure in parts: what was expected, what came, the limit, the last requests, where the logs lie."""

    expected: str = ""
    got: str = ""
    limit: str = ""
    exchanges: tuple[Exchange, ...] = ()
    logs: str = ""


@dataclass(frozen=True, slots=True)
class Report(StreamEvent):
    """One phase of one test. `when`: setup, call, teardown or crash; `duration` in seconds; `retries`: connections that
    were made again; `severity` "" = not known."""

    node: str
    when: str
    outcome: str
    title: str = ""
    duration: float = 0.0
    severity: str = ""
    wasxfail: bool = False
    rerun: int = 0
    retries: int = 0
    text: str = ""
    detail: Detail | None = None


@dataclass(frozen=True, slots=True)
class WorkerDown(StreamEvent):
    """One of xdist's workers died."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Abort(StreamEvent):
    """The run stops at a critical failure."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class LeftBehind(StreamEvent):
    """What this run leaves on the platform."""

    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finish(StreamEvent):
    """The last event, with pytest's exit code."""

    exit: int


KINDS: dict[str, type[StreamEvent]] = {
    "start": Start,
    "collect_error": CollectError,
    "collected": Collected,
    "deselected": Deselected,
    "lost": Lost,
    "not_tested": NotTested,
    "logstart": LogStart,
    "report": Report,
    "worker_down": WorkerDown,
    "abort": Abort,
    "left_behind": LeftBehind,
    "finish": Finish,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def encode_line(event: StreamEvent, run: str = "", mask: Callable[[Any], Any] = lambda value: value) -> str:
    """The line of an event; `mask` takes the secrets out of a JSON value."""
    fields = {key: value for key, value in encode(event).items() if value is not None}
    if "detail" in fields:
        fields["detail"]["spoken"] = fields["detail"].pop("exchanges")
    return json.dumps(mask({"k": NAMES[type(event)], "run": run, **fields})) + "\n"


def parse_line(line: bytes | str) -> tuple[str, StreamEvent | None]:
    """The run and the event of a line; None = a kind that this version does not know. Raises ValueError for damage."""
    try:
        fields = json.loads(line)
        kind = KINDS.get(fields["k"])
        if detail := fields.get("detail"):
            detail["exchanges"] = detail.get("spoken", ())
        event = decode(kind, fields) if kind else None
        if kind:
            check(kind, event)
        return str(fields.get("run", "")), event
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no event: {type(error).__name__}: {error}") from error


def check(kind: Any, value: Any) -> None:
    """Raise TypeError where a decoded value is not of its type: anybody can write into a stream."""
    inner = get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        parts = [(hint, getattr(value, name)) for name, hint in hints(kind).items()]
    elif get_origin(kind) is Mapping:
        parts = [(inner[1], one) for one in value.values()]
    elif get_origin(kind) is tuple:
        parts = [(inner[0], one) for one in value]
    elif inner:  # a part, or None
        parts = [] if value is None else [(inner[0], value)]
    elif isinstance(value, (int, float) if kind is float else kind):
        parts = []
    else:
        raise TypeError(f"{value!r} is no {kind}")
    for hint, part in parts:
        check(hint, part)


def read_stream(path: Path) -> Iterator[StreamEvent]:
    """Every event that can be read, of any run; a suite that was killed leaves half a line, or no file."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            _, event = parse_line(line)
        except ValueError:
            continue
        if event:
            yield event
