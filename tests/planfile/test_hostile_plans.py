"""Whatever a plan file holds ends as a plan or as one PlanError whose lines each name a place; never a traceback."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from onlyvips_release.errors import PlanError
from onlyvips_release.planfile import load

YAML = """\
version: 1
platform: shop
router: {listen: "127.0.0.1:18000"}
services:
  api:
    timeout: 10s
    health: {path: /h}
    process: {ports: [18110, 18111], env_from: [KEY]}
    stable: {revision: v1, command: [python, -m, app, "{port}"], env: {A: b}}
    canary: {revision: v2, command: [python, -m, app2, "{port}"]}
  web:
    host: "web.*"
    external: true
    stable: {revision: "41", url: "http://127.0.0.1:9001"}
    canary: {revision: "42", url: "http://127.0.0.1:9002"}
steps: [{weight: 10, bake: 5m}]
watch: 5m
checks:
  smoke: {deadline: 2m, deselect: false}
judge: {alpha: 0.01, slo: {errors: 0.05}}
"""
TOML = """\
version = 1
platform = "shop"
watch = "5m"
steps = [{weight = 10, bake = "5m"}]
router.listen = "127.0.0.1:18000"
checks.smoke = {deadline = "2m", deselect = false}
judge = {alpha = 0.01, slo = {errors = 0.05}}
[services.api]
timeout = "10s"
health = {path = "/h"}
process = {ports = [18110, 18111], env_from = ["KEY"]}
stable = {revision = "v1", command = ["python", "-m", "app", "{port}"], env = {A = "b"}}
canary = {revision = "v2", command = ["python", "-m", "app2", "{port}"]}
[services.web]
host = "web.*"
external = true
stable = {revision = "41", url = "http://127.0.0.1:9001"}
canary = {revision = "42", url = "http://127.0.0.1:9002"}
"""
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


def told(tmp_path: Path, text: str | bytes, name: str = "plan.yaml") -> list[str]:
    """The faults of a file, without its folder."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(PlanError) as caught:
        load(path)
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.lines()]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        pytest.param("plan.yaml", BOMB, "plan.yaml: holds more than 5000 values", id="alias bomb"),
        pytest.param("plan.yaml", "a: &a {<<: *a}", "plan.yaml:1:4: a: contains itself", id="merge of itself"),
        pytest.param("plan.yaml", "a: {<<: 1}", "plan.yaml:1:9: a: `<<` takes the keys", id="merge of a scalar"),
        pytest.param("plan.yaml", '"\\UFFFFFFFF": 1', "plan.yaml: is no YAML: ", id="escape beyond Unicode"),
        pytest.param("plan.yaml", 'a: "\\ud800"', "plan.yaml:1:4: a: holds half a character", id="surrogate"),
        pytest.param("plan.yaml", b"a: \x01\n", "plan.yaml:1:4: the control character #x01", id="control character"),
        pytest.param("plan.yaml", b"a: 1\nb: caf\xe9\n", "plan.yaml:2:7: cannot be read: is not UTF-8", id="latin 1"),
        pytest.param("plan.yaml", b"a:\n\t- b\n", "plan.yaml:2:1: a tab: indent with spaces", id="tab"),
        pytest.param("plan.yaml", "a: 1\n---\nb: 2\n", "plan.yaml:2:1: a second document", id="second document"),
        pytest.param("plan.yaml", "a: !!int 1", "plan.yaml:1:4: a: the tag '!!int' is not understood", id="tag"),
        pytest.param("plan.yaml", "# nothing\n", "plan.yaml: is empty", id="only a comment"),
        pytest.param("plan.toml", "a = " + "[" * 3000, "plan.toml: is nested too deeply", id="deep TOML"),
        pytest.param("plan.toml", "a = " + "1" * 5000, "plan.toml: is no TOML: ", id="endless number"),
        pytest.param("plan.toml", "a = 1\na = 2\n", "plan.toml:2:", id="TOML key twice"),
    ],
)
def test_what_is_no_plan_is_one_line_with_its_place(tmp_path: Path, name: str, text: str | bytes, line: str) -> None:
    lines = told(tmp_path, text, name)
    assert (len(lines), lines[0][: len(line)]) == (1, line)


