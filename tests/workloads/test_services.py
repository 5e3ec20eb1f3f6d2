"""The platform's workload: services side by side, every error after all have ended, no two names for one revision."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.model import Arm, Instance
from onlyvips_release.core.plan import Revision, Service
from onlyvips_release.errors import Interrupted, NotReady, Refused
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.targets.embedded_plan import External
from onlyvips_release.workloads.external import ExternalWorkload
from onlyvips_release.workloads.services import PerService

V1, V2 = Revision("v1", ("app", "1")), Revision("v2", ("app", "2"))


@dataclass
class One:
    """A service whose acts take `seconds` (of `clock`, when it has one) and then fail with `error`."""

    name: str
    seconds: float = 0.0
    error: Exception | None = None
    clock: SystemClock | None = None
    serving: Revision | None = V1
    calls: list[tuple[str, object]] = field(default_factory=list)

    def _act(self, name: str, argument: object) -> tuple[Instance, ...]:
        (self.clock.sleep if self.clock else time.sleep)(self.seconds)
        self.calls.append((name, argument))
        if self.error:
            raise self.error
        return (Instance(self.name, Arm.CANARY, "v2", f"{self.name} 1", alive=True),)

    def inspect(self) -> tuple[Instance, ...]:
        """Nothing."""
        return ()

    def start_canary(self, revision: Revision, weight: float = 0) -> tuple[Instance, ...]:
        """Noted."""
        return self._act("start", (revision, weight))

    def promote(self, revision: Revision) -> tuple[Instance, ...]:
        """Noted."""
        return self._act("promote", revision)

    def remove_canary(self, keep_idle: str = "") -> None:
        """Noted."""
        self._act("remove", keep_idle)

    def revive(self) -> tuple[str, ...]:
        """Noted."""
        return (self.name,)

    def within(self, command: str) -> timedelta:
        """As long as it says."""
        return timedelta(seconds=self.seconds)

    def stable(self) -> Revision | None:
        """What serves."""
        return self.serving

    def wait_ready(self) -> tuple[Instance, ...]:
        """Nothing."""
        return ()

    def stop_all(self) -> None:
        """Noted."""
        self._act("stop", None)

    def remove(self) -> None:
        """Noted."""
        self._act("forget", None)


def platform(*services: One, clock: SystemClock | None = None) -> PerService:
    """All of them."""
    return PerService({one.name: one for one in services}, clock or SystemClock())


ACTS: list[tuple[str, Callable[[PerService], object]]] = [
    ("start", lambda workload: workload.start_canary({"a": V2, "b": V2}, 10)),
    ("remove", lambda workload: workload.remove_canary({"a": "v1"})),
    ("stop", lambda workload: workload.stop_all()),
]


@pytest.mark.parametrize("act", [act for _, act in ACTS], ids=[name for name, _ in ACTS])
def test_services_start_and_stop_side_by_side(act: Callable[[PerService], object]) -> None:
    began = time.monotonic()
    act(platform(One("a", 0.5), One("b", 0.5)))
    assert time.monotonic() - began < 0.9


def test_each_service_gets_its_own_revision_the_weight_and_what_it_keeps() -> None:
    a, b, c = One("a"), One("b"), One("c")
    workload = platform(a, b, c)
    started = workload.start_canary({"a": V1, "b": V2}, 10)
    workload.remove_canary({"b": "v1"})
    workload.stop_all()
    workload.remove(["c"])
    assert [i.service for i in started] == ["a", "b"]
    assert a.calls == [("start", (V1, 10)), ("remove", ""), ("stop", None)]
    assert b.calls == [("start", (V2, 10)), ("remove", "v1"), ("stop", None)]
    assert c.calls == [("remove", ""), ("stop", None), ("forget", None)]


def test_error_is_raised_when_all_have_ended_and_the_first_service_comes_first() -> None:
    slow = One("a", 0.3, NotReady("a failed"))
    with pytest.raises(NotReady, match="a failed"):
        platform(slow, One("b", 0.0, NotReady("b failed"))).start_canary({"a": V2, "b": V2}, 10)
    assert slow.calls
    fine = One("a", 0.3)
    with pytest.raises(NotReady, match="b failed"):
        platform(fine, One("b", 0.0, NotReady("b failed"))).start_canary({"a": V2, "b": V2}, 10)
    assert fine.calls, "what was started is in its record"


@pytest.fixture
def clock() -> Iterator[SystemClock]:
    """Listens to signals; the handlers of before come back."""
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    made = SystemClock()
    made.listen()
    yield made
    for number, handler in old.items():
        signal.signal(number, handler)


def test_signal_ends_all_starts_at_once_and_interrupts_the_caller_once(clock: SystemClock) -> None:
    a, b = One("a", 20.0, clock=clock), One("b", 20.0, clock=clock)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        platform(a, b, clock=clock).start_canary({"a": V2, "b": V2}, 10)
    assert time.monotonic() - began < 5
    assert (a.calls, b.calls) == ([], [])
    clock.sleep(0.01)


def test_signal_is_raised_also_when_every_start_ends_well_and_a_second_one_is_kept(clock: SystemClock) -> None:
    a, b = One("a", 0.6), One("b", 0.6)
    for seconds in (0.1, 0.3):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Interrupted):
        platform(a, b, clock=clock).start_canary({"a": V2, "b": V2}, 10)
    assert a.calls
    assert b.calls
    with pytest.raises(Interrupted):
        clock.sleep(0.01)


@pytest.mark.parametrize(("command", "seconds"), [("start_canary", 3), ("remove_canary", 3), ("promote", 5)])
def test_time_is_that_of_the_slowest_and_promotions_add_up(command: str, seconds: int) -> None:
    assert platform(One("a", 2), One("b", 3)).within(command) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("canary", "refused"),
    [
        pytest.param(V2, False, id="another command"),
        pytest.param(replace(V1, name="v2", env={"A": "1"}), False, id="another variable"),
        pytest.param(replace(V1, name="v2", url="http://x:1"), False, id="another address"),
        pytest.param(V1, False, id="the very same"),
        pytest.param(replace(V1, name="v2"), True, id="another name only"),
    ],
)
def test_revision_that_serves_under_another_name_is_refused(canary: Revision, refused: bool) -> None:
    workload = platform(One("a"))
    if not refused:
        assert workload.resolve({"a": canary}) == {"a": canary}
        return
    with pytest.raises(Refused, match="v2 is started exactly as v1"):
        workload.resolve({"a": canary})


def test_before_the_first_installation_every_revision_can_be_told_apart() -> None:
    assert platform(One("a", serving=None)).resolve({"a": V1}) == {"a": V1}


def test_address_of_somebody_else_that_users_are_on_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    lease = FileLease(tmp_path / "live", SystemClock())
    lease.acquire("test")
    serving, other = (Revision(f"v{n}", url=f"http://127.0.0.1:{n}") for n in (1, 2))
    outside = ExternalWorkload(
        Service("web", canary=other, stable=serving, runs=External()), Layout.at(tmp_path), lease
    )
    outside.promote(serving)
    outside.stop_all()
    assert outside.stable() == serving
    outside.remove()
    assert outside.stable() is None
    lease.release()
