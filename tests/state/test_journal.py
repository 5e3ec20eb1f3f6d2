"""The record of a release: what is written is read back, a torn end is no record, foreign lines are named."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import fold
from onlyvips_release.core.model import Arm, Series
from onlyvips_release.errors import JournalError
from onlyvips_release.state.journal import FileJournal, unfinished
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulation import World


def test_every_event_of_a_whole_release_is_read_back_equal(tmp_path: Path) -> None:
    world = World(make_plan(), rps=50, error_rate=lambda s, r, at: 0.02)
    carry_out(world)
    journal = FileJournal(tmp_path / "journal.jsonl", SystemClock(), 1)
    for event in world.journal:
        journal.append(event)
    assert list(journal.read()) == world.journal
    quick = fold(journal.read(samples=False))
    assert quick.finished == fold(world.journal).finished


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


SAMPLE = Path(__file__).parents[1] / "samples" / "journals" / "first.jsonl"


def test_journal_of_the_first_version_is_still_read() -> None:
    """Committed as 0.1.0 wrote it: fields that came later take their defaults, and its end is the same."""
    release = fold(FileJournal(SAMPLE).read())
    assert release.finished is not None
    assert (release.phase, release.finished.exit, release.over) == (events.Phase.PROMOTED, 0, True)
    assert release.serving == dict.fromkeys(release.new, "v2")
    assert any(isinstance(e, events.Paused) and not e.approval for e in FileJournal(SAMPLE).read())


@pytest.mark.slow
def test_power_cut_at_any_byte_leaves_a_journal_that_can_be_gone_on_with(tmp_path: Path) -> None:
    """Written but not fsynced: any part of the end may be missing. What is left is whole events, oldest first."""
    data, path = SAMPLE.read_bytes(), tmp_path / "journal.jsonl"
    whole = list(FileJournal(SAMPLE).read())
    for size in range(0, len(data), 389):
        path.write_bytes(data[:size])
        found = list(FileJournal(path).read())
        assert found == whole[: len(found)]
        assert len(found) == data[:size].count(b"\n")
        assert unfinished(path) == (0 < len(found) < len(whole))
        FileJournal(path, SystemClock(), 9).append(events.Noted("went on"))
        assert list(FileJournal(path).read()) == [*found, events.Noted("went on")]


def test_disk_that_fills_up_in_the_middle_of_a_line_leaves_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, honest = tmp_path / "journal.jsonl", os.write
    journal = FileJournal(path, SystemClock(), 1)
    journal.append(events.Noted("one"))
    monkeypatch.setattr(os, "write", lambda descriptor, data: honest(descriptor, data[: len(data) // 2]))
    with pytest.raises(JournalError, match="No space left"):
        journal.append(events.Noted("two"))
    monkeypatch.undo()
    journal.append(events.Noted("three"))
    assert list(FileJournal(path).read()) == [events.Noted("one"), events.Noted("three")]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT], ids=os.strerror)
def test_journal_that_cannot_be_written_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    journal = FileJournal(tmp_path / "journal.jsonl", SystemClock(), 1)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(JournalError, match=os.strerror(number)):
        journal.append(events.Noted("x"))


def test_journal_deleted_while_it_is_written_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = FileJournal(path, SystemClock(), 1)
    journal.append(events.Noted("one"))
    path.unlink()
    with pytest.raises(JournalError, match="cannot write"):
        journal.append(events.Noted("two"))
    assert not path.exists()


def test_two_writers_at_once_leave_whole_lines_of_the_higher_fence(tmp_path: Path) -> None:
    """The guardian took over while a stopped controller wakes: lines are whole, the old holder's count no more."""
    path = tmp_path / "journal.jsonl"
    old, new = FileJournal(path, SystemClock(), 1), FileJournal(path, SystemClock(), 2)
    old.append(events.Noted("before"))

    def write(journal: FileJournal, name: str) -> None:
        for number in range(50):
            journal.append(events.Noted(f"{name} {number}"))

    new.append(events.GuardianActed(0, "2026-01-01T00:00:00Z", True))
    threads = [threading.Thread(target=write, args=pair) for pair in ((old, "old"), (new, "new"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [event.what for event in FileJournal(path).read() if isinstance(event, events.Noted)]
    assert told == ["before", *(f"new {number}" for number in range(50))]


def test_guardian_that_acts_after_the_end_changes_nothing(tmp_path: Path) -> None:
    """The controller was killed between its last record and giving the claim back."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(SAMPLE.read_bytes())
    FileJournal(path, SystemClock(), 9).append(events.GuardianActed(0, "2026-01-01T00:00:00Z", True))
    assert not unfinished(path)
