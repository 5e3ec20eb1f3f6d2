"""Allure: results of a release (the decision is one of them) and, where Node is there, its HTML. It never decides.

A check that runs at several weights is a case of its own at each, or Allure would fold the runs into retries of one.
What varies from release to release (revision, id) is a parameter that is excluded from the history.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.chart import svg
from onlyvips_release.reporting.timeline import Check, Run, Story
from onlyvips_release.reporting.wording import clean
from onlyvips_release.state.layout import Reports

PACKAGE = "allure@3.18.0"
WITHIN = 120.0
"""Seconds that Allure may take."""

STATUS = {"failed": "failed", "not run": "broken", "skipped": "skipped", "xfailed": "skipped"}
DECIDED = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.INCONCLUSIVE: "broken"}
SETTINGS = Path(__file__).parent / "allurerc.json"
"""One page, grouped by stage, with its history across releases; kinds of failures by their message."""

ANALYTICS = re.compile(
    r"\s*<script[^>]*googletagmanager\.com/gtag[^>]*></script>\s*<script>\s*window\.dataLayer.*?</script>", re.S
)


# --- results --------------------------------------------------------------------------------------------------------


def write_results(story: Story, folder: Path) -> None:
    """All results of a release, in place of those that were there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = [decision(story), *(one(story, run, check) for run in story.runs for check in run.checks)]
    for result in found:
        (folder / f"{result['uuid']}-result.json").write_text(json.dumps(result))
    (folder / "chart-attachment.svg").write_text(svg(story))
    last = story.release.outcome
    metrics = list(last.metrics) if last else []
    told = {"decision": story.decision, "sentence": clean(story.sentence), "metrics": metrics}
    (folder / "decision-attachment.json").write_text(json.dumps(told, indent=1))
    plan = story.release.plan
    facts = {"platform": plan.platform, "target": plan.target, "release": story.release.id}
    facts |= {name: f"{story.release.old[name]} -> {new}" for name, new in story.release.new.items()}
    (folder / "environment.properties").write_text("".join(f"{k}={clean(v, 200)}\n" for k, v in facts.items()))


def decision(story: Story) -> dict[str, Any]:
    """The release itself: its steps are the weights, its message is the sentence."""
    name = f"release:{story.release.plan.platform}"
    ends = [at for at, _ in story.weights[1:]] + [story.seconds]
    steps = [
        {"name": f"{weight} % of users", "status": "passed", **times(story, at, end)}
        for (at, weight), end in zip(story.weights, ends, strict=True)
    ]
    if steps and story.verdict is not Verdict.PASS:
        steps[next((n for n, (_, weight) in reversed([*enumerate(story.weights)]) if weight), 0)]["status"] = "failed"
    ci = story.holder.get("ci", "")
    attachments = [
        {"name": "course of the release", "type": "image/svg+xml", "source": "chart-attachment.svg"},
        {"name": "decision", "type": "application/json", "source": "decision-attachment.json"},
    ]
    return {
        **result(story, name, f"Release decision: {story.decision}", DECIDED[story.verdict], 0.0, story.seconds),
        "statusDetails": {"message": clean(story.sentence)},
        "steps": steps,
        "links": [{"type": "link", "name": "CI run", "url": ci}] if ci.startswith(("http://", "https://")) else [],
        "attachments": attachments,
        "labels": labels(story, severity="blocker", feature="release"),
    }


def one(story: Story, run: Run, check: Check) -> dict[str, Any]:
    """One check of one run."""
    stage = f"{run.suite} on {run.arm} at {run.weight}%"
    status = STATUS.get(check.outcome, "passed")
    made = result(story, check.node, check.name, status, run.at - check.seconds, run.at, stage, run.folder)
    traffic = [{"name": "traffic", "value": f"{run.weight}%"}, {"name": "arm", "value": run.arm}]
    path = check.node.partition("::")[0]
    return {
        **made,
        "statusDetails": {"message": clean(check.reason), "trace": clean(check.text)} if check.text else {},
        "parameters": [*traffic, *made["parameters"]],
        "labels": labels(story, severity=check.severity, stage=stage, feature=run.suite, story=path),
    }


