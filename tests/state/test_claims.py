"""Who holds a platform, as another process sees it: records written by hand, a clock that is turned by hand."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.errors import LeaseHeld, LeaseLost
from onlyvips_release.state.lease import FileLease, holder, read_lease

TEN = timedelta(seconds=10)


class HandClock(SystemClock):
    """Time that a test turns on; who sleeps turns it on too."""

    at = 0.0

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """At once."""
        self.at += seconds


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A platform's live folder."""
    folder = tmp_path / "live"
    folder.mkdir(mode=0o700)
    return folder


def write(live: Path, counter: int, **changes: Any) -> None:
    """A record of this very process, renewed so often."""
    record = {
        "v": 1,
        "fence": 3,
        "what": "run",
        "seconds": 10.0,
        "counter": counter,
        "safe_weight": 0,
        "released": False,
    }
    (live / "lease.json").write_text(json.dumps({**record, **holder(), **changes}))


def look(lease: FileLease, clock: HandClock, seconds: float) -> tuple[bool, bool]:
    """(expired, renewed) when so many seconds have passed, with a look every half second."""
    for _ in range(round(seconds / 0.5)):
        clock.at += 0.5
        lease.look()
    claim = lease.look()
    assert claim is not None
    return claim.expired, claim.renewed


def test_claim_that_is_renewed_never_expires(live: Path) -> None:
    clock = HandClock()
    lease = FileLease(live, clock, TEN)
    for counter in range(12):
        write(live, counter)
        assert look(lease, clock, 5) == (False, counter > 0)


def test_claim_expires_when_it_was_looked_at_for_as_long_as_it_is_valid(live: Path) -> None:
    clock = HandClock()
    lease = FileLease(live, clock, timedelta(seconds=99))
    write(live, 1)
    assert look(lease, clock, 9.5) == (False, False)
    assert look(lease, clock, 1) == (True, False)
    write(live, 2)
    assert look(lease, clock, 9) == (False, True)


def test_who_did_not_look_did_not_see_silence(live: Path) -> None:
    clock = HandClock()
    lease = FileLease(live, clock, TEN)
    write(live, 1)
    lease.look()
    clock.at += 3600
    assert look(lease, clock, 1) == (False, False)


@pytest.mark.parametrize(
    ("changes", "expired"),
    [
        pytest.param({}, False, id="it lives"),
        pytest.param({"started": 1.0}, True, id="its pid is another process now"),
        pytest.param({"pid": 2**22 + 5}, True, id="its process ended"),
        pytest.param({"started": 1.0, "host": "elsewhere"}, False, id="another host: nobody knows"),
        pytest.param({"started": 1.0, "space": 1}, False, id="another container: nobody knows"),
    ],
)
def test_claim_of_a_process_that_is_surely_gone_expires_at_once(
    live: Path, changes: dict[str, Any], expired: bool
) -> None:
    write(live, 1, **changes)
    claim = FileLease(live, HandClock(), TEN).look()
    assert claim is not None
    assert claim.expired is expired


def test_stage_without_a_record_is_somebodys_claim(live: Path) -> None:
    assert FileLease(live, HandClock(), TEN).look() is None
    (live / "stage-7").mkdir()
    claim = FileLease(live, HandClock(), TEN).look()
    assert claim is not None
    assert (claim.fence, claim.released, claim.expired) == (7, False, False)


def gone(live: Path) -> None:
    """The holder's process ended."""
    record = read_lease(live)
    (live / "lease.json").write_text(json.dumps({**record, "started": 1.0}))


@pytest.mark.parametrize("weight", [0, 100])
def test_safe_weight_outlives_a_take_over(live: Path, weight: int) -> None:
    first, second = FileLease(live, SystemClock(), TEN), FileLease(live, SystemClock(), TEN)
    first.acquire("run")
    first.renew(TEN, weight)
    gone(live)
    second.acquire("guardian")
    assert second.safe_weight == read_lease(live)["safe_weight"] == weight
    second.release()
    first.release()


def test_who_lost_its_claim_cannot_renew_it_nor_write(live: Path) -> None:
    first, second = FileLease(live, SystemClock(), TEN), FileLease(live, SystemClock(), TEN)
    first.acquire("run")
    gone(live)
    second.acquire("recover")
    with pytest.raises(LeaseLost):
        first.renew(TEN, 0)
    with pytest.raises(LeaseLost):
        first.write("router/rds.json", b"{}")
    first.release()
    assert second.look()
    assert not read_lease(live)["released"]
    second.release()


def standing_by(live: Path) -> tuple[FileLease, FileLease]:
    """A guardian that stands by for the claim after 1, and whoever took 2 and gave it back meanwhile."""
    holder, guardian, other = (FileLease(live, SystemClock(), TEN) for _ in range(3))
    holder.acquire("run")
    guardian.stand_by(1, "guardian")
    gone(live)
    assert other.acquire("recover") == 2
    return guardian, other


@pytest.mark.parametrize("released", [True, False], ids=["given back", "held"])
def test_number_that_somebody_else_had_meanwhile_is_not_taken(live: Path, released: bool) -> None:
    """Between its look and its rename a guardian may sleep for as long as it likes."""
    guardian, other = standing_by(live)
    if released:
        other.release()
    before = read_lease(live)
    with pytest.raises(LeaseHeld, match="claim number 2"):
        guardian._take(2)
    assert read_lease(live) == before
    assert [path.name for path in live.glob("stage-*")] == ([] if released else ["stage-2"])
    with pytest.raises(LeaseLost):
        guardian.write("anything", b"")
    other.release()


def test_first_claim_of_a_platform_has_its_users_on_stable(live: Path) -> None:
    lease = FileLease(live, SystemClock(), TEN)
    lease.acquire("up")
    claim = lease.look()
    assert claim is not None
    assert claim.safe_weight == 0
    lease.release()


@pytest.mark.parametrize("trace", ["revoked-2-abcd", "stage-3", "stage-5"])
def test_number_below_one_that_is_in_use_or_revoked_is_not_taken(live: Path, trace: str) -> None:
    """Also where the record was deleted."""
    guardian = FileLease(live, SystemClock(), TEN)
    guardian.stand_by(1, "guardian")
    (live / trace).mkdir()
    with pytest.raises(LeaseHeld):
        guardian._take(2)
    assert not (live / "stage-2").exists()


def test_take_over_revokes_every_older_stage(live: Path) -> None:
    old = FileLease(live, SystemClock(), TEN)
    old.acquire("run")
    (live / "stage-0").mkdir()
    gone(live)
    new = FileLease(live, SystemClock(), TEN)
    new.acquire("recover")
    assert [path.name for path in live.glob("stage-*")] == ["stage-2"]
    assert not list(live.glob("revoked-*"))
    assert not list(live.glob("claim-*"))
    new.release()
    assert sorted(path.name for path in live.iterdir()) == ["lease.json"]
