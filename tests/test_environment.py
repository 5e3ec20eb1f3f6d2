"""Where the environment is read, with which defaults, and what a child process inherits."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from onlyvips_release.environment import inherited, read_environment

LIBRARY = Path(__file__).parents[1] / "onlyvips_release"
READERS = ("environ", "environb", "getenv", "getenvb")


def reads(source: str) -> list[int]:
    """The lines of a module that read the process environment."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name, lineno=line) | ast.Name(id=name, lineno=line) if name in READERS:
                found.append(line)
            case ast.ImportFrom(names=names, lineno=line) if any(alias.name in READERS for alias in names):
                found.append(line)
            case _:
                pass
    return found


def test_one_module_reads_the_environment() -> None:
    modules = [path for path in LIBRARY.rglob("*.py") if not {"sandbox", "_suites"} & set(path.parts)]
    found = {path.relative_to(LIBRARY).as_posix(): reads(path.read_text()) for path in modules}
    assert [name for name, lines in found.items() if lines] == ["environment.py"]


@pytest.mark.parametrize(
    "breach",
    ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ", "import os as o\no.environb"],
)
def test_every_way_to_read_the_environment_is_found(breach: str) -> None:
    assert reads(breach)


@pytest.mark.parametrize(
    ("variables", "state", "keep"),
    [
        pytest.param({"HOME": "/home/me"}, "/home/me/.local/state/onlyvips-release", 0, id="home"),
        pytest.param({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "/x/onlyvips-release", 0, id="XDG"),
        pytest.param({"ONLYVIPS_STATE": "/s", "XDG_STATE_HOME": "/x"}, "/s", 0, id="our own variable"),
        pytest.param({"ONLYVIPS_STATE": "/s", "ONLYVIPS_KEEP_REPORTS": "7"}, "/s", 7, id="kept reports"),
        pytest.param({"ONLYVIPS_STATE": "/s", "ONLYVIPS_KEEP_REPORTS": "all"}, "/s", 0, id="no number"),
    ],
)
def test_settings_have_defaults(variables: dict[str, str], state: str, keep: int) -> None:
    found = read_environment(variables)
    assert (str(found.state), found.keep_reports, found.router_binary) == (state, keep, None)
    assert found.reports == Path("reports").absolute()


def test_child_inherits_the_basic_variables_and_those_named() -> None:
    variables = {"PATH": "/bin", "SECRET": "s", "TOKEN": "t", "GITHUB_RUN_ID": "7"}
    assert inherited(variables, "TOKEN", "MISSING") == {"PATH": "/bin", "TOKEN": "t"}


def test_every_child_process_gets_its_environment_from_us() -> None:
    """Without `env` it would inherit every secret of this command."""
    calls = {}
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if not {"sandbox", "_suites"} & set(path.parts) else ():
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("subprocess")) | ast.Name("spawn"), keywords=keywords):
                    calls[f"{path.name}:{node.lineno}"] = any(word.arg == "env" for word in keywords)
                case _:
                    pass
    assert len(calls) >= 5
    assert [place for place, explicit in calls.items() if not explicit] == []


@pytest.mark.parametrize(
    ("variables", "job", "commit"),
    [
        pytest.param({}, "", "", id="by hand"),
        pytest.param({"CI_JOB_URL": "https://g/j/1", "CI_COMMIT_SHA": "abc"}, "https://g/j/1", "abc", id="GitLab"),
        pytest.param(
            {"GITHUB_SERVER_URL": "https://g", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "7", "GITHUB_SHA": "abc"},
            "https://g/o/r/7",
            "abc",
            id="GitHub",
        ),
    ],
)
def test_ci_job_and_commit_are_known(variables: dict[str, str], job: str, commit: str) -> None:
    found = read_environment(variables)
    assert (found.ci_job, found.commit) == (job, commit)
