"""`junit.xml` of a whole release, for CI systems: the decision as a test case, then every check of every run. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.timeline import Check, Run, Story
from onlyvips_release.reporting.wording import clean


def junit(story: Story) -> str:
    """One suite for the decision, one per run; severity arrives as a property."""
    root = ET.Element("testsuites", name=story.release.id)
    suite = add_suite(root, "release", 1, int(story.verdict is not Verdict.PASS), 0)
    case = ET.SubElement(suite, "testcase", classname="release", name="Release decision", time=f"{story.seconds:.3f}")
    if story.verdict is not Verdict.PASS:
        ET.SubElement(case, "failure", type=str(story.verdict), message=clean(story.sentence))
    ET.SubElement(case, "system-out").text = clean(f"{story.decision}: {story.sentence}")
    for run in story.runs:
        failures, skipped = run.count("failed", "not run"), run.count("skipped", "xfailed")
        suite = add_suite(root, run.title, len(run.checks), failures, skipped)
        for check in run.checks:
            add_check(suite, run, check)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def add_suite(root: ET.Element, name: str, tests: int, failures: int, skipped: int) -> ET.Element:
    """One suite with its counts."""
    counts = {"tests": str(tests), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
    return ET.SubElement(root, "testsuite", {"name": clean(name), **counts})


def add_check(suite: ET.Element, run: Run, check: Check) -> None:
    """One test case; a planned check that never reported is a failure."""
    names = {"classname": clean(f"{run.suite}.{run.arm}.{run.weight}"), "name": clean(check.name)}
    case = ET.SubElement(suite, "testcase", {**names, "file": clean(check.node), "time": f"{check.seconds:.3f}"})
    properties = ET.SubElement(case, "properties")
    ET.SubElement(properties, "property", name="severity", value=clean(check.severity))
    match check.outcome:
        case "failed":
            ET.SubElement(case, "failure", message=clean(check.reason)).text = clean(check.text)
        case "not run":
            ET.SubElement(case, "failure", message="planned, but it never reported")
        case "skipped" | "xfailed":
            ET.SubElement(case, "skipped", message=check.outcome)
        case _:
            pass
