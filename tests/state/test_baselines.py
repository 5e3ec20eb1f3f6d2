"""What a release leaves to the next one, and when that is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from onlyvips_release.core.events import Event, Noted, Sampled
from onlyvips_release.core.judge import ServiceHistory
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.state.baselines import Baselines, measured_by
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulation import World

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def measured() -> list[tuple[str, ServiceHistory]]:
    """The baselines of a promoted release."""
    world = World(make_plan(), 100)
    carry_out(world)
    return measured_by(world.journal, NOW.isoformat())


def next_plan() -> ReleasePlan:
    """v2 is stable now, v3 comes."""
    services = [
        replace(s, stable=s.canary, canary=Revision("v3", (*s.canary.command, "3"))) for s in make_plan().services
    ]
    return replace(make_plan(), services=tuple(services))


def test_promoted_release_gives_every_routed_service_a_baseline(measured: list[tuple[str, ServiceHistory]]) -> None:
    assert [name for name, _ in measured] == ["backend-api", "miniapp", "showcu-panel"]
    for _, baseline in measured:
        assert (baseline.release, baseline.revision, baseline.tick) == ("r0001", "v2", 2.0)
        assert baseline.rps == pytest.approx(100, rel=0.1)
        assert baseline.phi0
        assert baseline.seconds == pytest.approx(300, abs=10)


def test_next_release_uses_it_and_names_source_age_and_phi0(
    tmp_path: Path, measured: list[tuple[str, ServiceHistory]]
) -> None:
    folder = Baselines(tmp_path)
    folder.keep(measured)
    used, notes = folder.read(next_plan(), NOW + timedelta(hours=2))
    assert used == dict(measured)
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
    tmp_path: Path, measured: list[tuple[str, ServiceHistory]], change: object, words: str
) -> None:
    folder = Baselines(tmp_path)
    folder.keep(measured)
    change(tmp_path / "miniapp.jsonl")  # type: ignore[operator]
    used, notes = folder.read(next_plan(), NOW)
    assert sorted(used) == ["backend-api", "showcu-panel"]
    assert words in notes[1]


def edit(path: Path, **fields: object) -> None:
    """Change fields of the last record."""
    record = json.loads(path.read_text().splitlines()[-1])
    path.write_text(json.dumps(record | fields) + "\n")


def test_baseline_of_stable_alone_does_not_replace_one_of_equal_arms(
    tmp_path: Path, measured: list[tuple[str, ServiceHistory]]
) -> None:
    folder = Baselines(tmp_path)
    folder.keep(measured)
    folder.keep([(name, replace(baseline, release="r0002", phi0=None)) for name, baseline in measured])
    used, _ = folder.read(next_plan(), NOW)
    assert {baseline.release for baseline in used.values()} == {"r0001"}
    folder.keep([(name, replace(baseline, release="r0003", phi0=None, revision="v9")) for name, baseline in measured])
    assert folder.read(next_plan(), NOW)[0] == {}


def test_file_does_not_grow_for_ever(tmp_path: Path, measured: list[tuple[str, ServiceHistory]]) -> None:
    folder = Baselines(tmp_path)
    for _ in range(30):
        folder.keep(measured[:1])
    assert len((tmp_path / "backend-api.jsonl").read_text().splitlines()) == 20


def test_tick_that_could_not_be_judged_is_not_learned_from() -> None:
    world = World(make_plan(), 100)
    carry_out(world)
    sampled = [n for n, event in enumerate(world.journal) if isinstance(event, Sampled) and not event.trouble]
    troubled = list(world.journal)
    for n in sampled[20:50]:
        troubled[n] = replace(sampled_of(troubled[n]), trouble="the router does not answer")
    all_ticks, most = (dict(measured_by(journal, NOW.isoformat())) for journal in (world.journal, troubled))
    assert most["miniapp"].seconds == pytest.approx(all_ticks["miniapp"].seconds - 30 * 2, abs=2.1)


def sampled_of(event: Event) -> Sampled:
    """The event as what it is."""
    assert isinstance(event, Sampled)
    return event


def test_rolled_back_release_gives_a_baseline_of_stable_until_the_shift_back() -> None:
    world = World(make_plan(), 100, lambda s, r, at: 0.05 if r == "v2" and at > 120 else 0.001)
    carry_out(world)
    found = dict(measured_by(world.journal, NOW.isoformat()))
    assert found
    assert all(baseline.phi0 is None and baseline.revision == "v1" for baseline in found.values())
    assert not any(isinstance(event, Noted) and "history" in event.what for event in world.journal)
