"""Answers that end in odd ways, on a real Envoy, from an upstream of raw sockets: what the source counts."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from onlyvips_release.core.judge.buckets import edge
from onlyvips_release.core.model import Arm, Endpoint, Series
from tests.testing import odd_server
from tests.testing.router_rig import Bench, bench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def odd() -> Iterator[Bench]:
    """Stable is the odd server; its route gives an answer two and a half seconds."""
    with bench(timeout=2.5) as made, socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=odd_server.listen, args=(server,), daemon=True).start()
        made.router.point(Arm.STABLE, {"backend-api": [Endpoint("127.0.0.1", server.getsockname()[1], "v1")]})
        made.router.set_weight(0)
        yield made


def ask(odd: Bench, way: str, method: str, patience: float) -> str:
    """What a user gets."""
    connection = http.client.HTTPConnection("127.0.0.1", odd.ports["router"], timeout=patience)
    try:
        connection.request(method, f"/{way}", body=b"x" if method == "POST" else None)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return str(answer.status)


def seen(odd: Bench) -> Series:
    """Once the router has written what it knows."""
    time.sleep(0.4)
    return odd.series(Arm.STABLE)


WAYS = [
    ("whole", "", 9, "good"),
    ("refused", "404", 9, "good"),
    ("without a body", "empty", 9, "good"),
    ("5xx", "500", 9, "bad"),
    ("reset", "reset", 9, "bad"),
    ("never answered", "hang", 9, "bad"),
    ("abandoned before the head", "hang", 0.3, "good"),
]
BODIES = [
    ("cut in its body", "cut", 9, "bad"),
    ("cut between chunks", "cut-chunked", 9, "bad"),
    ("closed behind its head", "head", 9, "bad"),
    ("stalls in its body", "stall", 9, "bad"),
    ("abandoned behind the head", "stall", 0.3, "good"),
]
CASES = [(method, *way) for method in ("GET", "POST", "HEAD") for way in (*WAYS, *(BODIES if method != "HEAD" else ()))]


@pytest.mark.parametrize("case", [pytest.param(case, id=" ".join(case[:2])) for case in CASES])
def test_attempt_counts_by_its_end(odd: Bench, case: tuple[str, str, str, float, str]) -> None:
    """An attempt that its client abandoned is a request, and no failure."""
    method, _, way, patience, counted = case
    before = seen(odd)
    ask(odd, way, method, patience)
    after = seen(odd)
    assert (after.good - before.good, after.bad - before.bad) == (counted == "good", counted == "bad")


def test_latency_is_that_of_the_last_byte(odd: Bench) -> None:
    odd.source = odd.new_source()
    seen(odd)
    ask(odd, "", "GET", 9)
    ask(odd, "late", "GET", 9)
    after = seen(odd)
    assert after.latency is not None
    assert sorted(edge(k) > 1900 for k, _ in after.latency) == [False, True]
