"""Why something was decided, as names that machines may rely on (docs/reasons.md). Sentences for people stand beside.

A name that this version does not know (a journal of another version) is kept as it was written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Named(StrEnum):
    """Names that are written into journals and read back whatever they are."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_, unknown._value_ = "UNKNOWN", value
        return unknown


class Reason(Named):
    """Why a look at a release decided, or did not: `reason` of the event Judged and of summary.json."""

    CONTINUE = "continue"
    STEP = "step"
    PROMOTE = "promote"
    NO_EVIDENCE_OF_HARM = "no_evidence_of_harm"
    APPROVED = "approved"
    PROMOTED_BY_A_PERSON = "promoted_by_a_person"
    INTERFERENCE = "interference"
    HARD_GATE = "hard_gate"
    CANARY_CHECKS = "canary_checks"
    SMOKE = "smoke"
    WATCH = "watch"
    ROLLBACK_ERRORS = "rollback:errors"
    ROLLBACK_SLO_ERRORS = "rollback:slo_errors"
    ROLLBACK_LATENCY = "rollback:latency"
    ROLLBACK_SLO_LATENCY = "rollback:slo_latency"
    ROLLBACK_VOLUME = "rollback:volume"
    ROLLBACK_SHARE = "rollback:share"
    ROLLBACK_CPU = "rollback:cpu"
    ROLLBACK_MEMORY = "rollback:memory"
    LIMIT_CPU = "limit:cpu"
    LIMIT_MEMORY = "limit:memory"
    ENVIRONMENT = "environment"
    SMOULDERING = "smouldering"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"
    NO_TRAFFIC = "no_traffic"
    NOT_SEEN = "not_seen"


class SuiteReason(Named):
    """Why a suite got its verdict: `kind` of a suite's result, in the journal and in `check --json`."""

    NOT_RECORDED = ""
    PASSED = "passed"
    FAILED = "failed"
    CONNECTIONS = "connections"
    DEADLINE = "deadline"
    SILENCE = "silence"
    STOPPED = "stopped"
    NO_STREAM = "no_stream"
    OTHER_TARGET = "other_target"
    DAMAGED_STREAM = "damaged_stream"
    COLLECTION_ERROR = "collection_error"
    DIED = "died"
    MISSING = "missing"
    TOO_FEW_PASSED = "too_few_passed"
    EXIT_CODE = "exit_code"
    REQUIRED_NOT_PASSED = "required_not_passed"
    WORKER_LOST = "worker_lost"
    CRITICAL_SKIPPED = "critical_skipped"
    DROPPED = "dropped"
    DESELECTED = "deselected"
    PLUGIN_MISSING = "plugin_missing"
