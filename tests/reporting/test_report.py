"""What a reader must find in a report, and in which order; and that no text from outside can do harm."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from onlyvips_release.errors import Refused
from onlyvips_release.reporting import github
from onlyvips_release.reporting.allure import allure_html, forget
from onlyvips_release.reporting.chart import intervals
from onlyvips_release.reporting.folder import find, publish, read
from onlyvips_release.reporting.summary import Summary, schema
from onlyvips_release.reporting.timeline import Story
from onlyvips_release.state.layout import Reports
from tests.testing.kept_releases import CASES, RELEASES, changed, published, suite

DECISIONS = {
    "promoted": "Promoted",
    "rolled-back-by-errors": "Rolled back",
    "rolled-back-by-a-check": "Rolled back",
    "crashed": "Not finished",
    "undecided": "Undecided, rolled back",
}
UNTESTED = {
    "promoted": ("flirt-bot: takes no user traffic", "backend-api: cpu was not judged"),
    "rolled-back-by-errors": ("the step at 50 %: never reached", "the watch after promotion: never reached"),
    "rolled-back-by-a-check": ("the step at 50 %: never reached", "(not run)"),
    "crashed": ("the watch after promotion: never reached",),
    "undecided": ("flirt-bot: takes no user traffic", "the watch after promotion: never reached"),
}


class Page(HTMLParser):
    """Elements and visible text of a document, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs).get("class") or ""))
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        assert not any(name.startswith("on") for name, _ in attrs), attrs

    def handle_data(self, data: str) -> None:
        self.seen.append(("", data))

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(data for tag, data in self.seen if not tag)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("reports")
    published(folder)
    yield folder / "e2e"
    shutil.rmtree(folder)


def html(reports: Path, case: str) -> str:
    """The report of a case."""
    return (reports / CASES[case] / "report.html").read_text()


def section(text: str, title: str) -> str:
    """One section of a report."""
    found = re.search(rf"<section><h2>{re.escape(title)}.*?</section>", text, re.S)
    assert found, title
    return found[0]


@pytest.mark.parametrize("case", CASES)
def test_decision_and_its_sentence_come_first(reports: Path, case: str) -> None:
    text = html(reports, case)
    (heading,) = re.findall(r"<h1>(.*?)</h1>", text)
    assert heading == DECISIONS[case]
    summary = json.loads((reports / CASES[case] / "summary.json").read_text())
    head = Page(text[text.index("<body>") : text.index("<main>")]).text
    assert (summary["sentence"] or "the record ends in BAKING".capitalize())[
        :60
    ] in head or "record ends in BAKING" in head
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[:4] == ["The picture", "Checks", "Not tested", "What changed since the last release's checks"]


@pytest.mark.parametrize("case", CASES)
def test_failed_checks_stand_before_those_that_passed(reports: Path, case: str) -> None:
    classes = [kind for tag, kind in Page(section(html(reports, case), "Checks")).seen if tag == "span"]
    failed = [n for n, kind in enumerate(classes) if kind == "failed"]
    passed = [n for n, kind in enumerate(classes) if kind == "passed"]
    assert passed
    assert bool(failed) == (case == "rolled-back-by-a-check")
    assert not failed or max(failed) < min(passed)


def test_worst_check_of_a_run_stands_first_whatever_the_order_of_its_events(tmp_path: Path) -> None:
    published(tmp_path, "promoted")
    folder = tmp_path / "e2e" / "r0001"
    shutil.rmtree(folder / "suites")
    outcomes = ("passed", "skipped", "failed", "passed", "failed")
    suite(folder, "7-smoke-canary-0", [{"node": f"t.py::{n}", "outcome": o} for n, o in enumerate(outcomes)])
    publish(folder / "journal.jsonl", Reports(tmp_path, "e2e"))
    told = Page(section((folder / "report.html").read_text(), "Checks")).seen
    seen = [kind for tag, kind in told if tag == "span" and kind in outcomes]
    assert seen == ["failed", "failed", "skipped", "passed", "passed"]


@pytest.mark.parametrize("case", CASES)
def test_what_was_not_tested_is_said(reports: Path, case: str) -> None:
    told = Page(section(html(reports, case), "Not tested")).text
    for expected in UNTESTED[case]:
        assert expected in told


