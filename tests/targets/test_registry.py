"""A target is one file and one line: its keys are read, shown, described and kept like all others."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release import planmodel, targets
from onlyvips_release.codec import decode, encode
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.errors import PlanError, Refused
from onlyvips_release.planfile import load
from onlyvips_release.plantext import describe
from tests.testing.plans import service
from tests.testing.toy_target import TARGET, Room, Shelf

PLAN = """\
version: 1
platform: nursery
target: toy
room: {doors: 2}
services:
  bear:
    shelf: {places: 3}
    stable: {revision: v1, image: "bear:1"}
    canary: {revision: v2, image: "bear:2"}
steps: [{weight: 0.5, bake: 5m}, {weight: 10, bake: 5m}]
"""


@pytest.fixture(params=["built in", "entry point"], autouse=True)
def _toy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The toy target, registered by one line: in our table, or in the metadata of another package."""
    line = "tests.testing.toy_target:TARGET"
    if request.param == "built in":
        monkeypatch.setitem(targets.BUILT_IN, "toy", line)
    else:
        package = tmp_path / "packages" / "toy-1.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
        (package / "entry_points.txt").write_text(f"[{targets.GROUP}]\ntoy = {line}\n")
        monkeypatch.syspath_prepend(package.parent)
    yield
    planmodel.model_of.cache_clear()


def read(tmp_path: Path, text: str = PLAN) -> ReleasePlan:
    """The plan of a file."""
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return load(path)[0]


def test_keys_of_a_target_become_its_parts_with_its_defaults(tmp_path: Path) -> None:
    plan = read(tmp_path)
    assert (plan.target, plan.engine) == ("toy", Room(2))
    assert (plan.services[0].runs, plan.services[0].kind) == (Shelf(3), "shelf")
    assert (plan.services[0].canary.image, plan.listen) == ("bear:2", ("127.0.0.1", 18999))
    assert (plan.judge.tick, [step.weight for step in plan.steps]) == (timedelta(seconds=5), [0.5, 10])


def test_part_of_the_plan_that_is_left_out_has_its_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, PLAN.replace("room: {doors: 2}\n", "")).engine == Room()


def test_given_values_win_over_the_defaults_of_the_target(tmp_path: Path) -> None:
    plan = read(tmp_path, PLAN + "judge: {tick: 1s}\nrouter: {listen: '127.0.0.1:1'}\n")
    assert (plan.judge.tick, plan.listen) == (timedelta(seconds=1), ("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("places: 3", "places: 1", "7:21: services.bear.shelf.places: give 2 or more"),
        ("places: 3", "place: 3", "7:13: services.bear.shelf.place: unknown key 'place', did you mean 'places'?"),
        ("places: 3", "places: x", "7:21: services.bear.shelf.places: give a whole number"),
        ("    shelf: {places: 3}\n", "", "6:3: services.bear: give it a shelf"),
        ("    shelf: {places: 3}", "    process: {}", "7:5: services.bear.process: unknown key"),
        ('image: "bear:2"', "url: x", "9:28: services.bear.canary.url: 'url' is not built yet"),
        ("doors: 2", "doors: 0", "4:15: room.doors: nobody gets into"),
        ("weight: 0.5", "weight: 0.55", "10:18: steps.0.weight: give a whole number, or one with one decimal"),
        ("weight: 0.5", "weight: 0.0", "10:18: steps.0.weight: Input should be greater than or equal to 0.1"),
        ("weight: 10", "weight: 100", "10:43: steps.1.weight: Input should be less than or equal to 99.9"),
        ("target: toy", "target: toi", "3:9: target: 'toi' is no target: use embedded, toy"),
    ],
    ids=lambda value: value if isinstance(value, str) and ": " in value and len(value) < 20 else "",
)
def test_faults_in_the_keys_of_a_target_have_their_place(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert old in PLAN
    with pytest.raises(PlanError) as caught:
        read(tmp_path, PLAN.replace(old, new))
    assert any(f"plan.yaml:{line}" in found for found in caught.value.lines()), caught.value.lines()


def test_schema_holds_the_keys_of_all_targets_with_their_texts() -> None:
    definitions = planmodel.schema()["$defs"]
    assert {"process", "external", "shelf"} <= set(definitions["Service"]["properties"])
    assert {"url", "image"} <= set(definitions["Revision"]["properties"])
    assert definitions["Shelf"]["properties"]["places"]["description"] == "How many instances the shelf has room for."
    assert planmodel.schema()["properties"]["room"]["description"] == Room.about
    assert planmodel.schema()["properties"]["target"]["enum"] == ["embedded", "toy"]


def test_plan_text_tells_of_the_parts_in_their_own_words(tmp_path: Path) -> None:
    text = describe(read(tmp_path))
    assert "bear: v1 -> v2 (shelf 'toys' of 3, " in text
    assert "a room with doors: 2" in text


def test_parts_survive_the_journal_each_beside_its_kind(tmp_path: Path) -> None:
    plan = read(tmp_path)
    written = encode(plan)
    assert written["services"][0]["runs"] == {"kind": "shelf", "places": 3, "label": "toys"}
    assert written["engine"] == {"kind": "room", "doors": 2}
    assert decode(ReleasePlan, written) == plan


def test_services_of_two_targets_are_no_plan(tmp_path: Path) -> None:
    bear = read(tmp_path).services[0]
    with pytest.raises(PlanError, match="a release runs on one target, not on embedded and toy"):
        ReleasePlan("p", (bear, service("api", 1)))


def test_row_is_found_by_its_name() -> None:
    assert targets.find("toy") is TARGET
    assert targets.part("shelf") is Shelf


@pytest.mark.parametrize(
    ("name", "message"), [("docker", "'docker' is not built yet: use embedded"), ("x", "'x' is no target")]
)
def test_target_that_is_not_installed_is_refused(name: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        targets.find(name)


def test_record_of_a_part_that_no_installed_target_has_is_refused() -> None:
    with pytest.raises(Refused, match="no target that is installed has 'boat'"):
        targets.part("boat")


def test_built_in_targets_stand_in_the_metadata_too() -> None:
    """Who looks for targets by the entry point group finds ours."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    ours = {name: where for name, where in targets.BUILT_IN.items() if name != "toy"}
    assert project["entry-points"][targets.GROUP] == ours


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        pytest.param(
            "import onlyvips_release.core.plan",
            "pydantic yaml pathlib importlib.metadata onlyvips_release.targets",
            id="plan",
        ),
        pytest.param("import onlyvips_release.targets", "onlyvips_release.targets.embedded_plan", id="registry"),
        pytest.param(
            "import onlyvips_release.targets as t; t.find('embedded'); t.part('process')",
            "pydantic importlib.metadata onlyvips_release.traffic onlyvips_release.workloads psutil",
            id="row",
        ),
    ],
)
def test_importing_stays_light(code: str, absent: str) -> None:
    found = f"{code}; import sys; print(set('{absent}'.split()) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
