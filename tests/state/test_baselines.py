"""What a release leaves to the next one, and when that is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from onlyvips_release.core.events import Noted
from onlyvips_release.core.judge import ServiceHistory
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.state.baselines import HistoryFolder, lessons
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulation import World

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def taught() -> list[tuple[str, ServiceHistory]]:
    """The lessons of a promoted release."""
    world = World(make_plan(), 100)
    carry_out(world)
    return lessons(world.journal, NOW.isoformat())


def next_plan() -> ReleasePlan:
    """v2 is stable now, v3 comes."""
    services = [
        replace(s, stable=s.canary, canary=Revision("v3", (*s.canary.command, "3"))) for s in make_plan().services
    ]
    return replace(make_plan(), services=tuple(services))


def test_promoted_release_teaches_every_routed_service(taught: list[tuple[str, ServiceHistory]]) -> None:
    assert [name for name, _ in taught] == ["backend-api", "miniapp", "showcu-panel"]
    for _, lesson in taught:
        assert (lesson.release, lesson.revision, lesson.tick) == ("r0001", "v2", 2.0)
        assert lesson.rps == pytest.approx(100, rel=0.1)
        assert lesson.phi0
        assert lesson.seconds == pytest.approx(300, abs=10)


def test_next_release_uses_it_and_names_source_age_and_phi0(
    tmp_path: Path, taught: list[tuple[str, ServiceHistory]]
) -> None:
    folder = HistoryFolder(tmp_path)
    folder.keep(taught)
    used, notes = folder.read(next_plan(), NOW + timedelta(hours=2))
    assert used == dict(taught)
    assert notes[0].startswith("backend-api: history of r0001: 2.0 h old, ")
    assert "phi0 1/" in notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda p: p.write_text("no json\n"), "holds no record", id="foreign file"),
        pytest.param(lambda p: p.write_text('{"v": 1}\n'), "holds no record", id="foreign record"),
        pytest.param(lambda p: p.write_text(""), "holds no record", id="empty"),
        pytest.param(lambda p: p.unlink(), "no history yet", id="first release"),
        pytest.param(lambda p: edit(p, at="2026-11-01T00:00:00+00:00"), "23 days old", id="stale"),
        pytest.param(lambda p: edit(p, at="2026-12-24T00:00:00+00:00"), "days old", id="from the future"),
        pytest.param(lambda p: edit(p, revision="v7"), "it is of v7, users are on v2", id="foreign revision"),
        pytest.param(lambda p: edit(p, tick=5.0), "its ticks are 5 s, the plan's 2 s", id="other ticks"),
    ],
)
def test_history_that_cannot_be_trusted_is_refused_with_a_reason(
    tmp_path: Path, taught: list[tuple[str, ServiceHistory]], change: object, words: str
) -> None:
    folder = HistoryFolder(tmp_path)
    folder.keep(taught)
    change(tmp_path / "miniapp.jsonl")  # type: ignore[operator]
    used, notes = folder.read(next_plan(), NOW)
    assert sorted(used) == ["backend-api", "showcu-panel"]
    assert words in notes[1]


def edit(path: Path, **fields: object) -> None:
    """Change fields of the last record."""
    record = json.loads(path.read_text().splitlines()[-1])
    path.write_text(json.dumps(record | fields) + "\n")


def test_stable_alone_does_not_push_out_what_equal_arms_taught(
    tmp_path: Path, taught: list[tuple[str, ServiceHistory]]
) -> None:
    folder = HistoryFolder(tmp_path)
    folder.keep(taught)
    folder.keep([(name, replace(lesson, release="r0002", phi0=None)) for name, lesson in taught])
    used, _ = folder.read(next_plan(), NOW)
    assert {lesson.release for lesson in used.values()} == {"r0001"}
    folder.keep([(name, replace(lesson, release="r0003", phi0=None, revision="v9")) for name, lesson in taught])
    assert folder.read(next_plan(), NOW)[0] == {}


def test_file_does_not_grow_for_ever(tmp_path: Path, taught: list[tuple[str, ServiceHistory]]) -> None:
    folder = HistoryFolder(tmp_path)
    for _ in range(30):
        folder.keep(taught[:1])
    assert len((tmp_path / "backend-api.jsonl").read_text().splitlines()) == 20


def test_rolled_back_release_teaches_of_stable_until_the_shift_back() -> None:
    world = World(make_plan(), 100, lambda s, r, at: 0.05 if r == "v2" and at > 120 else 0.001)
    carry_out(world)
    found = dict(lessons(world.journal, NOW.isoformat()))
    assert found
    assert all(lesson.phi0 is None and lesson.revision == "v1" for lesson in found.values())
    assert not any(isinstance(event, Noted) and "history" in event.what for event in world.journal)
