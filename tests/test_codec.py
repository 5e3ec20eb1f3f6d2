"""Records of dataclasses: a class that a record does not name cannot be written down by accident."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

import pytest

from onlyvips_release.codec import decode, encode, hints
from onlyvips_release.core import events
from onlyvips_release.core.judge import ServiceHistory
from onlyvips_release.core.plan import SECOND, ReleasePlan, Service, Step
from onlyvips_release.targets.embedded_plan import External, Process
from tests.testing.plans import make_plan, service


@dataclass(frozen=True)
class One:
    """A record."""

    x: int


@dataclass(frozen=True)
class Other:
    """Another one with the same field."""

    x: int


@dataclass(frozen=True)
class Holder:
    """A field of either."""

    part: One | Other


def unions(kind: Any, found: set[Any]) -> Iterator[Any]:
    """Each union of dataclasses below a type."""
    if kind in found:
        return
    found.add(kind)
    options = [option for option in get_args(kind) if option is not type(None)]
    union = get_origin(kind) in (Union, types.UnionType) and len(options) > 1
    if union and any(map(dataclasses.is_dataclass, options)):
        yield kind
    below = hints(kind).values() if dataclasses.is_dataclass(kind) and isinstance(kind, type) else options
    for one in below:
        yield from unions(one, found)


def test_union_of_dataclasses_is_refused() -> None:
    with pytest.raises(TypeError, match="does not say which class"):
        decode(Holder, {"part": {"x": 1}})


@pytest.mark.parametrize("kind", [*get_args(events.Event), ServiceHistory], ids=lambda kind: str(kind.__name__))
def test_nothing_that_is_recorded_holds_a_union_of_dataclasses(kind: type) -> None:
    assert list(unions(kind, set())) == []


@pytest.mark.parametrize(
    ("old", "runs"),
    [
        pytest.param({"process": None}, External(), id="external"),
        pytest.param({}, External(), id="external, left out"),
        pytest.param(
            {"process": {"ports": [1, 2], "drain": 3.0, "env_from": ["A"], "cwd": "/x"}},
            Process((1, 2), 3 * SECOND, ("A",), "/x"),
            id="process",
        ),
    ],
)
def test_service_of_a_journal_without_runs_is_read(old: dict[str, Any], runs: External | Process) -> None:
    outside = isinstance(runs, External)
    stable, canary = (
        {"name": name, "command": [] if outside else [name, "{port}"], "url": f"http://{name}:1" if outside else ""}
        for name in ("v1", "v2")
    )
    record = {"name": "api", "stable": stable, "canary": canary, "health": {"path": "/"}, **old}
    assert decode(Service, record).runs == runs


def test_part_is_written_beside_its_kind() -> None:
    written = encode(service("api", 1))["runs"]
    assert (written["kind"], written["ports"]) == ("process", [18102, 18103])


def test_weights_are_written_as_they_are_given() -> None:
    """`10`, never `10.0`: journals of all times look alike."""
    assert [str(encode(Step(weight, SECOND))["weight"]) for weight in (0.5, 10.0, 99)] == ["0.5", "10", "99"]
    assert decode(Step, encode(Step(0.5, SECOND))) == Step(0.5, SECOND)
    assert decode(ReleasePlan, encode(make_plan())) == make_plan()