def result(
    story: Story, case: str, name: str, status: str, at: float, end: float, stage: str = "", run: str = ""
) -> dict[str, Any]:
    """What every result has. `case` and `stage` make its history; run and release only its own id."""
    platform = story.release.plan.platform
    revisions = ", ".join(f"{service} {new}" for service, new in story.release.new.items())
    return {
        "uuid": str(uuid.UUID(digest(f"{platform} {story.release.id} {run} {stage} {case}"))),
        "testCaseId": digest(f"{platform} {case}"),
        "historyId": digest(f"{platform} {case} {stage}"),
        "fullName": clean(case),
        "name": clean(name, 300),
        "status": status,
        "stage": "finished",
        **times(story, at, end),
        "parameters": [
            {"name": "release", "value": story.release.id, "excluded": True},
            {"name": "revision", "value": clean(revisions, 300), "excluded": True},
        ],
    }


def times(story: Story, at: float, end: float) -> dict[str, int]:
    """Milliseconds since 1970, from seconds since the start."""
    zero = story.started.timestamp()
    return {"start": round(1000 * (zero + at)), "stop": round(1000 * (zero + end))}


def labels(story: Story, /, **more: str) -> list[dict[str, str]]:
    """The labels that group a result."""
    values = {"parentSuite": story.release.plan.platform, "framework": "onlyvips-release", **more}
    return [{"name": name, "value": clean(value, 300)} for name, value in values.items()]


def digest(text: str) -> str:
    """A name for a history."""
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


# --- HTML -----------------------------------------------------------------------------------------------------------


def command(env: Mapping[str, str]) -> list[str]:
    """How Allure is called here, [] = it is not there. Nothing is fetched: npx may only use what it has kept."""
    path = env.get("PATH")
    if found := shutil.which("allure", path=path):
        return [found]
    npx = shutil.which("npx", path=path)
    offline = [npx, "--offline", "--yes", PACKAGE] if npx else []
    return offline if offline and call([*offline, "--version"], env, Path.cwd()) == "" else []


def allure_html(reports: Reports, release: str, env: Mapping[str, str]) -> str:
    """Write Allure's page of a release, if Node is there; where it is or why it is not, for people."""
    folder, history = reports.release(release), reports.history
    said = "Allure HTML left out: "
    if not shutil.which("node", path=env.get("PATH")):
        return f"{said}no Node (18 or newer) on this machine; report.html has everything"
    if not (allure := command(env)):
        return f"{said}not installed; once and on line: npx --yes {PACKAGE} --version"
    forget(history, title(folder))
    config = folder / "allurerc.json"
    settings = {**json.loads(SETTINGS.read_text()), "name": title(folder), "historyPath": str(history)}
    config.write_text(json.dumps(settings))
    out = folder / "allure"
    shutil.rmtree(out, ignore_errors=True)
    words = [*allure, "generate", str(folder / "allure-results"), "--config", str(config), "--output", str(out)]
    trouble = call(words, env, folder)
    config.unlink()
    pages = [*out.rglob("*.html")]
    if trouble or not pages:
        shutil.rmtree(out, ignore_errors=True)
        return f"{said}{trouble or 'it wrote no page'}"
    for page in pages:
        text = ANALYTICS.sub("", page.read_text())
        if "googletagmanager" in text:
            shutil.rmtree(out, ignore_errors=True)
            return f"{said}this version calls Google Analytics in a way that could not be taken out"
        page.write_text(text)
    return f"Allure HTML: {out / 'index.html'}"


def title(folder: Path) -> str:
    """The name of a release in the history of all platforms."""
    return f"Release {folder.name} of {folder.parent.name}"


def forget(history: Path, name: str) -> None:
    """A release that is drawn again is not two releases."""
    if history.exists():
        lines = history.read_text().splitlines(keepends=True)
        history.write_text("".join(line for line in lines if json.loads(line).get("name") != name))


def call(words: list[str], env: Mapping[str, str], folder: Path) -> str:
    """Run it; "" = it went well, else why not. Node finds what it needs in a few variables, and gets no secrets."""
    kept = {name: env[name] for name in ("PATH", "HOME", "npm_config_cache", "TMPDIR") if name in env}
    try:
        done = subprocess.run(words, env=kept, cwd=folder, capture_output=True, text=True, timeout=WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return clean(f"{Path(words[0]).name}: {error}", 300)
    last = (done.stderr or done.stdout).strip().splitlines()[-1:]
    return "" if done.returncode == 0 else clean(f"exit {done.returncode}: {''.join(last)}", 300)
