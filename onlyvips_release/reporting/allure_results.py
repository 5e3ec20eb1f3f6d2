"""Allure's results of a release: one of the decision, one of each check of each run.

A check that runs at several weights is a case of its own at each, or Allure would fold the runs into retries of one.
What varies from release to release (revision, id) is a parameter that is excluded from the history.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path

from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import Attachment, Label, Link, Parameter, StatusDetails, TestResult, TestStepResult

from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.chart import svg
from onlyvips_release.reporting.timeline import Check, Run, Story
from onlyvips_release.reporting.wording import clean

STATUS = {"failed": "failed", "not run": "broken", "skipped": "skipped", "xfailed": "skipped"}
DECIDED = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.INCONCLUSIVE: "broken"}
CHART = Attachment("course of the release", "chart-attachment.svg", "image/svg+xml")
DETAILS = Attachment("decision", "decision-attachment.json", "application/json")


def write_results(story: Story, folder: Path) -> None:
    """All results of a release, in place of those that were there."""
    writer = AllureFileLogger(folder, clean=True)
    for result in (decision(story), *(one(story, run, check) for run in story.runs for check in run.checks)):
        result.file_pattern = f"{result.uuid}-result.json"  # the same file when the release is drawn again
        writer.report_result(result)
    last, plan = story.release.outcome, story.release.plan
    metrics = list(last.metrics) if last else []
    details = {"decision": story.decision, "sentence": clean(story.sentence), "metrics": metrics}
    facts = {"platform": plan.platform, "target": plan.target, "release": story.release.id}
    facts |= {name: f"{story.release.old[name]} -> {new}" for name, new in story.release.new.items()}
    writer.report_attached_data(svg(story), CHART.source)
    writer.report_attached_data(json.dumps(details, indent=1), DETAILS.source)
    lines = (f"{name}={clean(value, 200)}\n" for name, value in facts.items())
    writer.report_attached_data("".join(lines), "environment.properties")


def decision(story: Story) -> TestResult:
    """The release itself: its steps are the weights, its message is the sentence."""
    case, name = f"release:{story.release.plan.platform}", f"Release decision: {story.decision}"
    made = start(story, case, name, DECIDED[story.verdict], 0.0, story.seconds, severity="blocker", feature="release")
    made.statusDetails = StatusDetails(message=clean(story.sentence))
    ends = [at for at, _ in story.weights[1:]] + [story.seconds]
    for (at, weight), end in zip(story.weights, ends, strict=True):
        made.steps.append(TestStepResult(name=f"{weight} % of users", status="passed", **times(story, at, end)))
    if made.steps and story.verdict is not Verdict.PASS:
        made.steps[max((n for n, (_, weight) in enumerate(story.weights) if weight), default=0)].status = "failed"
    ci = story.holder.get("ci", "")
    made.links = [Link("link", ci, "CI run")] if ci.startswith(("http://", "https://")) else []
    made.attachments = [CHART, DETAILS]
    return made


def one(story: Story, run: Run, check: Check) -> TestResult:
    """One check of one run."""
    stage, status = f"{run.suite} on {run.arm} at {run.weight}%", STATUS.get(check.outcome, "passed")
    groups = {"severity": check.severity, "stage": stage, "feature": run.suite, "story": check.node.partition("::")[0]}
    made = start(story, check.node, check.name, status, run.at - check.seconds, run.at, run.folder, **groups)
    made.parameters[:0] = [Parameter("traffic", f"{run.weight}%"), Parameter("arm", clean(run.arm))]
    if check.text:
        made.statusDetails = StatusDetails(message=clean(check.reason), trace=clean(check.text))
    return made


def start(
    story: Story, case: str, name: str, status: str, at: float, end: float, run: str = "", /, **groups: str
) -> TestResult:
    """What every result has. `case` and the group `stage` make its history; run and release only its own id."""
    platform, stage = story.release.plan.platform, groups.get("stage", "")
    revisions = ", ".join(f"{service} {new}" for service, new in story.release.new.items())
    varying = {"release": story.release.id, "revision": revisions}
    labels = {"parentSuite": platform, "framework": "onlyvips-release", **groups}
    return TestResult(
        uuid=str(uuid.UUID(digest(f"{platform} {story.release.id} {run} {stage} {case}"))),
        testCaseId=digest(f"{platform} {case}"),
        historyId=digest(f"{platform} {case} {stage}"),
        fullName=clean(case),
        name=clean(name, 300),
        status=status,
        stage="finished",
        parameters=[Parameter(key, clean(value, 300), excluded=True) for key, value in varying.items()],
        labels=[Label(key, clean(value, 300)) for key, value in labels.items()],
        **times(story, at, end),
    )


def times(story: Story, at: float, end: float) -> dict[str, int]:
    """Milliseconds since 1970, from seconds since the start."""
    zero = story.started.timestamp()
    return {"start": round(1000 * (zero + at)), "stop": round(1000 * (zero + end))}


def digest(text: str) -> str:
    """A name for a history."""
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
