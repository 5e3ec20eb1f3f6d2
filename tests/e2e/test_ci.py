"""The workflow templates' shell lines, run as the CI systems run them; and what `run` gives to a CI system."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from onlyvips_release.core.events import Requested
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.requests import RequestFile
from tests.testing.platform_rig import ROOT, Rig

pytestmark = pytest.mark.slow
QUICK: dict[str, Any] = {
    "steps": [{"weight": 50, "bake": "2s"}],
    "patience": "0s",
    "watch": "1s",
    "judge": {"tick": "500ms"},
    "accept": "no_evidence_of_harm",
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(("miniapp",)) as made:
        del made.env["ONLYVIPS_REPORTS"]
        made.up()
        made.load(60)
        yield made


def shell(rig: Rig, lines: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """These lines in one bash, that ends at the first that fails; output and errors together, as a CI log."""
    script = rig.folder / "step.sh"
    script.write_text("\n".join(lines) + "\n")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    return subprocess.run(
        command,
        cwd=rig.folder,
        env=rig.env | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def test_github_workflow_shows_what_happened_and_an_old_wish_is_not_obeyed(rig: Rig) -> None:
    rig.write(rig.plan("v2", **QUICK))
    RequestFile(Layout(rig.state, "e2e").request).ask(Requested("abort", "who came too late"))
    workflow = yaml.safe_load((ROOT / "docs" / "ci" / "github.yml").read_text())
    env = {"GITHUB_ACTIONS": "true"}
    env |= {name: str(rig.folder / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    told = ""
    for step in workflow["jobs"]["release"]["steps"]:
        if "run" in step:
            done = shell(rig, [step["run"]], **env)
            assert done.returncode == 0, done.stdout
            told += done.stdout
    rig.stable = "v2"
    assert "::group::release\n" in told
    assert "::endgroup::\n" in told
    assert "::error" not in told
    assert "\x1b" not in told
    assert told.rstrip().endswith("nothing is unfinished")
    summary = Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert summary.startswith("## Promoted (PASS) r0002\n")
    assert "xychart-beta" in summary
    outputs = dict(line.split("=") for line in Path(env["GITHUB_OUTPUT"]).read_text().splitlines())
    assert outputs["verdict"] == "PASS"
    assert (rig.folder / outputs["report"]).read_text().count("<h1>Promoted</h1>") == 1


def test_gitlab_job_that_rolls_back_is_red_and_leaves_a_report_and_junit(rig: Rig) -> None:
    rig.write(rig.plan("v3", **QUICK, checks={"smoke": {"path": "nothing"}}))
    job = yaml.safe_load((ROOT / "docs" / "ci" / "gitlab.yml").read_text())["release"]
    done = shell(rig, job["script"])
    assert done.returncode == 3, done.stdout
    assert shell(rig, job["after_script"]).stdout == "nothing is unfinished\n"
    found = sorted(rig.folder.glob(job["artifacts"]["reports"]["junit"]))
    assert [path.parent.name for path in found] == ["r0001", "r0002", "r0003"]
    failures = [ET.parse(path).getroot().find("testsuite/testcase/failure") for path in found]
    assert failures[:2] == [None, None]
    assert failures[2] is not None
    assert failures[2].get("message", "").startswith("ROLLED BACK: smoke tests on the canary")


def test_timeout_takes_users_back_and_every_event_is_in_the_stream(rig: Rig) -> None:
    plan = rig.write(rig.plan("v4", **{**QUICK, "steps": [{"weight": 10, "bake": "5m"}]}))
    stream, notices = rig.folder / "events.jsonl", {"GITHUB_ACTIONS": "true"}
    words = ["onlyvips-release", "run", str(plan), "--json", "--timeout", "3s", "--events", str(stream)]
    done = subprocess.run(
        words, cwd=rig.folder, env=rig.env | notices, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert "aborted by --timeout of 3 s" in found["sentence"]
    assert "::error title=r0004 Rolled back::" in done.stderr
    seen = [json.loads(line) for line in stream.read_text().splitlines()]
    journal = rig.state / "e2e" / "releases" / "r0004" / "journal.jsonl"
    kept = [json.loads(line)["event"] for line in journal.read_text().splitlines()]
    assert [event["event"] for event in seen] == kept
    assert seen[-1]["sentence"] == found["sentence"]
    assert {"t", "phase"} <= set(seen[0])
