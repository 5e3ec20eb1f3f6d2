"""What keeps the house in order: no target's name outside of its place, one public surface."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import onlyvips_release

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "onlyvips_release"
PLACES = {"targets", "traffic", "workloads", "telemetry", "clients", "sandbox", "_suites", "__pycache__"}
TARGETS = re.compile(r"embedded|docker|kubernetes|envoy", re.IGNORECASE)
ALLOWED = ("ONLYVIPS_ENVOY", '"docker: needs a Docker engine"', '"cluster: needs a Kubernetes cluster"')


def test_no_target_is_named_outside_of_its_place() -> None:
    lines = []
    for path in sorted(LIBRARY.rglob("*.py")):
        if PLACES & set(path.relative_to(LIBRARY).parts):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            rest = line
            for allowed in ALLOWED:
                rest = rest.replace(allowed, "")
            if TARGETS.search(rest):
                lines.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert lines == []


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_file_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {n.name: (n.end_lineno or 0) - n.lineno + 1 for n in functions}
    assert {name: length for name, length in lengths.items() if length > 50} == {}


def test_public_surface_is_written_down_and_every_name_of_it_exists() -> None:
    assert {name for name in onlyvips_release.__all__ if not hasattr(onlyvips_release, name)} == set()
    wanted = {
        "Platform",
        "ReleasePlan",
        "Service",
        "Revision",
        "Step",
        "Suite",
        "Event",
        "Sampled",
        "Finished",
        "Release",
    }
    assert wanted | {"Release", "Verdict", "ReleaseError", "PlanError", "Refused"} <= set(onlyvips_release.__all__)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_import_the_library_only_from_its_public_surface(path: Path) -> None:
    modules = {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onlyvips_release")
    }
    assert modules <= {"onlyvips_release", "onlyvips_release.expect"}
