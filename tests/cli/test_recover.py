"""`recover`: nothing to do costs nothing; several platforms are all recovered, and the worst end counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onlyvips_release.cli import recover, release
from onlyvips_release.cli.app import main
from onlyvips_release.errors import Interrupted, LeaseHeld, ReleaseError
from onlyvips_release.state.layout import Layout
from tests.testing.commands import imported

End = int | None | ReleaseError


def recovered(monkeypatch: pytest.MonkeyPatch, folder: Path, *ends: End) -> tuple[Result, list[str]]:
    """What `recover` does with a platform for each of these ends; which it came to."""
    left, visited = list(ends), []

    def end_unfinished(layout: Layout, *_: object) -> int | None:
        visited.append(layout.platform)
        end = left.pop(0)
        if isinstance(end, ReleaseError):
            raise end
        return end

    for n in range(len(ends)):
        (folder / f"p{n}" / "live").mkdir(parents=True)
    monkeypatch.setattr(recover, "idle", lambda *_: False)
    monkeypatch.setattr(release, "end_unfinished", end_unfinished)
    return CliRunner().invoke(main, ["recover"], env={"ONLYVIPS_STATE": str(folder)}), visited


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ((None,), 0),
        ((None, 3), 3),
        ((3, 0), 3),
        ((4, 3), 4),
        ((LeaseHeld("held"), 3), 3),
        ((LeaseHeld("held"), 0), 7),
        ((ReleaseError("broken"), 3, 0), 1),
    ],
    ids=str,
)
def test_every_platform_is_recovered_and_the_worst_end_is_the_exit_code(
    ends: tuple[End, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, visited = recovered(monkeypatch, tmp_path, *ends)
    assert done.exit_code == code, done.output
    assert visited == [f"p{n}" for n in range(len(ends))]


def test_interrupted_recover_goes_to_no_further_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, visited = recovered(monkeypatch, tmp_path, Interrupted(15), 0)
    assert (done.exit_code, visited) == (143, ["p0"])


def test_recover_where_nothing_was_ever_installed_says_so_and_imports_no_platform(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "e2e" / "live").mkdir(parents=True)
    done = CliRunner().invoke(main, ["recover"], env={"ONLYVIPS_STATE": str(state)})
    assert (done.exit_code, done.stdout) == (0, "nothing is unfinished\n")
    as_json = CliRunner().invoke(main, ["recover", "--json"], env={"ONLYVIPS_STATE": str(state)})
    assert (as_json.stdout, as_json.stderr) == ("", "nothing is unfinished\n")
    assert "onlyvips_release.platform" not in imported("recover", state=state)
