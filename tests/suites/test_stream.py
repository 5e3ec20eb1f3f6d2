"""The lines of the event stream: written and read by one codec, strict against damage, and those of old releases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onlyvips_release.suites import stream
from onlyvips_release.suites.stream import Detail, Exchange, StreamEvent, encode_line, parse_line, read_stream

OLD = sorted((Path(__file__).parents[1] / "reporting" / "releases").rglob("events.jsonl"))
DETAIL = Detail("HTTP 200", "HTTP 500", "none", (Exchange("GET /", "HTTP 500"),), "log/x")
EVENTS: dict[str, StreamEvent] = {
    "start": stream.Start(7, "context", warnings=True, threads=True),
    "collect_error": stream.CollectError("t.py", "no module x"),
    "collected": stream.Collected(("t.py::a",), {"normal": 1}),
    "deselected": stream.Deselected(("t.py::b",)),
    "lost": stream.Lost(("t.py::c",)),
    "not_tested": stream.NotTested({"a bot": ("test_b",)}),
    "logstart": stream.LogStart("t.py::a"),
    "report": stream.Report("t.py::a", "call", "failed", "A", 0.5, "minor", retries=1, text="no", detail=DETAIL),
    "worker_down": stream.WorkerDown("gw0 died"),
    "abort": stream.Abort("critical check failed"),
    "left_behind": stream.LeftBehind(("an account",)),
    "finish": stream.Finish(1),
}


@pytest.mark.parametrize(("kind", "event"), EVENTS.items(), ids=EVENTS)
def test_event_is_read_as_it_was_written(kind: str, event: StreamEvent) -> None:
    line = encode_line(event, "r1")
    assert json.loads(line)["k"] == kind
    assert line.endswith("\n")
    assert parse_line(line.encode()) == ("r1", event)


def test_every_kind_has_a_sample() -> None:
    assert set(EVENTS) == set(stream.KINDS)


def test_keys_of_a_report_are_those_of_old_streams() -> None:
    written = json.loads(encode_line(EVENTS["report"], "r1"))
    assert written["detail"] == {
        "expected": "HTTP 200",
        "got": "HTTP 500",
        "limit": "none",
        "logs": "log/x",
        "spoken": [{"request": "GET /", "response": "HTTP 500"}],
    }
    assert "detail" not in json.loads(encode_line(stream.Report("t.py::a", "call", "passed")))


@pytest.mark.parametrize("path", OLD, ids=lambda path: "/".join(path.parts[-4:-1]))
def test_stream_of_an_old_release_is_read_whole(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["k"] for line in lines] == [stream.NAMES[type(event)] for event in read_stream(path)]


def test_there_are_old_streams() -> None:
    assert len(OLD) >= 15


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"k": "start", "run": "r", "pid"', id="half a line"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b'{"run": "r"}', id="no kind"),
        pytest.param(b'{"k": [], "run": "r"}', id="a kind that is no name"),
        pytest.param(b'{"k": "finish", "run": "r"}', id="a key too few"),
        pytest.param(b'{"k": "finish", "exit": "1"}', id="text for a number"),
        pytest.param(b'{"k": "finish", "exit": null}', id="null for a number"),
        pytest.param(b'{"k": "collected", "ids": [1]}', id="numbers for names"),
        pytest.param(b'{"k": "collected", "ids": 1}', id="a number for a list"),
        pytest.param(b'{"k": "not_tested", "needs": {"a": [{}]}}', id="objects for names"),
        pytest.param(b'{"k": "report", "node": ["t"], "when": "call", "outcome": "passed"}', id="a list for a name"),
        pytest.param(b'{"k": "report", "node": "t", "when": "call", "outcome": "failed", "detail": 1}', id="no detail"),
        pytest.param(
            b'{"k": "report", "node": "t", "when": "call", "outcome": "failed", "detail": {"spoken": [1]}}',
            id="no exchange",
        ),
    ],
)
def test_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are Python's
        parse_line(line)


def test_kind_of_a_newer_version_is_no_damage() -> None:
    assert parse_line(b'{"k": "heat_death", "run": "r", "at": 1}') == ("r", None)


def test_key_of_a_newer_version_is_left_out() -> None:
    assert parse_line(b'{"k": "finish", "run": "r", "exit": 0, "zone": "eu"}') == ("r", stream.Finish(0))


def test_stream_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(encode_line(EVENTS["start"]) + encode_line(EVENTS["abort"]) + '{"k": "fin')
    assert list(read_stream(path)) == [EVENTS["start"], EVENTS["abort"]]
    assert list(read_stream(tmp_path / "never written")) == []


def test_mask_takes_secrets_out_of_the_line() -> None:
    assert "hidden" in encode_line(EVENTS["abort"], mask=lambda value: {**value, "text": "hidden"})
