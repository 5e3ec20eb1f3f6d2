"""Plan files: all faults at once with their places, no YAML surprises, and the documented defaults."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.codec import decode, encode
from onlyvips_release.core.plan import OnInconclusive, ReleasePlan, Step
from onlyvips_release.errors import PlanError
from onlyvips_release.planfile import load
from tests.testing.plans import make_plan

GOOD = """\
version: 1
platform: onlyvips
router: {listen: "127.0.0.1:18000", sticky: ["header:x-user-id", "cookie:ov_uid"]}
services:
  backend-api:
    host: "api.*"
    health: {path: /api/health/health, within: 30s}
    identity: {header: x-app-revision}
    process: {ports: [18110, 18111], drain: 10s, env_from: [SECRET_KEY]}
    stable: {revision: v1, command: [python, -m, backend, "{port}"], env: {ENVIRONMENT: production}}
    canary: {revision: v2, command: [python, -m, backend2, "{port}"]}
  miniapp:
    host: "app.*"
    external: true
    stable: {revision: "41", url: "http://127.0.0.1:9001"}
    canary: {revision: "42", url: "http://127.0.0.1:9002"}
  flirt-bot:
    routed: false
    process: {env_from: [BOT_TOKEN]}
    stable: {revision: v1, command: [python, -m, bot]}
    canary: {revision: v2, command: [python, -m, bot2]}
"""


def write(tmp_path: Path, text: str | bytes, name: str = "release.yaml") -> Path:
    """A plan file."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def faults(tmp_path: Path, text: str | bytes, name: str = "release.yaml") -> list[str]:
    """What is wrong with it, without the folder."""
    with pytest.raises(PlanError) as caught:
        load(write(tmp_path, text, name))
    assert caught.value.exit_code == 2
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.lines()]


def test_documented_example_loads_with_the_documented_defaults(tmp_path: Path) -> None:
    plan, source = load(write(tmp_path, GOOD))
    assert plan.steps == (Step(10, timedelta(minutes=30)),)
    assert plan.sticky == ("header:x-user-id", "cookie:ov_uid")
    assert (plan.watch, plan.patience, plan.on_inconclusive) == (
        timedelta(minutes=5),
        timedelta(0),
        OnInconclusive.ROLLBACK,
    )
    backend, miniapp, bot = plan.services
    assert (backend.timeout, backend.per_try_timeout) == (timedelta(seconds=15), timedelta(seconds=7))
    assert backend.canary.env == {"ENVIRONMENT": "production"}
    assert (miniapp.kind, bot.routed) == ("external", False)
    assert (plan.judge.alpha, plan.judge.beta, plan.judge.slo.errors) == (0.01, 0.05, 0.05)
    assert (plan.canary.every, plan.smoke.deadline) == (timedelta(minutes=5), timedelta(minutes=5))
    assert len(source.text_sha256) == 64


