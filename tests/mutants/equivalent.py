"""Mutants that behave as the original does: changed lines (as in a diff, without indentation) -> why."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    (
        '-self.suite = self._start_suite("canary", Arm.CANARY)\n'
        "+self.suite = (self._start_suite(Arm.CANARY, 'canary'))"
    ): "an arm is its own text",
}
