"""Fails when fewer real tests ran per folder than the committed minimum: a vanished test is not a pass.

`python .ci/count.py MINIMUM.json REPORT.xml ...`; `--write` instead of comparing writes what has passed, a little less.
"""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
ROOT = "."
"""The name of the files that lie in no folder below tests/."""


def folder_of(classname: str) -> str:
    """The folder below tests/ of a test case."""
    name = classname.removeprefix("tests.").split(".")[0]
    return name if (TESTS / name).is_dir() else ROOT


def folders() -> set[str]:
    """Every folder below tests/ that has test files."""
    files = [path.relative_to(TESTS).parts for path in TESTS.rglob("test_*.py")]
    return {parts[0] if len(parts) > 1 else ROOT for parts in files}


def main(minimum: str, *reports: str) -> int:
    """Passed tests by folder, against the committed numbers."""
    passed: Counter[str] = Counter()
    read = [ET.parse(report).getroot() for report in reports if report != "--write"]
    for case in (case for root in read for case in root.iter("testcase")):
        if not any(child.tag in ("failure", "error", "skipped") for child in case):
            passed[folder_of(case.get("classname", ""))] += 1
    if "--write" in reports:
        known = {name: passed[name] * 97 // 100 for name in sorted(folders())}
        Path(minimum).write_text(json.dumps(known, indent=2) + "\n")
        return 0
    wanted: dict[str, int] = json.loads(Path(minimum).read_text())
    allowed = os.environ.get("CI_ALLOW_MISSING", "").split()
    failed = 0
    for name in sorted(folders() | set(wanted)):
        ok = name in allowed or passed[name] >= wanted.get(name, sys.maxsize)
        failed += not ok
        at_least = wanted.get(name, "no minimum is committed, a number")
        sys.stdout.write(f"{name}: {passed[name]} passed, at least {at_least} wanted{'' if ok else '  MISSING'}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
