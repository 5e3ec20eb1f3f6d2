"""The record of a release: what is written is read back, a torn end is no record, foreign lines are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from onlyvips_release import events
from onlyvips_release.clock import SystemClock
from onlyvips_release.errors import JournalError
from onlyvips_release.journal import FileJournal
from onlyvips_release.lifecycle import replay
from onlyvips_release.model import Arm, Series
from onlyvips_release.simulation import World
from tests.plans import make_plan
from tests.test_runner import carry_out


def test_every_event_of_a_whole_release_is_read_back_equal(tmp_path: Path) -> None:
    world = World(make_plan(), rps=50, error_rate=lambda s, r, at: 0.02)
    carry_out(world)
    journal = FileJournal(tmp_path / "journal.jsonl", SystemClock(), 1)
    for event in world.journal:
        journal.append(event)
    assert list(journal.read()) == world.journal
    quick = replay(journal.read(samples=False))
    assert quick.finished == replay(world.journal).finished


def test_torn_last_line_is_no_record_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    FileJournal(path, SystemClock(), 1).append(events.Noted("one"))
    with path.open("ab") as file:
        file.write(b'{"v":1,"seq":2,"fence":1,"t":"x","event":"Not')
    again = FileJournal(path, SystemClock(), 1)
    assert list(again.read()) == [events.Noted("one")]
    again.append(events.Noted("two"))
    assert list(again.read()) == [events.Noted("one"), events.Noted("two")]


def test_record_of_a_controller_that_lost_its_claim_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    FileJournal(path, SystemClock(), 2).append(events.Noted("new holder"))
    FileJournal(path, SystemClock(), 1).append(events.Noted("zombie"))
    assert list(FileJournal(path).read()) == [events.Noted("new holder")]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param("not json\n", ":1: is no record", id="foreign"),
        pytest.param('{"v":9,"seq":1,"fence":1,"t":"x","event":"Noted","what":"x"}\n', "another version", id="version"),
        pytest.param('{"v":1,"seq":1,"fence":1,"t":"x","event":"Nope"}\n', "unknown event", id="event"),
    ],
)
def test_what_is_no_journal_is_refused_by_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(line)
    with pytest.raises(JournalError, match=told):
        list(FileJournal(path).read())


def test_writing_where_it_cannot_be_written_is_a_journal_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot write"):
        FileJournal(tmp_path / "file" / "journal.jsonl", SystemClock(), 1).append(events.Noted("x"))


def test_everything_that_a_series_holds_is_read_back(tmp_path: Path) -> None:
    full = Series("127.0.0.1:1", "7@1.5", 10, 2, ((1, 5), (159, 7)), 3, 1.25, 4096)
    silent = Series("127.0.0.1:3", "7@1.5", 0, 0, (), 0, 0.0, 0)
    blind = Series("127.0.0.1:2", "7@1.5", 10, 2)
    sampled = events.Sampled(1, {"api": {Arm.STABLE: (full, silent), Arm.CANARY: (blind,)}})
    path = tmp_path / "journal.jsonl"
    FileJournal(path, SystemClock(), 1).append(sampled)
    assert list(FileJournal(path).read()) == [sampled]