@pytest.mark.parametrize("case", CASES)
def test_page_needs_nothing_from_elsewhere_and_no_script(reports: Path, case: str) -> None:
    text = html(reports, case)
    page = Page(text)
    assert {tag for tag, _ in page.seen} & {"script", "iframe", "object", "embed", "img", "form"} == set()
    assert all(not re.match(r"[a-z]+:|//", address) or address == "data:," for address in page.addresses)
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text
    for address in page.addresses:
        assert address == "data:," or (reports / CASES[case] / address).exists(), address


def test_numbers_of_the_picture_are_those_that_the_judge_decided_by(reports: Path) -> None:
    text = html(reports, "rolled-back-by-errors")
    sentence = re.search(r"\((\d+) of (\d+)\) of canary requests failed", text)
    assert sentence
    assert f"{sentence[1]} of {sentence[2]} (" in Page(section(text, "The picture")).text
    last = (reports / CASES["rolled-back-by-errors"] / "samples.csv").read_text().splitlines()
    assert any(f",backend-api,{sentence[1]},{sentence[2]}," in line for line in last)


def test_failed_check_shows_its_words_and_where_it_stands(reports: Path) -> None:
    told = section(html(reports, "rolled-back-by-a-check"), "Checks")
    assert "The content list has the same fields of the same types on both arms" in told
    assert "<dt>got</dt><dd>assert " in told
    assert "<pre>GET http://127.0.0.1:" in told
    assert "x-onlyvips-arm: canary" in told
    assert re.search(r"<details><summary>.*failed.*</summary>.*<pre>", told, re.S)


def test_details_of_a_check_are_told_apart(tmp_path: Path) -> None:
    published(tmp_path, "promoted")
    folder = tmp_path / "e2e" / "r0001"
    detail = {
        "expected": "HTTP 200",
        "got": "HTTP 500",
        "limit": "",
        "logs": "backend-api: log/x",
        "spoken": [{"request": "GET /a", "response": "HTTP 500 <b>"}],
    }
    one = {"node": "t.py::test_a", "outcome": "failed", "title": "It answers", "text": "E  no", "detail": detail}
    suite(folder, "7-smoke-canary-0", [one])
    publish(folder / "journal.jsonl", Reports(tmp_path, "e2e"))
    told = section((folder / "report.html").read_text(), "Checks")
    assert "<dt>expected</dt><dd>HTTP 200</dd><dt>got</dt><dd>HTTP 500</dd><dt>logs</dt>" in told
    assert "<dt>limit</dt>" not in told
    assert "<pre>GET /a\nHTTP 500 &lt;b&gt;</pre>" in told
    assert "It answers" in told


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"k": "not_tested", "needs": {"a bot": ["test_b", "test_c"]}}, "needs a bot: test_b, test_c"),
        ({"k": "deselected", "ids": ["t.py::test_d"]}, "t.py::test_d (deselected)"),
        ({"k": "lost", "ids": ["t.py::test_e"]}, "t.py::test_e (removed from the run, not deselected)"),
        ({"k": "collect_error", "node": "t.py", "text": "no module x"}, "t.py (cannot be collected: no module x)"),
        ({"k": "collected", "ids": ["t.py::test_a", "t.py::test_never"]}, "never (not run)"),
        ({"k": "report", "node": "t.py::test_s", "when": "setup", "outcome": "skipped"}, "s (skipped)"),
        ({"k": "report", "node": "t.py::x", "when": "call", "outcome": "skipped", "wasxfail": True}, "(xfailed)"),
    ],
    ids=lambda value: value["k"] if isinstance(value, dict) else "",
)
def test_what_a_suite_left_out_is_not_tested(tmp_path: Path, event: dict[str, object], told: str) -> None:
    published(tmp_path, "promoted")
    folder = tmp_path / "e2e" / "r0001"
    suite(folder, "7-smoke-canary-0", [{"node": "t.py::test_a", "outcome": "passed"}], event)
    publish(folder / "journal.jsonl", Reports(tmp_path, "e2e"))
    assert told in Page(section((folder / "report.html").read_text(), "Not tested")).text


def test_run_that_was_cut_off_is_named(tmp_path: Path) -> None:
    published(tmp_path, "promoted")
    suite(tmp_path / "e2e" / "r0001", "9-canary-canary-50", [{"node": "t.py::test_a", "outcome": "passed"}])
    publish(tmp_path / "e2e" / "r0001" / "journal.jsonl", Reports(tmp_path, "e2e"))
    assert "canary suite on canary at 50 %: cut off" in (tmp_path / "e2e" / "r0001" / "report.html").read_text()


