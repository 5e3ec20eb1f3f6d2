"""Each path of a platform is named once, and releases are listed by number."""

from __future__ import annotations

from pathlib import Path

from onlyvips_release.state.files import make_folder
from onlyvips_release.state.layout import Layout, Reports, platforms

LAYOUT = Layout(Path("/s"), "shop")


def test_no_two_paths_of_a_platform_are_the_same_and_all_are_below_its_folder() -> None:
    found = [value for name, value in vars(LAYOUT).items() if name not in ("state", "platform", "folder")]
    found += [LAYOUT.by_hand(0), LAYOUT.by_hand(100), LAYOUT.processes("a"), LAYOUT.external("a")]
    found += [LAYOUT.service_log("a", "b"), LAYOUT.journal("r0001"), LAYOUT.token("r0001")]
    assert len(set(found)) == len(found)
    assert all(path.is_relative_to("/s/shop") for path in found)


def test_platform_is_found_again_from_its_folder() -> None:
    assert Layout.at(LAYOUT.folder) == LAYOUT


def test_releases_are_listed_by_number_and_other_folders_are_none(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "shop")
    for name in ("r0010", "r9", "r10000", "rollback", "r12x"):
        make_folder(layout.release(name))
        layout.journal(name).write_text("")
    make_folder(layout.release("r0001"))
    assert layout.releases() == ["r9", "r0010", "r10000"]


def test_platforms_are_the_folders_with_live_files(tmp_path: Path) -> None:
    assert platforms(tmp_path / "missing") == []
    for name in ("b", "a"):
        make_folder(Layout(tmp_path, name).live)
    (tmp_path / "other").mkdir()
    assert [layout.platform for layout in platforms(tmp_path)] == ["a", "b"]


def test_report_of_a_release_lies_below_its_platform() -> None:
    reports = Reports(Path("/r"), "shop")
    assert str(reports.page("r0007")) == "/r/shop/r0007/report.html"
    assert (str(reports.index), str(reports.history)) == ("/r/index.html", "/r/history.jsonl")
