"""All benchmarks; exit 0 = every bar holds."""

from __future__ import annotations

import sys

from benchmarks import controller, judge_cost, report, smoke, start, weights

sys.exit(max(module.main() for module in (start, smoke, report, judge_cost, weights, controller)))
