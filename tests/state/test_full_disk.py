"""A disk that fills up in the middle of a line or a file: what was there stays, whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.errors import JournalError
from onlyvips_release.state.files import write_whole
from onlyvips_release.state.journal import FileJournal


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    """With one record."""
    found = FileJournal(tmp_path / "r0001" / "journal.jsonl", SystemClock(), 1)
    found.append(events.Noted("before"))
    return found


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_record_that_does_not_fit_leaves_no_part_of_a_line(
    journal: FileJournal, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    before, write = journal.path.read_bytes(), os.write

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[: len(data) // 2])

    def refuse(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, fails, half if fails == "write" else refuse)
        with pytest.raises(JournalError, match="cannot write"):
            journal.append(events.Noted("too long for this disk"))
    assert journal.path.read_bytes() == before
    journal.append(events.Noted("after"))
    assert list(journal.read()) == [events.Noted("before"), events.Noted("after")]


def test_half_a_line_of_a_crash_does_not_swallow_the_next_record(journal: FileJournal) -> None:
    with journal.path.open("ab") as file:
        file.write(b'{"v":2,"seq":2,"fen')
    journal.append(events.Noted("after"))
    assert list(journal.read()) == [events.Noted("before"), events.Noted("after")]


@pytest.mark.parametrize("fails", ["fsync", "rename"])
def test_file_that_cannot_be_replaced_stays_as_it_was_and_nothing_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "file.json"
    write_whole(path, b"before")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if fails == "fsync" else Path, fails, refuse)
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["file.json"]
    assert path.stat().st_mode & 0o777 == 0o600
