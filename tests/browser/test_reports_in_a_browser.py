"""A report as a reader meets it: in Chromium, from a file and a server, by keyboard, in light, dark and print."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.reporting.allure import PACKAGE, allure_html
from onlyvips_release.state.layout import Reports
from tests.testing.chrome import Chrome
from tests.testing.kept_releases import CASES, published

ROOT = Path(__file__).parents[2]
NODE = ROOT / ".node" / "node_modules"
AXE = NODE / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not (shutil.which("chromium") and AXE.exists()), reason="apt-get install chromium; make node"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Dropped."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    published(folder)
    return folder


@pytest.fixture(scope="module")
def server(reports: Path) -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(reports)))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}/"
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with Chrome() as made:
        yield made


PAGES = ["index.html", *(f"e2e/{name}/report.html" for name in CASES.values())]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("way", ["file", "server"])
def test_page_opens_without_error_and_without_another_request(
    chrome: Chrome, reports: Path, server: str, page: str, way: str
) -> None:
    url = (f"{reports.as_uri()}/" if way == "file" else server) + page
    chrome.look()
    chrome.open(url)
    assert chrome.run("document.readyState") == "complete"
    assert chrome.errors == []
    assert [address for address in chrome.requests if not address.startswith("data:")] == [url]
    assert chrome.run("document.querySelector('h1').innerText.length") > 3


def test_details_of_a_failed_check_open_by_keyboard(chrome: Chrome, reports: Path) -> None:
    chrome.look()
    chrome.open(f"{reports.as_uri()}/e2e/r0003/report.html")
    failed = "document.querySelector('.checks .failed').closest('details')"
    assert chrome.run(f"{failed}.open") is False
    for _ in range(20):
        chrome.press("Tab")
        if chrome.run(f"document.activeElement === {failed}.querySelector('summary')"):
            break
    else:
        pytest.fail("twenty times Tab does not lead to the failed check")
    chrome.press("Enter")
    assert chrome.run(f"{failed}.open") is True
    assert chrome.run(f"{failed}.querySelector('pre').getBoundingClientRect().height") > 20
    chrome.press("Space")
    assert chrome.run(f"{failed}.open") is False


def test_print_shows_what_is_folded(chrome: Chrome, reports: Path) -> None:
    chrome.look(medium="print", width=800)
    chrome.open(f"{reports.as_uri()}/e2e/r0003/report.html")
    pre = "document.querySelector('.checks details pre')"
    assert chrome.run(f"{pre}.checkVisibility({{contentVisibilityAuto: true}})") is True
    assert chrome.run(f"{pre}.getBoundingClientRect().height") > 20


@pytest.mark.parametrize(
    ("page", "dark", "width"),
    [
        ("index.html", True, 390),
        ("e2e/r0001/report.html", True, 1280),
        ("e2e/r0003/report.html", False, 1280),
        ("e2e/r0003/report.html", True, 390),
    ],
)
def test_contrast_labels_and_width_are_right(chrome: Chrome, reports: Path, page: str, dark: bool, width: int) -> None:
    chrome.look(dark=dark, width=width)
    chrome.open(f"{reports.as_uri()}/{page}")
    chrome.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    background = chrome.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
    assert chrome.run("document.documentElement.scrollWidth - window.innerWidth") <= 0
    chrome.run(AXE.read_text() + ";0")
    found = chrome.run(
        "axe.run().then(r => ({passes: r.passes.map(p => p.id), violations: r.violations.map("
        "v => [v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + ' ' + n.failureSummary)])}))"
    )
    assert found["violations"] == []
    assert {"color-contrast", "html-has-lang", "document-title"} <= set(found["passes"])


def test_allure_has_the_history_of_the_decision_and_calls_nobody(chrome: Chrome, tmp_path: Path) -> None:
    assert PACKAGE in (ROOT / "Makefile").read_text()
    published(tmp_path)
    env = {**os.environ, "PATH": f"{NODE / '.bin'}:{os.environ['PATH']}"}
    for name in ("r0001", "r0003"):
        page = tmp_path / "e2e" / name / "allure" / "index.html"
        assert allure_html(Reports(tmp_path, "e2e"), name, env) == f"Allure HTML: {page}"
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == 2
    decision = '"fullName":"release:e2e"'
    assert all(decision in line for line in lines)
    chrome.look()
    chrome.open(page.as_uri())
    assert [address for address in chrome.requests if not address.startswith(("data:", "blob:"))] == [page.as_uri()]
    text = chrome.run("new Promise(done => setTimeout(() => done(document.body.innerText), 1500))")
    assert "Release r0003" in text
