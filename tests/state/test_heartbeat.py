"""The lease's heartbeat: it speaks for the main loop, and only as long as the main loop said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.errors import LeaseLost
from onlyvips_release.state.lease import FileLease, read_lease

BEAT = 0.03
"""Seconds: a third of the lease."""

MINUTE, NOTHING = timedelta(minutes=1), timedelta(0)


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[FileLease]:
    """Held, for a minute at first."""
    found = FileLease(tmp_path / "live", SystemClock(), timedelta(seconds=3 * BEAT))
    found.acquire("run")
    yield found
    found.release()


def counter(lease: FileLease) -> int:
    """Renewals so far."""
    return int(read_lease(lease.live)["counter"])


def goes_on(lease: FileLease) -> bool:
    """Whether it is renewed twice before long; a busy machine may need longer than the lease."""
    wanted, end = counter(lease) + 2, time.monotonic() + 10
    while counter(lease) < wanted and time.monotonic() < end:
        time.sleep(BEAT / 3)
    return counter(lease) >= wanted


def stands_still(lease: FileLease) -> bool:
    """Whether it is not renewed for a while."""
    time.sleep(2 * BEAT)
    before = counter(lease)
    time.sleep(6 * BEAT)
    return counter(lease) == before


def test_it_renews_the_lease_by_itself(lease: FileLease) -> None:
    lease.renew(MINUTE, 0)
    assert goes_on(lease)


def test_it_is_silent_from_the_deadline_of_the_main_loop_on_until_that_speaks_again(lease: FileLease) -> None:
    lease.renew(NOTHING, 0)
    assert stands_still(lease)
    lease.renew(MINUTE, 0)
    assert goes_on(lease)


def test_it_goes_on_after_a_full_disk(lease: FileLease, monkeypatch: pytest.MonkeyPatch) -> None:
    lease.renew(MINUTE, 0)

    def full(name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    assert lease.files is not None
    with monkeypatch.context() as patch:
        patch.setattr(lease.files, "write", full)
        assert stands_still(lease)
    assert goes_on(lease)


def test_it_ends_when_the_claim_was_taken_over_and_the_main_loop_is_told(lease: FileLease) -> None:
    lease.renew(MINUTE, 0)
    assert lease.files is not None
    lease.files.stage.rename(lease.live / "revoked-1-x")
    end = time.monotonic() + 10
    while not lease._lost and time.monotonic() < end:
        time.sleep(BEAT / 3)
    assert lease._lost
    (lease.live / "revoked-1-x").rename(lease.files.stage)
    with pytest.raises(LeaseLost):
        lease.renew(MINUTE, 0)


def test_new_safe_weight_is_written_at_once_and_the_same_one_only_with_the_next_beat(lease: FileLease) -> None:
    lease.renew(MINUTE, 0)
    before = json.loads((lease.live / "lease.json").read_text())
    lease.renew(MINUTE, 100)
    after = json.loads((lease.live / "lease.json").read_text())
    assert (before["safe_weight"], after["safe_weight"]) == (0, 100)
    assert after["counter"] > before["counter"]


def test_release_ends_it_and_says_so(lease: FileLease) -> None:
    lease.release()
    assert read_lease(lease.live)["released"]
    assert stands_still(lease)
