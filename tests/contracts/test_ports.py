"""What every workload, journal and lease must do (ports.py), over the simulation and over the real adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.ports import Journal
from onlyvips_release.state.journal import FileJournal
from tests.contracts.kinds import WORKLOADS, WorkloadKind
from tests.testing.plans import make_plan
from tests.testing.simulation import World


@pytest.fixture(params=WORKLOADS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkloadKind]:
    """A workload with its first revision stable."""
    with WORKLOADS[request.param](tmp_path) as made:
        yield made


def test_starting_a_canary_leaves_stable_alone_and_may_be_repeated(kind: WorkloadKind) -> None:
    first = kind.start(kind.new)
    assert kind.start(kind.new) == first
    assert [i.revision for i in first] == [kind.new.name]
    assert all(i.serves and i.endpoint for i in first)
    assert kind.stable() == [kind.old.name]


def test_promotion_makes_it_stable_and_may_be_repeated(kind: WorkloadKind) -> None:
    kind.start(kind.new)
    first = kind.promote(kind.new)
    assert kind.promote(kind.new) == first
    assert kind.stable() == [kind.new.name]


def test_way_back_is_the_same_way(kind: WorkloadKind) -> None:
    kind.start(kind.new)
    kind.promote(kind.new)
    kind.workload.remove_canary({kind.service: kind.old.name})
    kind.start(kind.old)
    kind.promote(kind.old)
    kind.workload.remove_canary({})
    assert kind.stable() == [kind.old.name]


def test_old_revision_is_promoted_again_while_the_new_one_serves_from_the_canary_track(kind: WorkloadKind) -> None:
    kind.start(kind.new)
    kind.promote(kind.new)
    kind.promote(kind.old)
    assert kind.stable() == [kind.old.name]


def test_removing_the_canary_keeps_stable_and_may_be_repeated(kind: WorkloadKind) -> None:
    kind.start(kind.new)
    kind.workload.remove_canary({})
    kind.workload.remove_canary({})
    assert kind.stable() == [kind.old.name]


def test_what_was_stopped_is_remembered_and_started_again_by_its_promotion(kind: WorkloadKind) -> None:
    kind.workload.stop_all()
    assert kind.stable() == []
    assert {name: one.name for name, one in kind.workload.stable().items() if name == kind.service} == {
        kind.service: kind.old.name
    }
    assert kind.workload.revive() == ()
    kind.promote(kind.old)
    assert kind.stable() == [kind.old.name]


def test_what_was_removed_is_forgotten(kind: WorkloadKind) -> None:
    kind.start(kind.new)
    kind.workload.remove([kind.service])
    kind.workload.remove([kind.service])
    assert kind.service not in kind.workload.stable()
    assert kind.stable() == []


def test_nothing_to_revive_while_stable_lives(kind: WorkloadKind) -> None:
    assert kind.workload.revive() == ()


@pytest.fixture(params=["simulation", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Journal]:
    """Opens the same journal again and again."""
    if request.param == "file":
        return lambda: FileJournal(tmp_path / "journal.jsonl", SystemClock(), 1)
    ports = World(make_plan()).ports()
    return lambda: ports.journal


def test_journal_gives_back_what_was_appended_in_order(journal: Callable[[], Journal]) -> None:
    told: list[events.Event] = [
        events.Noted("one"),
        events.Shifted(10, "2026-01-01T00:00:00Z", 3.5),
        events.Committed(100),
    ]
    for event in told:
        journal().append(event)
    assert list(journal().read()) == told
