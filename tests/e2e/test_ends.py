"""A canary whose answers end badly behind a good head: real Envoy, default judge, suites that ask health alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from tests.testing.platform_rig import ROOT, Rig

pytestmark = pytest.mark.slow

RATE = 100
TICK = 2.0


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One platform with users for all: each release leaves v1 serving."""
    with Rig(("miniapp",)) as found:
        found.platform(plan(found, "v2")).up()
        mix = found.folder / "calls.json"
        mix.write_text(json.dumps([{"method": "GET", "host": "app.onlyvips.local", "path": "/anything"}]))
        found.load(RATE, "--mix", str(mix))
        yield found


def plan(rig: Rig, canary: str, *way: str) -> dict[str, Any]:
    """The default judge and 10 % of the users; the odd server is what runs, and its canary ends so."""
    found = rig.plan(canary, steps=[{"weight": 10, "bake": "3m"}], patience="0s")
    command = ["{python}", "-m", "tests.testing.odd_server", "{port}"]
    service = found["services"]["miniapp"]
    service |= {"health": {"path": "/health"}, "timeout": "3s", "per_try_timeout": "1s"}
    service["process"] |= {"cwd": str(ROOT)}
    service["stable"]["command"], service["canary"]["command"] = command, [*command, *way]
    if not way:
        service["canary"]["command"] = [*command, "", "0"]
    return found


def convicted(rig: Rig, canary: str, *way: str) -> tuple[float, str]:
    """Seconds of bake until such a canary was taken back, and the sentence about it."""
    journal: list[events.Event] = []
    release = rig.platform(plan(rig, canary, *way)).run(lambda event, _: journal.append(event))
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3), release.finished.sentence
    ticks = [event.tick for event in journal if isinstance(event, events.Sampled)]
    return (len(ticks)) * TICK, release.finished.sentence


@pytest.mark.slice
def test_answer_that_is_cut_convicts_as_fast_as_a_500(rig: Rig) -> None:
    honest, _ = convicted(rig, "v500", "500", "1.0")
    for way in ("cut", "cut-chunked", "head"):
        seconds, sentence = convicted(rig, f"v-{way}", way, "1.0")
        assert seconds <= honest + 2 * TICK, sentence
        assert "miniapp" in sentence
        assert "of canary requests failed" in sentence


@pytest.mark.slice
@pytest.mark.parametrize(
    ("way", "share", "blame"),
    [
        pytest.param("stall", "0.5", "requests failed", id="stalls in the body"),
        pytest.param("late", "1.0", "answers took longer than 500 ms", id="two seconds behind the first byte"),
    ],
)
def test_answer_that_comes_late_behind_its_head_convicts(rig: Rig, way: str, share: str, blame: str) -> None:
    seconds, sentence = convicted(rig, f"v-{way}", way, share)
    assert seconds <= 40
    assert blame in sentence
