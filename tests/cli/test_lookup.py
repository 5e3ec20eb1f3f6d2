"""Which platform a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from onlyvips_release.cli.lookup import find_layout, find_layouts, open_platform, released_platform
from onlyvips_release.errors import Refused
from onlyvips_release.state.layout import Layout
from tests.testing.commands import plan_file
from tests.testing.kept_releases import installed


def test_platform_is_found_by_its_plan_file_and_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONLYVIPS_STATE", str(tmp_path / "state"))
    assert find_layout(str(plan_file(tmp_path))) == find_layout("shop") == Layout(tmp_path / "state", "shop")


def test_without_a_target_all_installed_platforms_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONLYVIPS_STATE", str(tmp_path))
    for name in ("b/live", "a/live", "not-installed"):
        (tmp_path / name).mkdir(parents=True)
    assert find_layouts(None) == [Layout(tmp_path, "a"), Layout(tmp_path, "b")]
    assert find_layouts("b") == [Layout(tmp_path, "b")]


def test_platform_opened_from_its_journal_has_the_plan_of_its_newest_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLYVIPS_STATE", str(installed(tmp_path, "promoted")))
    monkeypatch.setattr("onlyvips_release.clock.SystemClock.listen", lambda _: None)
    assert released_platform("e2e").plan.platform == "e2e"
    assert open_platform(Layout(tmp_path / "state", "other")) is None
    with pytest.raises(Refused, match="no release ever began"):
        released_platform("other")
