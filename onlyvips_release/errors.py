"""Every error of the tool: what happened, and what the reader should do about it.

ReleaseError
├── PlanError        the plan contradicts itself or cannot be read       exit 2
├── Refused          a precondition fails; nothing was started           exit 6
├── LeaseHeld        another live controller holds the platform          exit 7
├── LeaseLost        our claim was taken; nothing may be written any more
├── JournalError     the record of a release cannot be read or written   exit 1
├── Interfered       somebody else changed what the release owns         exit 4
├── TargetError      an act on the target failed                         exit 4
│   ├── NotReady     an instance did not become ready in its time
│   ├── Unavailable  router or source does not answer
│   └── NotConfirmed a write was not seen in force in its time
└── Interrupted      a person or a signal asked to stop (raised only by the clock's `sleep`)
"""

from __future__ import annotations

from dataclasses import dataclass


def shortened(text: str) -> str:
    """A word of a plan as messages show it: at most 60 characters."""
    return text if len(text) <= 60 else f"{text[:59]}…"


class ReleaseError(Exception):
    """Base of all: `str(error)` says what happened, `remedy` what to do, `exit_code` how the command ends."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a plan: `line` and `column` count from 1, 0 = unknown; `key` is the dotted key path."""

    line: int
    column: int
    key: str
    message: str


class PlanError(ReleaseError):
    """A plan that cannot be used, with every fault found, not only the first."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...], *, file: str = "plan") -> None:
        self.problems = tuple(sorted(problems))
        self.file = file
        super().__init__("\n".join(self.lines()), remedy="correct the plan; nothing was touched")

    def lines(self) -> list[str]:
        """`file:line:column: key: message` for each problem (positions left out where unknown)."""
        places = (":".join([self.file, *(str(n) for n in (p.line, p.column) if n)]) for p in self.problems)
        return [
            f"{place}: {p.key}: {p.message}" if p.key else f"{place}: {p.message}"
            for place, p in zip(places, self.problems, strict=True)
        ]


class Refused(ReleaseError):
    """A precondition fails: nothing was started, nothing was touched."""

    exit_code = 6


class LeaseHeld(ReleaseError):
    """Another live controller holds the platform."""

    exit_code = 7


class LeaseLost(ReleaseError):
    """Our claim on the platform was taken over: this process may write nothing any more."""

    exit_code = 4


class JournalError(ReleaseError):
    """The record of a release cannot be read or written."""


class Interfered(ReleaseError):
    """Somebody else changed what the release owns; it is never fought over. Nobody knows what users get."""

    exit_code = 4


class TargetError(ReleaseError):
    """An act on the target failed. Where no release turns it into its own end, nobody knows what users get."""

    exit_code = 4


class NotReady(TargetError):
    """An instance did not become ready in its time."""


class Unavailable(TargetError):
    """Router, source or control plane does not answer."""


class NotConfirmed(TargetError):
    """A write was not seen in force at the data plane in its time."""


class Interrupted(ReleaseError):
    """A signal asked to stop; `signal_number` is 2 or 15."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number