def test_all_faults_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    text = """\
version: 1
platform: onlyvips
services:
  api:
    helth: {path: /h}
    process: {ports: [18110, 18111]}
    canary: {revision: v2, command: [x, "{port}"]}
steps:
  - {weight: 10, bake: 30}
  - weight: 101
    bake: 1:30
  - wieght: 3
    bake: 5m
on_inconclusive: continue
notify: {}
"""
    assert faults(tmp_path, text) == [
        "release.yaml:5:5: services.api.helth: unknown key 'helth', did you mean 'health'?",
        "release.yaml:9:24: steps.0.bake: give a duration such as 30s, 5m or 1h30m",
        "release.yaml:10:13: steps.1.weight: Input should be less than or equal to 99",
        "release.yaml:11:11: steps.1.bake: give a duration such as 30s, 5m or 1h30m",
        "release.yaml:12:5: steps.2.weight: Field required",
        "release.yaml:12:5: steps.2.wieght: unknown key 'wieght', did you mean 'weight'?",
        "release.yaml:14:18: on_inconclusive: Input should be 'rollback' or 'pause'",
        "release.yaml:15:1: notify: 'notify' is not built yet: remove it",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(
            "[18110, 18111]",
            "[18110, 18110]",
            ":9:22: services.backend-api.process.ports: give two different",
            id="ports",
        ),
        pytest.param(
            "revision: v2, command: [python, -m, backend2",
            "revision: v1, command: [python, -m, backend2",
            "canary.revision: 'v1' is also stable's",
            id="same name",
        ),
        pytest.param('backend2, "{port}"', "backend2", 'canary.command: must contain "{port}"', id="no port"),
        pytest.param(
            "    health: {path: /api/health/health, within: 30s}\n",
            "",
            "health: a routed service needs a health path",
            id="no health",
        ),
        pytest.param('"app.*"', '"api.*"', "services: host 'api.*' is given twice", id="host twice"),
        pytest.param("18000", "18110", "services: port 18110 is used twice", id="port twice"),
        pytest.param(
            "    external: true\n", "", "services.miniapp: give it a process, or external: true", id="neither"
        ),
        pytest.param(
            "    external: true\n",
            "    external: true\n    process: {}\n",
            "services.miniapp.external: a service is external or has",
            id="both",
        ),
        pytest.param(
            "version: 1\n",
            "version: 1\nsteps: [{weight: 20, bake: 1m}, {weight: 10, bake: 1m}]\n",
            ":2:8: steps: weights must rise",
            id="falling",
        ),
        pytest.param("version: 1\n", "version: 1\nsteps: []\n", "steps: give at least one step", id="no steps"),
        pytest.param(
            "version: 1\n", "version: 1\njudge: {alpha: 0.7}\n", "judge.alpha: 0.7 is not between", id="alpha"
        ),
        pytest.param(
            "version: 1\n",
            "version: 1\njudge: {alpha: nan}\n",
            "judge.alpha: Input should be a finite number",
            id="nan",
        ),
        pytest.param(
            "version: 1\n",
            "version: 1\nchecks: {smoke: {min_passed: 0}}\n",
            "min_passed: a suite that need not pass anything",
            id="asserts nothing",
        ),
        pytest.param("version: 1\n", "version: 2\n", "version: Input should be", id="version"),
        pytest.param('revision: "42"', "revision: ~", "canary.revision: is not text", id="null revision"),
        pytest.param(
            "platform: onlyvips\n",
            "platform: onlyvips\nplatform: other\n",
            ":3:1: 'platform' is given twice (first on line 2)",
            id="twice",
        ),
    ],
)
def test_contradiction_is_refused_at_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    assert any(told in line for line in faults(tmp_path, GOOD.replace(old, new))), faults(
        tmp_path, GOOD.replace(old, new)
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"&a [*a]", id="contains itself"),
        pytest.param(b"[" * 3000, id="deep"),
        pytest.param(b"? [1]\n: 2\n", id="list as key"),
        pytest.param(b"a: !!python/object:os.system {}\n", id="tag"),
        pytest.param(b"a:\n\t- b\n", id="tab"),
        pytest.param(b"a: *nope\n", id="unknown alias"),
        pytest.param(b"a: 1\n---\nb: 2\n", id="two documents"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"# " + b"x" * 1_000_001, id="huge"),
        pytest.param(b"just words", id="no mapping"),
    ],
)
def test_what_is_no_plan_is_one_clear_line(tmp_path: Path, text: bytes) -> None:
    assert len(faults(tmp_path, text)) == 1


def test_file_that_is_not_there_or_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nope.yaml", tmp_path):
        with pytest.raises(PlanError, match="cannot be read"):
            load(path)


@pytest.mark.parametrize("word", ["2.10", "0123456", "1e5", "off", "NO", "2026-01-02", "1_000", "0x1F", "1:30"])
def test_revision_stays_what_was_written(tmp_path: Path, word: str) -> None:
    plan, _ = load(
        write(
            tmp_path,
            GOOD.replace(
                "revision: v2, command: [python, -m, backend2", f"revision: {word}, command: [python, -m, backend2"
            ),
        )
    )
    assert plan.services[0].canary.name == word


def test_toml_says_the_same_and_refuses_a_number_as_a_revision(tmp_path: Path) -> None:
    text = """\
version = 1
platform = "shop"
[services.api]
health = {path = "/h"}
process = {ports = [18110, 18111]}
stable = {revision = "v1", command = ["a", "{port}"]}
canary = {revision = "v2", command = ["b", "{port}"]}
"""
    plan, _ = load(write(tmp_path, text, "release.toml"))
    assert [s.canary.name for s in plan.services] == ["v2"]
    told = faults(tmp_path, text.replace('revision = "v2"', "revision = 2.10"), "release.toml")
    assert told == ["release.toml: services.api.canary.revision: is not text: put it in quotes ('2.1')"]
    assert "release.toml:1:" in faults(tmp_path, "version = = 1\n", "release.toml")[0]


def test_plan_survives_the_journal(tmp_path: Path) -> None:
    for plan in (make_plan(), load(write(tmp_path, GOOD))[0]):
        assert decode(ReleasePlan, encode(plan)) == plan


def test_reading_a_journal_needs_neither_pydantic_nor_yaml() -> None:
    code = (
        "import onlyvips_release.state.journal, sys; print({'pydantic', 'yaml', 'httpx', 'pytest'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
