"""What GitHub Actions shows of a release: step summary, annotations, outputs. Pure wording."""

from __future__ import annotations

from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.timeline import NO_REQUEST, Story, not_tested
from onlyvips_release.reporting.wording import clean, esc, failures_of, one_line

MOST = 900_000
"""Characters of a step summary: GitHub takes 1 MiB and drops what is larger."""
ANNOTATIONS = 10
"""Errors per step that GitHub shows."""
SLICES = 40
"""Points of the weight's curve: a Mermaid chart has evenly spaced ones."""


def step_summary(story: Story) -> str:
    """Markdown: the decision, what was counted, what failed, what was not tested, the course of the weight."""
    failed = [f"- **{cell(check.name)}** ({cell(run.title)}): {cell(check.reason)}" for run, check in story.failed]
    parts = [
        f"## {cell(story.decision)} ({story.verdict}) {cell(story.release.id)}",
        cell(story.sentence),
        "| Service | Stable | Canary | Canary failed | Stable failed |\n|---|---|---|---|---|",
        *(row(story, service) for service in story.release.new),
        "",
        curve(story),
        *(["### Failed checks", *failed] if failed else []),
        "### Not tested",
        *(f"- {cell(text)}" for text in not_tested(story)),
    ]
    text = "\n".join(parts) + "\n"
    return text if len(text) <= MOST else text[:MOST] + "\n\n… cut: the whole is in report.html\n"


def row(story: Story, service: str) -> str:
    """A service's revisions, and what was counted of either arm."""
    counts = story.last_counts.get(service, NO_REQUEST)
    revisions = f"| {cell(service)} | {cell(story.release.old[service])} | {cell(story.release.new[service])} "
    return f"{revisions}| {failures_of(*counts[:2])} | {failures_of(*counts[2:])} |"


def curve(story: Story) -> str:
    """The canary's weight over time."""
    times = (story.seconds * n / SLICES for n in range(SLICES + 1))
    values = (next((weight for when, weight in reversed(story.weights) if when <= at), 0) for at in times)
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
    for run, check in story.failed:
        file = of_property(f"{paths.get(run.suite, run.suite)}/{check.node.partition('::')[0]}")
        lines.append(f"::error file={file},title={of_property(check.name)}::{of_message(check.reason)}")
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