def test_changes_since_the_release_before_are_named(tmp_path: Path) -> None:
    published(tmp_path, "promoted", "rolled-back-by-errors")
    before, now = tmp_path / "e2e" / "r0001", tmp_path / "e2e" / "r0002"
    for folder, outcomes in ((before, "ab-d"), (now, "-Bc ")):
        shutil.rmtree(folder / "suites")
        reports = [
            {"node": f"t.py::test_{name.lower()}", "outcome": "failed" if name.isupper() else "passed"}
            for name in outcomes.replace("-", "").strip()
        ]
        suite(folder, "1-smoke-canary-0", reports)
    publish(now / "journal.jsonl", Reports(tmp_path, "e2e"))
    told = Page(section((now / "report.html").read_text(), "What changed")).seen
    assert [data for tag, data in told if not tag][1:] == [
        "now failing: t.py::test_b (smoke on canary): passed before, failed now",
        "gone: t.py::test_a (smoke on canary) (was passed)",
        "gone: t.py::test_d (smoke on canary) (was passed)",
        "new: t.py::test_c (smoke on canary): passed",
    ]


# --- texts from outside ---------------------------------------------------------------------------------------------

HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": "\"'><a href='javascript:alert(1)' onclick='x'>",
    "comment": "--><!--]]></svg><style>*{display:none}</style>",
    "control": "\x00\x01\x1b[31m\x7f\x9f",
    "half surrogate": "\ud800 alone",
    "turned round": "\u202egnp.exe\u2066",
    "markdown": "| a | `b` ![x](http://evil.example/x.png) [y](http://evil.example)\n::error::x\n```",
    "long": "x" * 1_000_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_harmless_wherever_it_stands(tmp_path: Path, text: str) -> None:
    published(tmp_path, "rolled-back-by-a-check")
    folder = tmp_path / "e2e" / "r0003"
    for name in ("1-smoke-canary-0", "9-smoke-canary-0"):
        detail = {"expected": text, "got": text, "logs": text, "spoken": [{"request": text, "response": text}]}
        one = {"node": f"t.py::test_{text}", "title": text, "outcome": "failed", "text": text, "detail": detail}
        others = ({"k": "left_behind", "what": [text]}, {"k": "not_tested", "needs": {text: [text]}})
        suite(folder, name, [one, {**one, "node": f"{text}::b", "outcome": "skipped"}], *others)
    changed(folder / "journal.jsonl", "Finished", {"sentence": text})
    changed(folder / "journal.jsonl", "Judged", {"sentence": text, "metrics": []})
    changed(
        folder / "journal.jsonl",
        "SuiteRan",
        {
            "result": {
                "suite": "canary",
                "arm": "canary",
                "weight": 10,
                "verdict": "FAIL",
                "reason": text,
                "failed": [text],
            }
        },
    )
    story = publish(folder / "journal.jsonl", Reports(tmp_path, "e2e"))
    written = (folder / "report.html").read_bytes().decode("utf-8")
    page = Page(written)
    assert {tag for tag, _ in page.seen} & {"script", "img", "iframe"} == set()
    assert [tag for tag, _ in page.seen].count("style") == 2
    assert all(address == "data:," or (folder / address).exists() for address in page.addresses)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written)
    assert len(written) < 400_000
    assert Page((tmp_path / "index.html").read_text()).addresses == ["data:,", "e2e/r0003/report.html"]
    ET.fromstring((folder / "junit.xml").read_text())
    ET.fromstring((folder / "chart.svg").read_text())
    for path in (folder / "allure-results").glob("*.json"):
        assert len(json.dumps(json.loads(path.read_text()))) < 100_000
    markdown = github.step_summary(story)
    assert "<script" not in markdown
    assert "![x](" not in markdown
    assert len(markdown) < 100_000
    commands = github.notices(story)
    assert all(line.startswith("::error ") and "\n" not in line and len(line) < 10_000 for line in commands)
    assert github.outputs(story, "r").count("\n") == 3


# --- beside the page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_summary_is_what_its_schema_says(reports: Path, case: str) -> None:
    found = json.loads((reports / CASES[case] / "summary.json").read_text())
    TypeAdapter(Summary).validate_json(json.dumps(found), strict=True)
    assert set(found) == set(schema()["required"])
    assert found["version"] == 1
    assert found["verdict"] == {"promoted": "PASS", "crashed": "INCONCLUSIVE", "undecided": "INCONCLUSIVE"}.get(
        case, "FAIL"
    )


