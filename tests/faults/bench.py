"""Where broken code is tried: a copy of the repository for each worker, and runs of pytest in it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.faults import plugin

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "cli", "clients", "contracts", "core", "crash", "guardian", "planfile", "runner", "state", "suites", "targets",
    "telemetry", "traffic", "workloads",
)  # fmt: skip
"""Folders whose tests run, as far as they are not slow; also the test files beside them."""

BESIDE = (
    "tests/cli/test_progress.py",
    "tests/core/judge/test_table.py",
    "tests/test_house_rules.py",
    "tests/test_import_rules.py",
)
"""Tests of the text of the library, which any change turns red, and tests of another kind of speed."""

UNCOPIED = (".venv", ".git", ".node", "reports", ".*_cache", ".hypothesis", "docs/images")
TEST_WITHIN, RUN_WITHIN = 20, 180
"""Seconds: broken code may hang."""

PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Run:
    """How a run of pytest ended. `failed`: the first thing that failed, "" = nothing; `all_failed`: every test."""

    failed: str
    tests: dict[str, Any] = field(default_factory=dict)
    output: str = ""
    all_failed: tuple[str, ...] = ()


class Bench:
    """One copy, below `folder`. `run` runs tests in it; `broken` puts a fault into it meanwhile."""

    def __init__(self, folder: str) -> None:
        with suppress(OSError):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whatever a run leaves behind is below us
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.root = self.folder / "copy"
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(*UNCOPIED))

    @contextmanager
    def broken(self, path: Path, text: str) -> Iterator[None]:
        """`path`, of the original, has this text in the copy."""
        copy = self.root / path.relative_to(ROOT)
        sound, times = copy.read_bytes(), (copy.stat().st_atime_ns, copy.stat().st_mtime_ns)
        copy.write_text(text)
        try:
            yield
        finally:
            copy.write_bytes(sound)
            os.utime(copy, ns=times)  # as its byte code believes

    def run(self, files: Iterable[str], order: Sequence[str] | None = None, *, trace: bool = False) -> Run:
        """The fast tests of these files; with `order` only these, in this order, until one fails."""
        home = Path(tempfile.mkdtemp(dir=self.folder))
        result, wanted = home / "result.json", home / "order.json"
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.faults.plugin"]
        command += ["-m", "not slow", "--timeout", str(TEST_WITHIN), *([] if order is None else ["-x"]), *files]
        env = {name: os.environ[name] for name in ("PATH", "LANG", "ONLYVIPS_ENVOY") if name in os.environ}
        env |= {"PYTHONPATH": str(self.root), "HOME": str(home), "TMPDIR": str(home), plugin.RESULT: str(result)}
        env |= {plugin.WORKER: str(os.getpid()), **({plugin.TRACE: "1"} if trace else {})}
        if order is not None:
            wanted.write_text(json.dumps(order))
            env[plugin.ORDER] = str(wanted)
        with tempfile.TemporaryFile("w+") as output:
            child = subprocess.Popen(
                command, cwd=self.root, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = child.wait(RUN_WITHIN if order is not None else 10 * RUN_WITHIN)
            except subprocess.TimeoutExpired:
                code = None
            end_all_below()
            child.wait()
            output.seek(0)
            printed = output.read()
        told = json.loads(result.read_text()) if result.exists() else {}
        shutil.rmtree(home, ignore_errors=True)
        return Run(failure(code, told), told.get("tests", {}), printed, tuple(told.get("failed", ())))


def failure(code: int | None, told: dict[str, Any]) -> str:
    """What failed first, "" = nothing: every wanted test passed."""
    if code is None:
        return f"the time limit of {RUN_WITHIN} s"
    if told.get("failed"):
        return str(told["failed"][0])
    if code or not told or told["passed"] != told["wanted"]:
        return f"pytest itself (exit {code})"
    return ""


def end_all_below() -> None:
    """Everything that a run left behind."""
    for left in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            left.send_signal(signal.SIGKILL)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def fast_files(root: Path = ROOT) -> list[Path]:
    """Every test file whose fast tests run."""
    found = {path for name in FOLDERS for path in (root / "tests" / name).rglob("test_*.py")}
    return sorted({*found, *(root / "tests").glob("test_*.py")} - {root / name for name in BESIDE})
