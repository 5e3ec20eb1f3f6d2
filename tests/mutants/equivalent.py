"""Mutants that behave as the original does: changed lines (as in a diff, without indentation) -> why."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
