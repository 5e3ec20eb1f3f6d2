"""Files are written whole or not at all, for their owner alone, and folders that others may write are refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.events import Noted, Requested
from onlyvips_release.errors import Refused
from onlyvips_release.state.files import StagedFiles, make_folder, open_log, write_whole
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.state.requests import RequestFile, freeze


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """This process's umask."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_everything_below_the_state_folder_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "deep" / "state", "shop")
    lease = FileLease(layout.live, SystemClock())
    fence = lease.acquire("run")
    lease.write("router/rds.json", b"1")
    lease.write("by-hand/weight-0.json", b"1")
    FileJournal(layout.journal("r0001"), SystemClock(), fence).append(Noted("x"))
    RequestFile(layout.request).ask(Requested("pause", "me"))
    freeze(layout, "why")
    os.close(open_log(layout.guardian_log))
    found = list((tmp_path / "deep").rglob("*"))
    assert len(found) > 12
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "deep", *found)}
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    lease.release()


def test_file_for_all_readers_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    write_whole(tmp_path / "report.html", b"x", private=False)
    os.umask(before)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["fchmod", "fsync", "rename"])
def test_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "kept.json"
    write_whole(path, b"old")
    monkeypatch.setattr(Path if failing == "rename" else os, failing, refuse)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.json"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777], ids=oct)
@pytest.mark.parametrize("place", ["state", "folder", "live", "router", "log", "release"])
def test_folder_that_others_may_write_is_refused_with_the_command_that_helps(
    tmp_path: Path, place: str, mode: int
) -> None:
    layout = Layout(tmp_path / "state", "shop")
    places = [layout.live, layout.router, layout.log, layout.release("r0001")]
    for folder in places:
        make_folder(folder)
    chosen = layout.release("r0001") if place == "release" else getattr(layout, place)
    chosen.chmod(mode)
    with pytest.raises(Refused, match="may be written by others") as caught:
        FileLease(layout.live, SystemClock()).acquire("run")
    assert caught.value.remedy.endswith(f"chmod go-w {chosen}")
    assert not list(layout.live.glob("stage-*"))


def test_guardian_acts_in_a_folder_that_others_may_write(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "shop")
    make_folder(layout.live)
    layout.live.chmod(0o777)
    lease = FileLease(layout.live, SystemClock())
    assert lease.acquire("guardian") == 1
    lease.release()


def test_live_file_is_written_in_a_folder_that_others_may_write(tmp_path: Path) -> None:
    """The safe weight is written first, and the folder is refused when the next command begins."""
    stage = tmp_path / "stage-1"
    make_folder(stage)
    make_folder(tmp_path / "router")
    (tmp_path / "router").chmod(0o777)
    StagedFiles(tmp_path, stage).write("router/rds.json", b"1")
    assert (tmp_path / "router" / "rds.json").read_bytes() == b"1"