def test_junit_begins_with_the_decision_and_knows_severities(reports: Path) -> None:
    root = ET.parse(reports / "r0003" / "junit.xml").getroot()
    first, *others = root.findall("testsuite")
    (case,) = first.findall("testcase")
    assert case.get("name") == "Release decision"
    assert case.find("failure") is not None
    assert ET.parse(reports / "r0001" / "junit.xml").getroot().find("testsuite/testcase/failure") is None
    for one in others:
        cases = one.findall("testcase")
        assert int(one.get("tests", "")) == len(cases)
        assert int(one.get("failures", "")) == sum(case.find("failure") is not None for case in cases)
    severities = {p.get("value") for p in root.iter("property") if p.get("name") == "severity"}
    assert {"blocker", "critical", "normal"} <= severities


def test_runs_of_the_same_suite_at_the_same_weight_stay_apart_in_junit(tmp_path: Path) -> None:
    published(tmp_path, "promoted")
    folder = tmp_path / "e2e" / "r0001"
    shutil.rmtree(folder / "suites")
    for number in (1, 9):
        suite(folder, f"{number}-smoke-canary-50", [{"node": "t.py::test_a", "outcome": "passed"}])
    publish(folder / "journal.jsonl", Reports(tmp_path, "e2e"))
    suites = ET.parse(folder / "junit.xml").getroot().findall("testsuite")
    titles = [one.get("name") for one in suites if one.find("testcase[@name='a']") is not None]
    assert titles == ["smoke suite on canary at 50 %"] * 2


