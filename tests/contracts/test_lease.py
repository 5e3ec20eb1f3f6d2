"""What every lease must do (ports.Lease), over the simulation and over files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.ports import Lease
from onlyvips_release.errors import LeaseHeld, LeaseLost
from onlyvips_release.state.lease import FileLease, read_lease
from tests.testing.plans import make_plan
from tests.testing.simulated_ports import SimLease
from tests.testing.simulation import World

MINUTE = timedelta(minutes=1)


@dataclass
class Kind:
    """One kind of lease: `one()` makes a holder, `die` ends the process of who holds it, `wait` passes seconds.

    `seconds`: after so much silence it is free.
    """

    one: Callable[[], Lease]
    die: Callable[[], None]
    wait: Callable[[float], None]
    seconds: float


@pytest.fixture(params=["simulation", pytest.param("file", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    """Both are given back at the end."""
    made: list[Lease] = []
    if request.param == "simulation":
        world = World(make_plan())
        yield Kind(
            lambda: SimLease(world), lambda: setattr(world, "holder_alive", False), world.pass_time, SimLease.SECONDS
        )
        return
    clock, live = SystemClock(), tmp_path / "live"

    def one() -> Lease:
        made.append(FileLease(live, clock, timedelta(seconds=0.9)))
        return made[-1]

    def die() -> None:
        record = read_lease(live)
        (live / "lease.json").write_text(json.dumps({**record, "started": record["started"] - 1}))

    yield Kind(one, die, clock.sleep, 0.9)
    for lease in made:
        lease.release()


def watched(lease: Lease, kind: Kind, seconds: float) -> None:
    """Look at it as often as the contract asks for."""
    for _ in range(round(seconds / (kind.seconds / 9))):
        lease.look()
        kind.wait(kind.seconds / 9)


def test_nobody_ever_held_it_and_then_somebody_does(kind: Kind) -> None:
    assert kind.one().look() is None
    lease = kind.one()
    assert lease.acquire("run") >= 1
    claim = kind.one().look()
    assert claim is not None
    assert (claim.what, claim.released, claim.expired) == ("run", False, False)


def test_release_gives_it_to_the_next_at_once_under_a_higher_number_and_may_be_repeated(kind: Kind) -> None:
    first, second = kind.one(), kind.one()
    fence = first.acquire("run")
    first.release()
    first.release()
    claim = second.look()
    assert claim is not None
    assert claim.released
    assert second.acquire("run") > fence


def test_renewed_claim_is_refused_to_others_and_never_expires(kind: Kind) -> None:
    holder, other = kind.one(), kind.one()
    holder.acquire("run")
    holder.renew(MINUTE, 0)
    watched(other, kind, 2.5 * kind.seconds)
    claim = other.look()
    assert claim is not None
    assert (claim.expired, claim.renewed) == (False, True)
    with pytest.raises(LeaseHeld):
        other.acquire("recover")
    holder.renew(MINUTE, 0)


def test_hung_holder_whose_heartbeat_lives_loses_it_after_its_deadline(kind: Kind) -> None:
    """The main loop said nothing after its deadline: only the heartbeat's thread goes on."""
    holder, other = kind.one(), kind.one()
    fence = holder.acquire("run")
    holder.renew(timedelta(seconds=kind.seconds), 0)
    watched(other, kind, 0.8 * kind.seconds)
    claim = other.look()
    assert claim is not None
    assert not claim.expired
    watched(other, kind, 2.6 * kind.seconds)
    assert other.acquire("guardian") > fence
    with pytest.raises(LeaseLost):
        holder.renew(MINUTE, 0)


def test_holder_that_is_surely_gone_is_replaced_at_once(kind: Kind) -> None:
    holder, other = kind.one(), kind.one()
    fence = holder.acquire("run")
    kind.die()
    claim = other.look()
    assert claim is not None
    assert claim.expired
    assert other.acquire("recover") > fence
    with pytest.raises(LeaseLost):
        holder.renew(MINUTE, 0)


def test_safe_weight_is_known_to_others_when_renew_returns_and_outlives_a_take_over(kind: Kind) -> None:
    holder, other = kind.one(), kind.one()
    holder.acquire("run")
    for weight in (0, 100, 0, 100):
        holder.renew(MINUTE, weight)
        claim = other.look()
        assert claim is not None
        assert claim.safe_weight == weight
    kind.die()
    other.acquire("guardian")
    claim = other.look()
    assert claim is not None
    assert claim.safe_weight == 100


def test_who_lost_it_cannot_give_it_back_for_the_new_holder(kind: Kind) -> None:
    holder, other = kind.one(), kind.one()
    holder.acquire("run")
    kind.die()
    other.acquire("recover")
    holder.release()
    claim = kind.one().look()
    assert claim is not None
    assert (claim.what, claim.released) == ("recover", False)
