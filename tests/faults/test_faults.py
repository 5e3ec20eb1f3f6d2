"""The tool that seeds faults: a seed is found by its code, its tests by imports, and what is missed is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import __main__ as faults
from tests.faults import hunt, table
from tests.faults.bench import ROOT, failure, fast_files
from tests.faults.hunt import groups
from tests.faults.imports import importers
from tests.faults.seed import PACKAGE, Broken, Misfit, Seed, plant
from tests.faults.seeds import SEEDS

CODE = '''
LIMIT = 3


def act(weight: int) -> int:
    """Returns weight + 1."""
    return go(
        weight + 1,  # more
        LIMIT,
    )


class Box:
    def act(self) -> int:
        return go(self.weight + 1, LIMIT)
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package with one module."""
    (tmp_path / PACKAGE / "core").mkdir(parents=True)
    (tmp_path / PACKAGE / "core" / "box.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.what)
def test_seed_fits_the_code_of_today(seed: Seed) -> None:
    assert plant(seed, ROOT).text != ""


def test_no_two_seeds_have_one_name() -> None:
    assert len({seed.what for seed in SEEDS}) == len(SEEDS) >= 90


@pytest.mark.parametrize(
    ("area", "function", "old", "changed"),
    [
        pytest.param("core/box", "act", "weight + 1", "return go(\n        weight + 2,  # more", id="a function"),
        pytest.param("core", "Box.act", "self.weight + 1", "go(weight + 2, LIMIT)", id="a method in some module"),
        pytest.param("core", "", "LIMIT = 3", "\nweight + 2\n", id="the module's own level"),
        pytest.param("core", "act", "weight + 1, LIMIT", "weight + 2,\n    )", id="over a line break and a comment"),
    ],
)
def test_seed_changes_its_place_and_nothing_else(tree: Path, area: str, function: str, old: str, changed: str) -> None:
    broken = plant(Seed("x", area, function, old, "weight + 2"), tree)
    assert changed in broken.text
    assert len(broken.text.replace("weight + 2", "", 1)) == len(CODE) - len(changed_part(broken, changed, old))


def changed_part(broken: Broken, changed: str, old: str) -> str:
    """The code that was taken out, as it stood there."""
    return "weight + 1,  # more\n        LIMIT" if ", LIMIT" in old else old


@pytest.mark.parametrize(
    ("function", "old"),
    [("act", "weight + 3"), ("other", "weight + 1"), ("", "weight + 1"), ("Box", "LIMIT = 3"), ("act", "1")],
)
def test_seed_whose_code_is_gone_is_an_error(tree: Path, function: str, old: str) -> None:
    (tree / PACKAGE / "core" / "box.py").write_text(CODE.replace("LIMIT,", "1,"))
    with pytest.raises(Misfit, match="no longer fits"):
        plant(Seed("x", "core", function, old, "0"), tree)


def test_importers_are_found_through_others_and_inside_functions() -> None:
    above = {
        str(path.relative_to(ROOT)): steps for path, steps in importers(ROOT / PACKAGE / "runner.py", ROOT).items()
    }
    assert above["onlyvips_release/runner.py"] == 0
    assert above["tests/test_runner.py"] < above["tests/crash/test_simulation.py"]
    assert "tests/core/judge/test_judge.py" not in above


def test_judge_is_imported_through_its_package() -> None:
    above = importers(ROOT / PACKAGE / "core" / "judge" / "mixture.py", ROOT)
    assert ROOT / "tests/core/judge/test_judge.py" in above


def test_tests_that_ran_the_statement_come_first_the_quickest_before_others() -> None:
    path = ROOT / PACKAGE / "core" / "judge" / "mixture.py"
    line = path.read_text().splitlines().index("        self.t += ticks") + 1
    file = "tests/core/judge/test_judge.py::test_"
    ran = {"core/judge/mixture.py": [line]}
    tests = {
        f"{file}slow": {"seconds": 9.0, "ran": ran},
        f"{file}quick": {"seconds": 0.1, "ran": ran},
        f"{file}near": {"seconds": 0.1, "ran": {"core/judge/mixture.py": [1]}},
        f"{file}far": {"seconds": 0.1, "ran": {}},
        "tests/cli/test_nothing.py::test_other": {"seconds": 0.1, "ran": ran},
    }
    found = groups(Broken(path, "", line), tests, f"{file}far")
    assert found == [[f"{file}far"], [f"{file}quick", f"{file}slow"], [f"{file}near"]]


@pytest.mark.parametrize(
    ("code", "told", "failed"),
    [
        (0, {"failed": [], "passed": 2, "wanted": 2}, ""),
        (1, {"failed": ["t.py::test_a"], "passed": 1, "wanted": 2}, "t.py::test_a"),
        (0, {"failed": [], "passed": 1, "wanted": 2}, "pytest itself"),
        (3, {"failed": [], "passed": 2, "wanted": 2}, "pytest itself"),
        (0, {}, "pytest itself"),
        (None, {}, "the time limit"),
    ],
)
def test_run_is_green_only_when_every_wanted_test_passed(
    code: int | None, told: dict[str, object], failed: str
) -> None:
    assert failure(code, told).startswith(failed)
    assert bool(failure(code, told)) == bool(failed)


def test_slice_of_a_commit_is_a_tenth_and_every_seed_has_its_turn() -> None:
    tenth = -(-len(SEEDS) // 10)
    slices = [faults.chosen(SEEDS, (), f"commit {n}") for n in range(200)]
    assert {len(found) for found in slices} == {tenth}
    assert {seed.what for found in slices for seed in found} == {seed.what for seed in SEEDS}


def test_fast_files_are_no_files_of_this_tool() -> None:
    """No test may know the list."""
    names = [str(path.relative_to(ROOT)) for path in fast_files()]
    assert "tests/test_runner.py" in names
    assert not [name for name in names if name.startswith(("tests/faults", "tests/mutants", "tests/e2e"))]


@pytest.mark.slow
def test_fault_that_no_test_notices_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = Seed("harmless", "core/judge/mixture", "", "HUGE = 1e30", "HUGE = 10.0**30")
    harmful = Seed("harmful", "core/judge/mixture", "Mixture._start", "self.t += ticks", "self.t -= ticks")
    monkeypatch.setattr(faults, "SEEDS", (harmless, harmful))
    monkeypatch.setattr(hunt, "fast_files", lambda: [ROOT / "tests/core/judge/test_rules.py"])
    assert faults.main([]) == 1
    printed = capsys.readouterr().out
    assert "MISSED" in printed
    assert "1 of 2 caught" in printed


def test_committed_table_has_every_seed_and_each_was_caught() -> None:
    rows = table.rows()
    assert {what for what, _ in rows} == {seed.what for seed in SEEDS}
    assert not [what for what, test in rows if not test]