def test_report_that_is_drawn_again_is_the_same_to_the_byte(tmp_path: Path) -> None:
    published(tmp_path, "rolled-back-by-a-check")
    drawn = [{path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}]
    publish(tmp_path / "e2e" / "r0003" / "journal.jsonl", Reports(tmp_path, "e2e"))
    drawn.append({path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
    assert drawn[0] == drawn[1]


def allure(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """fullName -> results."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in (folder / "allure-results").glob("*-result.json"):
        result = json.loads(path.read_text())
        found.setdefault(result["fullName"], []).append(result)
    return found


def test_allure_keeps_weights_apart_and_releases_together(reports: Path) -> None:
    for case, status in (("promoted", "passed"), ("rolled-back-by-errors", "failed"), ("crashed", "broken")):
        (decision,) = allure(reports / CASES[case])["release:e2e"]
        assert decision["status"] == status
    canary = "test_health.py::test_pinned_health_is_answered_by_the_arm_under_test[miniapp]"
    crashed, undecided = allure(reports / "r0004"), allure(reports / "r0005")
    histories = [result["historyId"] for result in crashed[canary]]
    assert len(histories) == len(set(histories)) == 4
    assert {r["historyId"] for r in undecided[canary]} <= set(histories)
    one = next(r for r in allure(reports / "r0001")["test_alike.py::test_front_page_is_alike[miniapp]"])
    assert {"name": "traffic", "value": "10%"} in one["parameters"] or {"name": "traffic", "value": "50%"} in one[
        "parameters"
    ]


PAGE = "<html><head>{}</head><body>Allure</body></html>"
TAG = (
    '<script async src="https://www.googletagmanager.com/gtag/js?id=G-X"></script>\n'
    "<script>\n window.dataLayer = window.dataLayer || [];gtag('config')</script>"
)


@pytest.mark.parametrize(
    ("program", "told", "left"),
    [
        ("", "no Node", None),
        ("exit 3", "exit 3", None),
        ("mkdir -p $6; exit 0", "it wrote no page", None),
        (f"mkdir -p $6; cat > $6/index.html <<'E'\n{PAGE.format(TAG)}\nE", "Allure HTML: ", PAGE.format("")),
        ("mkdir -p $6; echo '<script src=//www.googletagmanager.com/x>' > $6/index.html", "calls Google", None),
    ],
    ids=["no Node", "it fails", "no page", "analytics stripped", "analytics that cannot be stripped"],
)
def test_allure_page_is_there_without_analytics_or_a_line_says_why_not(
    tmp_path: Path, program: str, told: str, left: str | None
) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("node", "allure") if program else ():
        (bin_ / name).write_text(f"#!/bin/sh\n{program}\n")
        (bin_ / name).chmod(0o755)
    for name in ("sh", "mkdir", "cat"):
        (bin_ / name).symlink_to(str(shutil.which(name)))
    folder = tmp_path / "e2e" / "r0001"
    folder.mkdir(parents=True)
    line = allure_html(Reports(tmp_path, "e2e"), "r0001", {"PATH": str(bin_)})
    assert line.startswith("Allure HTML")
    assert told in line
    page = folder / "allure" / "index.html"
    assert (page.read_text().strip() if page.exists() else None) == left


def test_release_that_is_drawn_again_is_once_in_the_history(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    forget(path, "Release r0001")
    path.write_text('{"name": "Release r0001"}\n{"name": "Release r0002"}\n')
    forget(path, "Release r0001")
    assert path.read_text() == '{"name": "Release r0002"}\n'


def test_list_has_every_release_newest_first_with_its_trend(reports: Path) -> None:
    text = (reports.parent / "index.html").read_text()
    assert re.findall(r'href="e2e/(r\d+)/report.html"', text) == ["r0005", "r0004", "r0003", "r0002", "r0001"]
    assert "1 of the last 5 were promoted" in text
    assert re.findall(r">([PFI])</span>", text) == ["P", "F", "F", "I", "I"]


def test_only_so_many_reports_stay_as_the_setting_says(tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "e2e" / "local").mkdir()
    (tmp_path / "e2e" / "r0001" / "mine.txt").write_text("x")
    publish(tmp_path / "e2e" / "r0005" / "journal.jsonl", Reports(tmp_path, "e2e"), keep=2)
    assert sorted(path.name for path in (tmp_path / "e2e").iterdir()) == ["local", "r0004", "r0005"]
    assert re.findall(r'href="e2e/(r\d+)/', (tmp_path / "index.html").read_text()) == ["r0005", "r0004"]


def test_list_has_the_releases_of_all_platforms_and_those_that_lie_beside_them(tmp_path: Path) -> None:
    """Older versions wrote `reports/r0001/`: such folders stay where they are, and are never pruned."""
    published(tmp_path, "promoted", "crashed")
    shutil.copytree(tmp_path / "e2e" / "r0001", tmp_path / "r0001")
    other = Reports(tmp_path, "shop")
    shutil.copytree(RELEASES / "undecided" / "r0005", other.release("r0005"))
    publish(other.release("r0005") / "journal.jsonl", other, keep=1)
    found = re.findall(r'href="([^"]*)/report.html"', (tmp_path / "index.html").read_text())
    assert found == ["shop/r0005", "e2e/r0004", "r0001", "e2e/r0001"]


def test_record_and_stream_that_end_in_half_a_line_are_read(tmp_path: Path) -> None:
    published(tmp_path, "crashed")
    for path in (tmp_path / "e2e" / "r0004").rglob("*.jsonl"):
        path.write_bytes(path.read_bytes()[:-5])
    story = read(tmp_path / "e2e" / "r0004" / "journal.jsonl", tmp_path / "e2e" / "r0004")
    assert story.decision == "Not finished"
    assert len(story.runs) == 4


def test_newest_release_is_found_and_doubt_is_refused(tmp_path: Path) -> None:
    for platform, case in (("a", "promoted"), ("a", "crashed"), ("b", "undecided")):
        folder = tmp_path / platform / "releases" / CASES[case]
        shutil.copytree(RELEASES / case / CASES[case], folder)
    assert find(tmp_path, None, "a").parent.name == "r0004"
    assert find(tmp_path, "r0001", None).parent.name == "r0001"
    with pytest.raises(Refused, match="which platform: a, b"):
        find(tmp_path, None, None)
    with pytest.raises(Refused, match="no release r0009"):
        find(tmp_path, "r0009", "a")


# --- the interval ---------------------------------------------------------------------------------------------------


def story_of(case: str) -> Story:
    """Of a committed journal."""
    folder = RELEASES / case / CASES[case]
    return read(folder / "journal.jsonl", folder)


def test_band_holds_the_difference_at_all_times_and_narrows() -> None:
    story = story_of("promoted")
    found = list(intervals(story, "backend-api").values())
    widths = [high - low for low, high in found]
    assert all(low <= 0 <= high for low, high in found)
    assert widths[-1] < widths[0] / 2


def test_band_of_a_worse_canary_leaves_zero() -> None:
    story = story_of("rolled-back-by-errors")
    assert max(low for service in story.points[0].counts for low, _ in intervals(story, service).values()) > 0.01
