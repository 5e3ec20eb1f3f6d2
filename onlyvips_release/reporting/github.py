"""What GitHub Actions shows of a release: step summary, annotations, outputs. Pure wording."""

from __future__ import annotations

from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.markup import render
from onlyvips_release.reporting.timeline import Story, not_tested
from onlyvips_release.reporting.wording import clean, one_line

MOST = 900_000
"""Characters of a step summary: GitHub takes 1 MiB and drops what is larger."""
ANNOTATIONS = 10
"""Errors per step that GitHub shows."""
SLICES = 40
"""Of the weight's curve: its points are evenly spaced, as a Mermaid chart draws them."""


def step_summary(story: Story) -> str:
    """Markdown: the decision, what was counted, what failed, what was not tested, the course of the weight."""
    times = (story.seconds * n / SLICES for n in range(SLICES + 1))
    curve = [next((weight for when, weight in reversed(story.weights) if when <= at), 0) for at in times]
    text = render("summary.md", story=story, curve=curve, not_tested=not_tested(story))
    return text if len(text) <= MOST else text[:MOST] + "\n\n… cut: the whole is in report.html\n"


def notices(story: Story) -> list[str]:
    """Workflow commands: the decision if it is not a promotion, then the first failed checks."""
    if story.verdict is Verdict.PASS:
        return []
    lines = [f"::error title={of_property(f'{story.release.id} {story.decision}')}::{of_message(story.sentence)}"]
    paths = {"smoke": story.release.plan.smoke.path, "canary": story.release.plan.canary.path}
    for run, check in story.failed:
        file = of_property(f"{paths.get(run.suite, run.suite)}/{check.node.partition('::')[0]}")
        lines.append(f"::error file={file},title={of_property(check.name)}::{of_message(check.reason)}")
    return lines[:ANNOTATIONS]


def outputs(story: Story, report: str) -> str:
    """Lines for `$GITHUB_OUTPUT`."""
    values = {"verdict": str(story.verdict), "release": story.release.id, "report": report}
    return "".join(f"{name}={clean(value, 1000)}\n" for name, value in values.items())


def of_message(text: object) -> str:
    """As workflow commands want their message."""
    return one_line(text).replace("%", "%25")


def of_property(text: object) -> str:
    """As workflow commands want a property."""
    return of_message(text).replace(":", "%3A").replace(",", "%2C")
