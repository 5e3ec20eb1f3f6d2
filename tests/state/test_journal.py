"""The record of a release: what is written is read back, a torn end is no record, foreign lines are named."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from onlyvips_release import overview
from onlyvips_release.clock import SystemClock
from onlyvips_release.codec import encode
from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import fold
from onlyvips_release.core.model import Arm, Series
from onlyvips_release.environment import Environment
from onlyvips_release.errors import JournalError
from onlyvips_release.state import journal as journal_module
from onlyvips_release.state.files import make_folder
from onlyvips_release.state.journal import FileJournal, read_release, read_started
from onlyvips_release.state.layout import Layout
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulation import World

SAMPLE = Path(__file__).parents[1] / "samples" / "journals" / "first.jsonl"


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
        pytest.param('{"v":1,"seq":1,"fence":1,"t":"x","event":"Noted"}\n', "its fields are none of Noted", id="field"),
        pytest.param('{"v":1,"seq":1,"fence":"1","t":"x","event":"Noted"}\n', ":1: is no record", id="fence"),
        pytest.param("[]\n", ":1: is no record", id="list"),
    ],
)
def test_what_is_no_journal_is_refused_by_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(line)
    with pytest.raises(JournalError, match=told):
        list(FileJournal(path).read())


DAMAGED = [
    pytest.param(b"not json", "is no record of a release", id="foreign"),
    pytest.param(b"\x00" * 80, "is no record of a release", id="zeros"),
    pytest.param(b'{"v":9,"seq":3,"fence":3,"t":"x","event":"Noted"}', "another version", id="version"),
    pytest.param(b'{"v":2,"seq":3,"fence":3,"t":"x","event":"Nope"}', "unknown event", id="event"),
    pytest.param(b'{"v":2,"seq":3,"fence":3,"t":"x","event":"Shifted","weight":{}}', "its fields", id="fields"),
    pytest.param(b'{"v":2,"seq":3,"fence":3,"t":"x","event":"Watched","verdict":"PASS"}', "its fields", id="missing"),
    pytest.param(b'{"v":2,"seq":3,"fence":3,"t":"x","event":"SuiteRan","result":7}', "its fields", id="no object"),
    pytest.param(b'{"v":2,"seq":3,"fence":3,"t":"x","event":"Promoted","at":"x"}', "cannot follow", id="order"),
]


@pytest.mark.parametrize(("line", "problem"), DAMAGED)
@pytest.mark.parametrize("place", [3, 12, 24], ids=str)
def test_damaged_line_is_named_and_left_out_by_a_tolerant_reader(
    tmp_path: Path, line: bytes, problem: str, place: int
) -> None:
    path, whole = tmp_path / "journal.jsonl", SAMPLE.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*whole[: place - 1], line, *whole[place - 1 :]]))
    reading = read_release(path)
    assert [one.line for one in reading.damage] == [place]
    assert problem in reading.damage[0].problem
    assert str(reading.damage[0]).startswith(f"line {place} of the journal is left out: ")
    assert encode(reading.release.finished) == encode(fold(FileJournal(SAMPLE).read()).finished)
    assert not reading.unfinished


@pytest.mark.parametrize("nonsense", [7, [[1]], {"x": {}}], ids=repr)
def test_no_field_of_any_event_stops_a_tolerant_reader(tmp_path: Path, nonsense: object) -> None:
    path, whole = tmp_path / "journal.jsonl", [json.loads(line) for line in SAMPLE.read_bytes().splitlines()]
    seen = set()
    for number, record in enumerate(whole):
        for name in record:
            if (record["event"], name) in seen or record["event"] == "Sampled":
                continue
            seen.add((record["event"], name))
            changed = [*whole[:number], {**record, name: nonsense}, *whole[number + 1 :]]
            path.write_text("".join(json.dumps(one) + "\n" for one in changed))
            read_release(path, samples=False)
    assert len(seen) > 50


def test_journal_with_a_damaged_line_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"\n".join([*SAMPLE.read_bytes().split(b"\n")[:9], b"garbage", b""]))
    journal = FileJournal(path, SystemClock(), 9)
    journal.append(events.Noted("went on"))
    assert json.loads(path.read_bytes().splitlines()[-1])["seq"] == 10
    reading = read_release(path)
    assert (len(reading.damage), reading.unfinished, reading.release.noted[-1]) == (1, True, "went on")
    with pytest.raises(JournalError, match=r"journal.jsonl:10: is no record"):
        list(journal.read())


def test_journal_of_damage_alone_may_be_a_release_that_has_no_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("garbage\n")
    assert read_release(path, samples=False).unfinished
    assert read_started(path) is None


def test_record_has_version_2_and_the_next_number_also_after_another_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first, second = (FileJournal(path, SystemClock(), fence) for fence in (1, 2))
    first.append(events.Noted("one"))
    second.append(events.Noted("two"))
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["v"], record["seq"], record["fence"]) for record in found] == [(2, 1, 1), (2, 2, 2)]


def test_status_and_recover_read_the_newest_journal_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, count = Layout(tmp_path, "e2e"), Counter[str]()
    make_folder(layout.live)
    for name in ("r0001", "r0002"):
        make_folder(layout.release(name))
        layout.journal(name).write_bytes(SAMPLE.read_bytes())
    honest = journal_module.lines

    def counted(path: Path) -> list[bytes]:
        count[path.parent.name] += 1
        return honest(path)

    monkeypatch.setattr(journal_module, "lines", counted)
    assert overview.overview(Environment(tmp_path, tmp_path, {}))[0]["phase"] == "PROMOTED"
    assert count == {"r0002": 1}
    assert overview.idle(layout, Environment(tmp_path, tmp_path, {}))
    assert count == {"r0002": 2}
    FileJournal(layout.journal("r0001"))
    assert count == {"r0002": 2}


def test_status_names_the_damage_of_a_journal_and_what_could_be_read(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "e2e")
    make_folder(layout.live)
    make_folder(layout.release("r0001"))
    layout.journal("r0001").write_bytes(SAMPLE.read_bytes() + b"garbage\n")
    (row,) = overview.overview(Environment(tmp_path, tmp_path, {}))
    assert (row["release"], row["phase"]) == ("r0001", "PROMOTED")
    assert "is no record of a release; 1 of its lines are left out" in overview.text(row)


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


def test_journal_of_the_first_version_is_still_read() -> None:
    """Committed as 0.1.0 wrote it: fields that came later take their defaults, and its end is the same."""
    release = fold(FileJournal(SAMPLE).read())
    assert release.finished is not None
    assert (release.phase, release.finished.exit, release.over) == (events.Phase.PROMOTED, 0, True)
    assert release.serving == dict.fromkeys(release.new, "v2")
    assert any(isinstance(e, events.Paused) and not e.approval for e in FileJournal(SAMPLE).read())


IMPLIED = (events.SmokePassed, events.StepPassed, events.BakePassed)
"""Events that version 1, of which the sample is, left out of its journals."""


@pytest.mark.slow
def test_power_cut_at_any_byte_leaves_a_journal_that_can_be_gone_on_with(tmp_path: Path) -> None:
    """Written but not fsynced: any part of the end may be missing. What is left is whole events, oldest first."""
    data, path = SAMPLE.read_bytes(), tmp_path / "journal.jsonl"
    whole = list(FileJournal(SAMPLE).read())
    for size in range(0, len(data), 389):
        path.write_bytes(data[:size])
        found = list(FileJournal(path).read())
        assert found == whole[: len(found)]
        assert len([event for event in found if not isinstance(event, IMPLIED)]) == data[:size].count(b"\n")
        assert read_release(path, samples=False).unfinished == (0 < len(found) < len(whole))
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
    assert not read_release(path, samples=False).unfinished
