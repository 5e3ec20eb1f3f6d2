"""`doctor` prints findings; what they are is tested on a platform that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from onlyvips_release.cli import doctor
from onlyvips_release.cli.app import main
from onlyvips_release.core.target import Finding

OK, NOTE = Finding("Python", "ok", "3.11"), Finding("Node", "note", "not here")
PROBLEM = Finding("router", "problem", "does not run", "onlyvips-release up PLAN")


@pytest.mark.parametrize(("findings", "code"), [((OK, NOTE), 0), ((OK, PROBLEM, NOTE), 6)], ids=["ready", "problem"])
def test_doctor_prints_every_finding_and_exits_6_with_a_problem(
    findings: tuple[Finding, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(*_: object) -> Iterator[Finding]:
        yield from findings

    monkeypatch.setattr(doctor, "examine", examine)
    done = CliRunner().invoke(main, ["doctor", "release.yaml"])
    assert done.exit_code == code
    assert [line.split()[0] for line in done.output.splitlines() if "how to fix" not in line] == [
        finding.state for finding in findings
    ]
    assert ("how to fix: onlyvips-release up PLAN" in done.output) == (code == 6)
    rows = json.loads(CliRunner().invoke(main, ["doctor", "release.yaml", "--json"]).output)
    assert [(row["name"], row["fix"]) for row in rows] == [(finding.name, finding.fix) for finding in findings]
