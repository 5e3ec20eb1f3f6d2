"""`report.html`: one release in one file that can be mailed. No script, nothing from elsewhere, printable. Pure.

The decision first, then the picture, the checks (failed ones first), what was not tested, what changed, and the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from onlyvips_release.reporting.chart import svg
from onlyvips_release.reporting.timeline import Check, Run, Story, not_tested
from onlyvips_release.reporting.wording import clock, esc, failures_of, span

BUDGET = 5_000_000
"""Characters of failures' details in one report; checks after that only have their reason, `BRIEF` characters long."""
BRIEF = 120

MARKS = {"failed": "✗", "not run": "?", "skipped": "–", "xfailed": "–", "xpassed": "✓", "passed": "✓"}

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HEAD = (
    f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
    '<link rel="icon" href="data:,">'
)
STYLE = (Path(__file__).parent / "report.css").read_text().rstrip()


def page(title: str, body: str) -> str:
    """A whole document."""
    return (
        f'<!doctype html><html lang="en"><head>{HEAD}<title>{esc(title, 120)}</title><style>{STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def wide(label: str, content: str) -> str:
    """What scrolls sideways on a small screen, also by keyboard."""
    return f'<div class="wide" tabindex="0" role="group" aria-label="{label}">{content}</div>'


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """`columns`: title -> class of its cells, "name" = they name their row; `rows`: cells as HTML."""
    heads = "".join(f"<th scope='col'>{title}</th>" for title in columns)
    body = "".join(f"<tr>{''.join(map(cell, columns.values(), row))}</tr>" for row in rows)
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def cell(kind: str, text: str) -> str:
    """One cell of a table."""
    return f"<th scope='row'>{text}</th>" if kind == "name" else f"<td class='{kind}'>{text}</td>"


def report(story: Story, changed: Sequence[str] | None, files: Iterable[str]) -> str:
    """The page. `changed` None = there is no release before it; `files`: what lies beside it, relative."""
    release = story.release
    sections = (
        ("The picture", picture(story)),
        ("Checks", checks(story)),
        ("Not tested", items(not_tested(story), "Everything that the plan names was looked at.")),
        ("What changed since the last release's checks", changes(changed)),
        ("Timeline", timeline(story)),
        ("Revisions", revisions(story)),
        ("Approvals and requests", items(people(story), "Nobody intervened.")),
        ("Logs and files", logs(story, files)),
    )
    body = "".join(f"<section><h2>{title}</h2>{text}</section>" for title, text in sections)
    return page(f"{release.id} {story.decision}", f"<header>{decision(story)}</header><main>{body}</main>")


def decision(story: Story) -> str:
    """What was decided and why, before anything else."""
    release, finished = story.release, story.release.finished
    code = f"exit {finished.exit}" if finished else "no end yet"
    when = f"{story.started:%Y-%m-%d %H:%M:%S} UTC, {span(story.seconds)}"
    served = ", ".join(f"{name} {revision}" for name, revision in release.serving.items())
    facts = f"{release.id} of platform {release.plan.platform} · {story.verdict} · {code} · {when}"
    return (
        f'<div class="verdict {story.verdict}"><p class="soft">{esc(facts)}</p><h1>{esc(story.decision)}</h1>'
        f"<p>{esc(story.sentence)}</p><p>Users are on: {esc(served)}.</p></div>"
    )


def picture(story: Story) -> str:
    """The SVG, which scrolls on a small screen, and its numbers."""
    rows = [
        (esc(service), failures_of(*counts[:2]), failures_of(*counts[2:]))
        for service, counts in story.last_counts.items()
    ]
    caption = "<caption class='soft'>Failed requests of users</caption>"
    numbers = table({"Service": "name", "Canary": "", "Stable": ""}, rows, caption) if rows else ""
    after = " After the promotion the canary's line is the new stable's." if any(p.watch for p in story.points) else ""
    about = f'<p class="soft">The numbers on top are those of the timeline.{after}</p>'
    return wide("Course of the release", svg(story)) + numbers + about


# --- checks ---------------------------------------------------------------------------------------------------------


def checks(story: Story) -> str:
    """Runs with failures first, and in each the failed checks first."""
    if not story.runs:
        return "<p>No suite was run.</p>"
    counts = (f"{number:,} {outcome}" for outcome, number in story.outcomes.items() if number)
    left = [BUDGET]
    ordered = sorted(story.runs, key=lambda run: (not run.count("failed"), verdict(run) == "PASS"))
    line = ", ".join(counts) or "no check has a result"
    return f"<p>{line}, in {len(story.runs)} runs.</p>" + "".join(one_run(run, left) for run in ordered)


def verdict(run: Run) -> str:
    """Of one run; a run that was cut off has none."""
    return str(run.result.verdict) if run.result else "INCONCLUSIVE"


def one_run(run: Run, left: list[int]) -> str:
    """Open where something failed, else closed."""
    ended = f"{run.result.verdict} ({run.result.reason})" if run.result else "cut off by the end of the release"
    head = f'{esc(run.title)}: <span class="word {verdict(run)}">{esc(ended, 300)}</span>'
    retried = run.result.connection_retries if run.result else 0
    notes = [f"{retried} connections were made again"] * bool(retried) + [f"left behind: {w}" for w in run.left_behind]
    told = "".join(f'<p class="soft">{esc(note, 600)}</p>' for note in notes)
    rows = f'<ul class="checks">{"".join(one_check(check, left) for check in run.checks)}</ul>' if run.checks else ""
    if verdict(run) == "PASS" and not run.count("failed"):
        return f"<details><summary>{head}</summary>{told}{rows}</details>"
    return f"<h3>{head}</h3>{told}{rows}"


def one_check(check: Check, left: list[int]) -> str:
    """A line; a failed one opens, and shows what was expected, what came, requests and answers, and its own words."""
    mark = f'<span class="{esc(check.outcome)}">{MARKS[check.outcome]} {esc(check.outcome)}</span>'
    took = f'<span class="soft">{esc(check.severity)}, {span(check.seconds)}</span>' if check.seconds else ""
    line = f"{mark} {esc(check.name, 300)} {took}"
    if check.outcome != "failed":
        return f"<li>{line}</li>"
    if left[0] <= 0:
        return f"<li>{line}<br>{esc(check.reason, BRIEF)} (more in the suite's events.jsonl)</li>"
    facts = "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in check.facts.items())
    texts = "".join(f"<pre>{esc(text)}</pre>" for text in (*check.exchanges, check.text) if text)
    left[0] -= len(facts) + len(texts)
    shown = f"<p class='soft'>{esc(check.node)}</p>{f'<dl>{facts}</dl>' if facts else ''}{texts}"
    return f"<li><details><summary>{line}<br>{esc(check.reason, 300)}</summary>{shown}</details></li>"


# --- the rest -------------------------------------------------------------------------------------------------------


def changes(changed: Sequence[str] | None) -> str:
    """Against the release before."""
    if changed is None:
        return "<p>There is no release before this one to compare with.</p>"
    return items(changed, "Nothing: the same checks, with the same results.")


def items(texts: Sequence[str], none: str) -> str:
    """A list, or a sentence that says that it is empty."""
    if not texts:
        return f"<p>{esc(none)}</p>"
    return "<ul>" + "".join(f"<li>{esc(text, 600)}</li>" for text in texts) + "</ul>"


def timeline(story: Story) -> str:
    """Everything that happened but the samples."""
    rows = ((str(one.number or ""), clock(one.at), esc(one.text, 2000)) for one in story.moments)
    return table({"Line": "", "Time": "time", "What": "text"}, rows)


def revisions(story: Story) -> str:
    """From what to what, what serves now, and what proves the way back."""
    release = story.release
    columns = {"Service": "name", "Stable before": "", "Canary": "", "Serving now": "", "Way back": ""}
    rows = (
        (name, release.old[name], new, release.serving[name], story.way_back.get(name, "not proven"))
        for name, new in release.new.items()
    )
    return wide("Revisions", table(columns, (tuple(map(esc, row)) for row in rows)))


def people(story: Story) -> list[str]:
    """Who started it, and what people and signals asked for."""
    who = story.holder
    begun = f"started by {who.get('user', 'somebody')} on {who.get('host', 'an unknown host')}"
    begun += "".join(f", {key} {who[key]}" for key in ("ci", "commit") if who.get(key))
    return [begun, *(f"{clock(moment.at)} {moment.text}" for moment in story.moments if moment.person)]


def logs(story: Story, files: Iterable[str]) -> str:
    """Where to read on, and for which minutes."""
    minutes = f"{story.started:%Y-%m-%d %H:%M} to {story.ended:%H:%M} UTC"
    kept = "".join(f"<li>{esc(what)}: <code>{esc(path)}</code></li>" for path, what in story.logs.items())
    beside = "".join(f'<li><a href="{esc(name)}">{esc(name)}</a></li>' for name in files)
    where = f"<p>On the machine that ran the release, for {minutes}:</p><ul>{kept}</ul>" if kept else ""
    return f"{where}<p>Beside this page:</p><ul>{beside}</ul>"
