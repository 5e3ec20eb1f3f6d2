"""Allure's page of a release, where Node and Allure are there. It never decides."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from onlyvips_release.reporting.wording import clean
from onlyvips_release.state.layout import Reports

PACKAGE = "allure@3.18.0"
WITHIN = 120.0
"""Seconds that Allure may take."""

SETTINGS = Path(__file__).parent / "allurerc.json"
"""One page, grouped by stage, with its history across releases; kinds of failures by their message."""

ANALYTICS = re.compile(
    r"\s*<script[^>]*googletagmanager\.com/gtag[^>]*></script>\s*<script>\s*window\.dataLayer.*?</script>", re.S
)


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
