"""Reasons are stable for machines: written down in the docs, complete, and readable whatever wrote them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.codec import decode, encode
from onlyvips_release.core.events import Judged
from onlyvips_release.core.judge import ReleaseJudge
from onlyvips_release.core.model import Arm, SuiteResult, Verdict
from onlyvips_release.core.plan import JudgePlan, SloLimits
from onlyvips_release.core.reasons import Reason, SuiteReason
from onlyvips_release.state.journal import FileJournal

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "reasons.md").read_text()
JOURNALS = sorted((ROOT / "tests" / "samples" / "journals").glob("*.jsonl"))


def documented(part: str) -> list[str]:
    """The names in the first column of the table below a heading."""
    return re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)


def test_docs_list_exactly_the_reasons_that_there_are() -> None:
    releases, suites = DOC.split("## Of a suite")
    assert documented(releases) == [reason.value for reason in Reason]
    assert documented(suites) == [kind.value for kind in SuiteReason if kind]


def test_judge_blames_no_metric_that_has_no_reason() -> None:
    plan = replace(JudgePlan(), slo=SloLimits(errors=0.01, slower_than=timedelta(seconds=1)))
    judge = ReleaseJudge(plan, ["api"], timedelta(minutes=5), business=["api"])
    metrics = {view.metric for view in judge.views()}
    assert {f"rollback:{metric}" for metric in metrics} == {r.value for r in Reason if r.value.startswith("rollback:")}


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.stem)
def test_reasons_of_an_old_journal_are_known(path: Path) -> None:
    judged = [event for event in FileJournal(path).read() if isinstance(event, Judged)]
    assert [event.reason for event in judged if event.reason not in list(Reason)] == []


def test_reason_that_this_version_does_not_know_is_kept() -> None:
    written = {**encode(Judged(Verdict.PASS, Reason.STEP, "held", final=True)), "reason": "full_moon"}
    judged: Judged = decode(Judged, written)
    assert (judged.reason, str(judged.reason)) == ("full_moon", "full_moon")
    assert encode(judged) == written
    assert "full_moon" not in [reason.value for reason in Reason], "the list of names must not grow by reading"


def test_known_reason_is_read_as_its_member() -> None:
    judged: Judged = decode(Judged, encode(Judged(Verdict.FAIL, Reason.HARD_GATE, "gone", final=True)))
    assert judged.reason is Reason.HARD_GATE


def test_result_without_a_reason_for_machines_can_be_read() -> None:
    old = {"suite": "smoke", "arm": "canary", "weight": 0, "verdict": "PASS", "reason": "1 passed of 1"}
    result: SuiteResult = decode(SuiteResult, old)
    assert (result.arm, result.kind) == (Arm.CANARY, SuiteReason.NOT_RECORDED)


def test_what_is_no_text_is_no_reason() -> None:
    with pytest.raises(ValueError, match="7"):
        decode(Reason, 7)