@pytest.mark.parametrize("word", ["nope.yaml", ".", "fifo.yaml", "a\0b"])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, word: str) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(PlanError, match="cannot be read"):
        load(tmp_path / word)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        pytest.param("weight: 10", "weight: true", "16:18: steps.0.weight: give a whole number", id="true as weight"),
        pytest.param("weight: 10", "weight: 1_0", "16:18: steps.0.weight: give a whole number", id="1_0 as weight"),
        pytest.param("weight: 10", "weight: 10.5", "16:18: steps.0.weight: give a whole number", id="half a percent"),
        pytest.param("deselect: false", "deselect: off", "19:35: checks.smoke.deselect: give true", id="off"),
        pytest.param("watch: 5m", "watch: 1s1h", "17:8: watch: give a duration", id="units out of order"),
        pytest.param("watch: 5m", "watch: 99999999999h", "17:8: watch: give a duration", id="overflow"),
        pytest.param("watch: 5m", "watch: 9999999h", "17:8: watch: is longer than 31 days", id="centuries"),
        pytest.param("deadline: 2m", "deadline: 0s", "19:21: checks.smoke.deadline: must be longer", id="no time"),
        pytest.param("127.0.0.1:18000", "999.1.1.1:1", "3:18: router.listen: give an IPv4", id="no address"),
        pytest.param("  web:", '  "é":', "11:3: services.é: use lower-case letters", id="service name"),
        pytest.param('"41"', '"4\\n1"', "14:24: services.web.stable.revision: use letters", id="line end in a revision"),
        pytest.param("app2,", '"a\\0",', "10:50: services.api.canary.command.2: must not", id="zero byte"),
        pytest.param('"web.*"', '"a b"', "12:11: services.web.host: give a lower-case", id="host"),
        pytest.param(":9001", ":99999", "14:35: services.web.stable.url: 99999 is not a port", id="port of a url"),
        pytest.param("http://127", "http://me:pw@127", "14:35: services.web.stable.url: give http", id="user in a url"),
        pytest.param("[KEY]", "[KEY=hunter2]", "8:49: services.api.process.env_from.0: give the name", id="a secret"),
        pytest.param('app2, "{port}"', "app2, {port}", '10:56: services.api.canary.command.3: put it in quotes: "{port}"', id="port without quotes"),
        pytest.param("smoke: {", "smoke: {every: 1m, ", "19:11: checks.smoke.every: unknown key 'every'", id="smoke every"),
        pytest.param("revision: v2", "revision: v2, image: x", "10:28: services.api.canary.image: 'image' is not built yet", id="image"),
        pytest.param("revision: v2", "revision: v2, health: {path: /}", "10:28: services.api.canary.health: 'health' is not built yet", id="health of a revision"),
        pytest.param("weight: 10", "weight: 0.5", "16:18: steps.0.weight: give a whole number: tenths of a percent are not built yet for target embedded", id="tenths"),
        pytest.param("judge: {", "launch: {}\njudge: {", "20:1: launch: 'launch' is not built", id="not built"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_at_its_place_and_secrets_are_not_repeated(
    tmp_path: Path, old: str, new: str, line: str
) -> None:
    assert old in YAML
    lines = told(tmp_path, YAML.replace(old, new, 1))
    assert any(found.startswith(f"plan.yaml:{line}") for found in lines), lines
    assert not any("hunter2" in found or "pw" in found for found in lines)


def test_contradictions_spelling_and_double_keys_are_told_together(tmp_path: Path) -> None:
    text = YAML.replace("18111", "18110").replace('"42"', '"41"').replace("watch: 5m", "watch: 5\nwatch: 6m")
    assert told(tmp_path, text) == [
        "plan.yaml:8:22: services.api.process.ports: give two different ports: one for stable, one for the canary",
        "plan.yaml:15:24: services.web.canary.revision: '41' is also stable's: there is nothing to release",
        "plan.yaml:17:8: watch: give a duration such as 30s, 5m or 1h30m",
        "plan.yaml:18:1: 'watch' is given twice (first on line 17)",
    ]


def test_yaml_and_toml_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(YAML)
    (tmp_path / "a.toml").write_text(TOML)
    assert load(tmp_path / "a.yaml")[0] == load(tmp_path / "a.toml")[0]


def test_merged_keys_are_read_and_given_ones_win(tmp_path: Path) -> None:
    text = YAML.replace("env: {A: b}", "env: &env {A: b, C: d}").replace(
        'app2, "{port}"]', 'app2, "{port}"], env: {A: x, <<: *env}'
    )
    (tmp_path / "a.yaml").write_text(text)
    assert load(tmp_path / "a.yaml")[0].services[0].canary.env == {"A": "x", "C": "d"}


@pytest.mark.parametrize("seed", range(40))
def test_damaged_file_is_a_plan_or_a_plan_error(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for name, base in (("a.yaml", YAML), ("a.toml", TOML)):
        text = base
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(["&a ", "*a", "<<: ", "\t", '"', "{", "]", "~", "\n"]) + text[at + 2 :]
        (tmp_path / name).write_text(text)
        try:
            load(tmp_path / name)
        except PlanError as error:
            assert all("\n" not in line for line in error.lines())  # noqa: PT017 - a plan is as good an end


def test_importing_the_reader_does_not_import_pydantic() -> None:
    code = "import onlyvips_release.planfile, sys; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
