"""What GitHub Actions shows of a release: step summary, annotations, outputs. Pure wording."""

from __future__ import annotations

from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.timeline import Story, not_tested
from onlyvips_release.reporting.wording import clean, esc, one_line, percent

MOST = 900_000
"""Characters of a step summary: GitHub takes 1 MiB and drops what is larger."""
ANNOTATIONS = 10
"""Errors per step that GitHub shows."""
SLICES = 40
"""Points of the weight's curve: a Mermaid chart has evenly spaced ones."""


def step_summary(story: Story) -> str:
    """Markdown: the decision, what was counted, what failed, what was not tested, the course of the weight."""
    failed = [(run, check) for run in story.runs for check in run.checks if check.outcome == "failed"]
    last = next((one.counts for one in reversed(story.points) if not one.watch), {})
    parts = [
        f"## {cell(story.decision)} ({story.verdict}) {cell(story.release.id)}",
        cell(story.sentence),
        "| Service | Stable | Canary | Canary failed | Stable failed |\n|---|---|---|---|---|",
        *(
            f"| {cell(name)} | {cell(story.release.old[name])} | {cell(new)} | {failures_of(last.get(name), 0)} "
            f"| {failures_of(last.get(name), 2)} |"
            for name, new in story.release.new.items()
        ),
        "",
        curve(story),
        *(
            ["### Failed checks", *(f"- **{cell(c.name)}** ({cell(r.title)}): {cell(c.reason)}" for r, c in failed)]
            if failed
            else []
        ),
        "### Not tested",
        *(f"- {cell(text)}" for text in not_tested(story)),
    ]
    text = "\n".join(parts) + "\n"
    return text if len(text) <= MOST else text[:MOST] + "\n\n… cut: the whole is in report.html\n"


def failures_of(counts: tuple[int, int, int, int] | None, first: int) -> str:
    """`41 of 980 (4.2 %)`."""
    if counts is None or not counts[first + 1]:
        return "no requests"
    return f"{counts[first]:,} of {counts[first + 1]:,} ({percent(counts[first] / counts[first + 1])})"


def curve(story: Story) -> str:
    """The canary's weight over time."""
    values = []
    for n in range(SLICES + 1):
        at = story.seconds * n / SLICES
        values.append(next((weight for when, weight in reversed(story.weights) if when <= at), 0))
    numbers = ", ".join(map(str, values))
    return (
        "```mermaid\nxychart-beta\n"
        f'    title "canary weight over {story.seconds:.0f} s"\n    y-axis "percent of users" 0 --> 100\n'
        f"    line [{numbers}]\n```"
    )


def notices(story: Story) -> list[str]:
    """Workflow commands: the decision if it is not a promotion, then the first failed checks."""
    if story.verdict is Verdict.PASS:
        return []
    lines = [f"::error title={of_property(f'{story.release.id} {story.decision}')}::{of_message(story.sentence)}"]
    paths = {"smoke": story.release.plan.smoke.path, "canary": story.release.plan.canary.path}
    for run in story.runs:
        for check in run.checks:
            if check.outcome == "failed":
                file = f"{paths.get(run.suite, run.suite)}/{check.node.partition('::')[0]}"
                lines.append(
                    f"::error file={of_property(file)},title={of_property(check.name)}::{of_message(check.reason)}"
                )
    return lines[:ANNOTATIONS]


def outputs(story: Story, report: str) -> str:
    """Lines for `$GITHUB_OUTPUT`."""
    values = {"verdict": str(story.verdict), "release": story.release.id, "report": report}
    return "".join(f"{name}={clean(value, 1000)}\n" for name, value in values.items())


def cell(text: object) -> str:
    """One line of Markdown that is only text."""
    flat = " ".join(esc(text, 2000).split())
    for sign in "\\`*_[]|":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def of_message(text: object) -> str:
    """As workflow commands want their message."""
    return one_line(text).replace("%", "%25")


def of_property(text: object) -> str:
    """As workflow commands want a property."""
    return of_message(text).replace(":", "%3A").replace(",", "%2C")
