"""Each hard gate stops a real release: real processes behind a real Envoy, no statistics, users whole."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm
from tests.testing.platform_rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.slice]
STEPS = [{"weight": 10, "bake": "60s"}]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One platform for all: each release leaves v1 serving."""
    with Rig(("miniapp",)) as made:
        made.up()
        yield made


def pid_of(rig: Rig, arm: Arm) -> int:
    """The process of the miniapp's arm."""
    return next(i.pid for i in rig.platform().target.workload.inspect() if i.arm is arm and i.alive and i.pid)


def edit_routes(rig: Rig) -> None:
    """Somebody else changes the routes under our version."""
    path = rig.state / "e2e" / "live" / "router" / "rds.json"
    routes = json.loads(path.read_text())
    routes["resources"][0]["virtual_hosts"][0]["name"] = "edited"
    (path.parent / "edited").write_text(json.dumps(routes))
    (path.parent / "edited").rename(path)


def point_elsewhere(rig: Rig) -> None:
    """The canary arm answers under the name of another revision."""
    path = rig.state / "e2e" / "live" / "router" / "eds.miniapp.canary.json"
    endpoints = json.loads(path.read_text())
    endpoints["version_info"] += "-edited"
    instance = endpoints["resources"][0]["endpoints"][0]["lb_endpoints"][0]
    instance["metadata"]["filter_metadata"]["onlyvips"]["revision"] = "v0"
    (path.parent / "edited").write_text(json.dumps(endpoints))
    (path.parent / "edited").rename(path)


@dataclass(frozen=True)
class Gate:
    """What happens at 10 % (`faults`: of the canary from its start), and what the release gives as its reason."""

    reason: str
    words: str
    act: Callable[[Rig], None] = lambda rig: None
    faults: tuple[str, ...] = ()


GATES = {
    "canary exits": Gate("hard_gate", "exited", lambda rig: os.kill(pid_of(rig, Arm.CANARY), signal.SIGKILL)),
    "canary dies by itself": Gate("hard_gate", "exited", faults=("crash_after=6",)),
    "canary fails three health requests": Gate(
        "hard_gate",
        "failed its health request 3 times in a row",
        lambda rig: os.kill(pid_of(rig, Arm.CANARY), signal.SIGSTOP),
    ),
    "pinned answer of another revision": Gate("hard_gate", "was not answered by", point_elsewhere),
    "somebody edits the routes": Gate("", "somebody edited it", edit_routes),
}


@pytest.mark.parametrize("name", GATES)
def test_hard_gate_of_the_canary_takes_users_back_at_once(rig: Rig, name: str) -> None:
    gate, done = GATES[name], list[str]()

    def at_ten(event: events.Event, release: Release) -> None:
        if isinstance(event, events.Sampled) and release.checked and release.weight == 10 and not done:
            done.append(name)
            gate.act(rig)

    canary = f"c{list(GATES).index(name)}"
    with rig.load(100):
        release = rig.release(canary, {"miniapp": gate.faults}, tell=at_ten, steps=STEPS)
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3), release.finished
    assert gate.words in release.finished.sentence
    assert gate.reason in ("", release.outcome.reason if release.outcome else "")
    assert set(rig.revisions().values()) == {"v1"}


def test_new_stable_that_dies_while_it_is_watched_is_restored(rig: Rig) -> None:
    killed: list[int] = []

    def while_watched(event: events.Event, release: Release) -> None:
        if isinstance(event, events.Sampled) and release.phase is Phase.WATCHING and not killed:
            killed.append(pid_of(rig, Arm.STABLE))
            os.kill(killed[0], signal.SIGKILL)

    quick: dict[str, Any] = {"steps": [{"weight": 50, "bake": "2s"}], "accept": "no_evidence_of_harm", "watch": "30s"}
    with rig.load(100):
        release = rig.release("w1", tell=while_watched, **quick)
    assert killed
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3), release.finished
    assert "new stable" in release.finished.sentence
    assert "was restarted" in release.finished.sentence
    assert set(rig.revisions().values()) == {"v1"}


def test_smoke_suite_that_fails_on_the_new_stable_restores_the_old_one(rig: Rig, tmp_path: Path) -> None:
    suite = tmp_path / "test_w2.py"
    suite.write_text(
        "import pytest\n"
        '@pytest.mark.severity("blocker")\n'
        "def test_stable_is_not_w2(service, release):\n"
        '    assert (release["arm"], service.revision) != ("stable", "w2")\n'
    )
    quick: dict[str, Any] = {"steps": [{"weight": 50, "bake": "2s"}], "accept": "no_evidence_of_harm", "watch": "30s"}
    checks = rig.plan("w2")["checks"]
    with rig.load(100):
        release = rig.release("w2", checks={**checks, "smoke": {"path": str(suite)}}, **quick)
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3), release.finished
    assert "smoke tests on the new stable" in release.finished.sentence
    assert set(rig.revisions().values()) == {"v1"}
