"""The pure part of the gate: events go in, a verdict with its reason comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from onlyvips_release.core.model import Verdict
from onlyvips_release.core.plan import SEVERITIES
from onlyvips_release.core.reasons import SuiteReason
from onlyvips_release.suites.tally import Conclusion, Tally, Terms, same_node

PASS, FAIL, INC = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
Event = dict[str, Any]
START: Event = {"k": "start", "run": "r", "warnings": True, "threads": True, "targets": "context"}
A, B, C = "t.py::test_a", "t.py::test_b", "t.py::test_c"


def planned(*ids: str) -> Event:
    """What was collected."""
    return {"k": "collected", "run": "r", "ids": list(ids)}


def report(node: str, outcome: str = "passed", when: str = "call", severity: str = "normal", **more: Any) -> Event:
    """One phase of one test."""
    return {"k": "report", "run": "r", "node": node, "when": when, "outcome": outcome, "severity": severity, **more}


def finish(code: int = 0) -> Event:
    """The last event."""
    return {"k": "finish", "run": "r", "exit": code}


def fed(*events: Event, **words: Any) -> Tally:
    """A tally of these events."""
    tally = Tally(Terms(**words), "r")
    for event in events:
        tally.feed_line(json.dumps(event).encode())
    return tally


GOOD = (START, planned(A), report(A), finish())
CASES: list[tuple[str, tuple[Event, ...], int | None, Verdict, str, Mapping[str, Any]]] = [
    ("everything proved", GOOD, 0, PASS, "1 passed of 1", {}),
    ("nothing at all", (), 0, INC, "no event stream", {}),
    ("no finish", GOOD[:3], 0, INC, "died before finish", {}),
    ("no finish, and the running test is named", (START, planned(A), {"k": "logstart", "run": "r", "node": A}), -9, INC,
     f"died before finish in {A} (exit -9)", {}),
    ("events of another run", tuple({**event, "run": "old"} for event in GOOD), 0, INC, "no event stream", {}),
    ("a damaged line", (*GOOD, {"run": "r"}), 0, INC, "1 lines of the event stream are damaged", {}),
    ("nothing was planned", (START, planned(), finish()), 0, INC, "0 passed, 0 collected", {}),
    ("exit 1 without a failure", (*GOOD[:3], finish(1)), 1, INC, "pytest exit 1", {}),
    ("exit 3", (*GOOD[:3], finish(3)), 3, INC, "pytest exit 3", {}),
    ("killed after a perfect stream", GOOD, -9, INC, "pytest exit -9", {}),
    ("fewer than wanted", GOOD, 0, INC, "1 passed, 1 collected", {"min_passed": 2}),
    ("one never reported", (START, planned(A, B), report(A), finish()), 0, INC, "1 of 2 planned never reported", {}),
    ("the largest plan counts", (START, planned(A), planned(A, B), planned(A), report(A), finish()), 0, INC,
     "1 of 2 planned never reported", {}),
    ("set-up alone is no report", (START, planned(A), report(A, when="setup"), finish()), 0, INC,
     "1 of 1 planned never reported", {}),
    ("a failure, then silence", (START, planned(A, B), report(A, "failed")), None, FAIL, f"{A} (call)", {}),
    ("a failure and exit 0", (START, planned(A), report(A, "failed"), finish()), 0, FAIL, f"{A} (call)", {}),
    ("a failed set-up", (START, planned(A), report(A, "failed", "setup"), finish(1)), 1, FAIL, f"{A} (setup)", {}),
    ("passed, then a failed teardown", (START, planned(A), report(A), report(A, "failed", "teardown"), finish(1)), 1,
     FAIL, f"{A} (teardown)", {}),
    ("a failed subtest, then passed", (START, planned(A), report(A, "failed"), report(A), finish(1)), 1, FAIL,
     f"{A} (call)", {}),
    ("a crashed worker", (START, planned(A), report(A, "failed", "crash", "critical"), finish(1)), 1, FAIL,
     f"{A} (crash)", {}),
    ("a lost worker", (*GOOD[:3], {"k": "worker_down", "run": "r", "text": ""}, finish()), 0, INC,
     "1 workers were lost", {}),
    ("below the gate", (START, planned(A, B), report(A), report(B, "failed", severity="minor"), finish(1)), 1, PASS,
     f"failed below the gate: minor {B}", {}),
    ("below the gate, but exit 2", (START, planned(A, B), report(A), report(B, "failed", severity="minor"), finish(2)),
     2, INC, "pytest exit 2", {}),
    ("only what is below the gate", (START, planned(B), report(B, "failed", severity="minor"), finish(1)), 1, INC,
     "0 passed, 1 collected", {}),
    ("passed, then a failed teardown below the gate", (START, planned(A), report(A, severity="minor"),
     report(A, "failed", "teardown", "minor"), finish(1)), 1, INC, "0 passed, 1 collected", {}),
    ("a failed subtest below the gate, then passed", (START, planned(A), report(A, "failed", severity="minor"),
     report(A, severity="minor"), finish(1)), 1, INC, "0 passed, 1 collected", {}),
    ("a gate that is stricter", (START, planned(A, B), report(A), report(B, "failed", severity="minor"), finish(1)), 1,
     FAIL, f"{B} (call)", {"gate": "minor"}),
    ("a gate that is looser", (START, planned(A, B), report(A), report(B, "failed"), finish(1)), 1, PASS,
     f"failed below the gate: normal {B}", {"gate": "critical"}),
    ("a severity nobody knows", (START, planned(A), report(A, "failed", severity="critcal"), finish(1)), 1, FAIL,
     f"{A} (call)", {"gate": "blocker"}),
    ("a skipped critical", (START, planned(A, B), report(A), report(B, "skipped", "setup", "critical"), finish()), 0,
     INC, f"skipped although critical: {B}", {}),
    ("a skipped normal", (START, planned(A, B), report(A), report(B, "skipped", "setup"), finish()), 0, PASS,
     "1 passed of 2", {}),
    ("an expected failure is no pass", (START, planned(A), report(A, "skipped", wasxfail=True), finish()), 0, INC,
     "0 passed, 1 collected", {}),
    ("an unexpected pass", (START, planned(A), report(A, wasxfail=True), finish()), 0, PASS,
     f"{A} passed unexpectedly", {}),
    ("passed at the second attempt", (START, planned(A), report(A, "rerun"), report(A), finish()), 0, PASS,
     f"{A}: 2 attempts", {}),
    ("a collection error", (START, {"k": "collect_error", "run": "r", "node": "t.py"}, *GOOD[1:]), 0, INC,
     "collection error in t.py", {}),
    ("deselected", (START, {"k": "deselected", "run": "r", "ids": [B]}, *GOOD[1:]), 0, INC, "1 deselected", {}),
    ("deselected, as the plan allows", (START, {"k": "deselected", "run": "r", "ids": [B]}, *GOOD[1:]), 0, PASS,
     "1 deselected", {"deselect": True}),
    ("dropped, not deselected", (START, {"k": "lost", "run": "r", "ids": [B]}, *GOOD[1:]), 0, INC,
     f"removed without pytest's deselection: {B}", {"deselect": True}),
    ("required and there", GOOD, 0, PASS, "1 passed of 1", {"required": (A,)}),
    ("required and gone", GOOD, 0, INC, f"required but not passed: {B}", {"required": (A, B)}),
    ("required and skipped", (START, planned(A, B), report(A), report(B, "skipped", "setup"), finish()), 0, INC,
     f"required but not passed: {B}", {"required": (B,)}),
    ("without the warnings plugin", ({**START, "warnings": False}, *GOOD[1:]), 0, INC, "without its warnings", {}),
    ("without both", ({**START, "warnings": False, "threads": False}, *GOOD[1:]), 0, INC, "warnings and threads", {}),
    ("another target", ({**START, "targets": "option"}, *GOOD[1:]), 0, INC, "target by option", {}),
    ("no target", ({**START, "targets": ""}, *GOOD[1:]), 0, INC, "target by nobody", {}),
    ("two connections again", (START, planned(A), report(A, retries=2), finish()), 0, PASS, "2 connections", {}),
    ("three connections again", (START, planned(A, B), report(A, retries=2), report(B, retries=1), finish()), 0, FAIL,
     "3 connections had to be made again", {}),
    ("a test's phases repeat its count", (START, planned(A), report(A, when="setup", retries=2), report(A, retries=2),
     report(A, when="teardown", retries=2), finish()), 0, PASS, "2 connections", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "code", "verdict", "reason", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_events_make_the_verdict(
    events: tuple[Event, ...], code: int | None, verdict: Verdict, reason: str, words: Mapping[str, Any]
) -> None:
    got, _, why = fed(*events, **words).conclude(code)
    assert (got, reason in why) == (verdict, True), why


KINDS = {
    "everything proved": SuiteReason.PASSED,
    "nothing at all": SuiteReason.NO_STREAM,
    "no finish": SuiteReason.DIED,
    "a damaged line": SuiteReason.DAMAGED_STREAM,
    "exit 3": SuiteReason.EXIT_CODE,
    "fewer than wanted": SuiteReason.TOO_FEW_PASSED,
    "one never reported": SuiteReason.MISSING,
    "a failed set-up": SuiteReason.FAILED,
    "a skipped critical": SuiteReason.CRITICAL_SKIPPED,
    "a lost worker": SuiteReason.WORKER_LOST,
    "a collection error": SuiteReason.COLLECTION_ERROR,
    "deselected": SuiteReason.DESELECTED,
    "dropped, not deselected": SuiteReason.DROPPED,
    "required and gone": SuiteReason.REQUIRED_NOT_PASSED,
    "without both": SuiteReason.PLUGIN_MISSING,
    "no target": SuiteReason.OTHER_TARGET,
    "three connections again": SuiteReason.CONNECTIONS,
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=KINDS)
def test_each_verdict_has_its_reason_for_machines(name: str, kind: SuiteReason) -> None:
    _, events, code, _, _, words = next(case for case in CASES if case[0] == name)
    assert fed(*events, **words).conclude(code).kind is kind


def test_a_deadline_forbids_a_pass_but_not_a_failure() -> None:
    late = Conclusion(INC, SuiteReason.DEADLINE, "deadline of 60 s passed")
    assert fed(*GOOD).conclude(0, late) == late
    failing = (START, planned(A), report(A, "failed"), finish(1))
    assert fed(*failing).conclude(1, late)[0] is FAIL


@pytest.mark.parametrize("severity", SEVERITIES)
def test_only_blocker_and_critical_fail_at_once(severity: str) -> None:
    tally = fed(START, planned(A, B), report(A, "failed", severity=severity))
    assert bool(tally.failure(at_once=True)) is (severity in ("blocker", "critical"))


def test_a_critical_failure_below_the_gate_does_not_stop_the_suite() -> None:
    assert not fed(START, planned(A), report(A, "failed", severity="critical"), gate="blocker").failure(at_once=True)


@pytest.mark.parametrize("line", [b"", b"garbage", b"[]", b"1", b'{"run": "r", "k": "report"}', b"\xff\xfe"])
def test_a_line_that_is_no_event_is_damage(line: bytes) -> None:
    tally = fed()
    tally.feed_line(line)
    assert tally.damaged == 1


def test_what_failed_and_what_is_missing_is_named_once() -> None:
    tally = fed(START, planned(A, B, C), report(A, "failed"), report(A, "failed", "teardown"), report(B, retries=3))
    assert tally.names_failed == (A, "connections")
    assert tally.missing == (C,)


@pytest.mark.parametrize(
    ("wanted", "node", "same"),
    [
        ("t.py::test_a", "t.py::test_a", True),
        ("t.py::test_a", "t.py::test_a[x]", True),
        ("t.py::test_a[x]", "t.py::test_a[x]", True),
        ("t.py::test_a[y]", "t.py::test_a[x]", False),
        ("test_a", "t.py::test_a[x]", True),
        ("test_a", "t.py::other_test_a", False),
        ("t.py::test_a", "folder/t.py::test_a", True),
        ("suite/t.py::test_a", "t.py::test_a", True),
        ("t.py::test_a", "not_t.py::test_a", False),
        ("a/t.py::test_a", "b/t.py::test_a", False),
        ("t.py::TestX::test_a", "t.py::TestX::test_a[1]", True),
        ("t.py::test_a[a::b]", "t.py::test_a[a::b]", True),
    ],
)
def test_a_required_id_may_leave_out_folders_and_parameters(wanted: str, node: str, same: bool) -> None:
    assert same_node(wanted, node) is same
