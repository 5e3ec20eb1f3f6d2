"""`junit.xml` of a whole release, for CI systems: the decision as a test case, then every check of every run. Pure."""

from __future__ import annotations

from io import BytesIO

from junitparser import Attr, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from onlyvips_release.core.model import Verdict
from onlyvips_release.reporting.timeline import Check, Run, Story
from onlyvips_release.reporting.wording import clean


class Case(TestCase):
    """A test case that names its check's node id."""

    file = Attr()


def junit(story: Story) -> str:
    """One suite for the decision, one per run; severity arrives as a property."""
    decision = TestCase("Release decision", "release", round(story.seconds, 3))
    if story.verdict is not Verdict.PASS:
        decision.result = Failure(clean(story.sentence), str(story.verdict))
    decision.system_out = clean(f"{story.decision}: {story.sentence}")
    suites = [("release", [decision])]
    suites += [(run.title, [case_of(run, check) for check in run.checks]) for run in story.runs]
    whole, written = JUnitXml(story.release.id), BytesIO()
    for title, cases in suites:
        suite = TestSuite(clean(title))
        suite.extend(cases)
        whole.append(suite)  # `add_testsuite` would merge runs of the same title
    whole.update_statistics()
    whole.write(written)
    return written.getvalue().decode() + "\n"


def case_of(run: Run, check: Check) -> TestCase:
    """One test case; a planned check that never reported is a failure."""
    case = Case(clean(check.name), clean(f"{run.suite}.{run.arm}.{run.weight}"), round(check.seconds, 3))
    case.file = clean(check.node)
    properties = Properties()
    properties.append(Property("severity", clean(check.severity)))
    case.append(properties)  # type: ignore[no-untyped-call]
    if check.outcome == "failed":
        case.result = failure = Failure(clean(check.reason))
        failure.text = clean(check.text)
    elif check.outcome == "not run":
        case.result = Failure("planned, but it never reported")
    elif check.outcome in ("skipped", "xfailed"):
        case.result = Skipped(check.outcome)
    return case
