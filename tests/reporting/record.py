"""Makes the five committed journals, by five real releases of the sandbox: `python -m tests.reporting.record`.

Run it again when an event or the suites' stream changes. Paths, host and user are replaced; nothing else is touched.
"""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.testing.platform_rig import ROOT, Rig

HERE = Path(__file__).parent / "releases"
CHECKS = Path(__file__).parent / "checks"
FILES = {"smoke": "test_alive.py", "canary": "test_alike.py"}
SHORT: dict[str, Any] = {"steps": [{"weight": 10, "bake": "4s"}, {"weight": 50, "bake": "14s"}], "patience": "30s"}
ERRORS = ("errors=1.0", "error_methods=GET", "errors_after=6")


def main() -> None:
    """Users at 700 requests/s, but in the undecided release."""
    with Rig() as rig:
        suites = {name: {"path": str(CHECKS / file)} for name, file in FILES.items()}
        rig.up()
        load = rig.load(700)
        rig.release("v2", checks=suites, judge={"slower": 10}, **SHORT)
        keep(rig, "r0001", "promoted")
        rig.release("v3", {"backend-api": ERRORS}, **SHORT)
        keep(rig, "r0002", "rolled-back-by-errors")
        rig.release("v4", {"backend-api": ("changed_type=true",)}, checks=suites, **SHORT)
        keep(rig, "r0003", "rolled-back-by-a-check")
        path = rig.write(rig.plan("v5", **SHORT))
        command = [sys.executable, "-m", "onlyvips_release", "run", str(path)]
        with subprocess.Popen(command, env=rig.env, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            while "50 % of users" not in child.stdout.readline():
                assert child.poll() is None
            time.sleep(5)
            child.send_signal(signal.SIGKILL)
        keep(rig, "r0004", "crashed")
        rig.platform().recover()
        load.stop()
        rig.load(6)
        rig.release("v6", steps=[{"weight": 10, "bake": "6s"}], patience="2s")
        keep(rig, "r0005", "undecided")


def keep(rig: Rig, name: str, case: str) -> None:
    """Journal and event streams, without what belongs to this machine."""
    target = HERE / case / name
    shutil.rmtree(HERE / case, ignore_errors=True)
    target.mkdir(parents=True)
    hidden = {
        str(rig.reports): "/srv/reports",
        str(rig.state): "/srv/state",
        str(rig.folder): "/srv/release",
        str(ROOT): "/srv/onlyvips",
        sys.prefix: "/srv/venv",
        socket.gethostname(): "ci-runner",
        f'"user":"{getpass.getuser()}"': '"user":"release-manager"',
    }
    journal = rig.state / "e2e" / "releases" / name / "journal.jsonl"
    kept = {journal: target / "journal.jsonl"}
    for path in (rig.reports / name).glob("suites/*/events.jsonl"):
        kept[path] = target / path.relative_to(rig.reports / name)
    for path, copy in kept.items():
        text = path.read_text()
        for old, new in hidden.items():
            text = text.replace(old, new)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{case}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
