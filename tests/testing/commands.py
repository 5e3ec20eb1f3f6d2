"""The command line as a user calls it: a process with a state folder of its own; and a plan that nobody installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def call(*words: str, state: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command; its reports lie beside the state folder."""
    known = os.environ | {"ONLYVIPS_STATE": str(state), "ONLYVIPS_REPORTS": str(state.parent / "reports")} | env
    command = [sys.executable, "-m", "onlyvips_release", *words]
    return subprocess.run(command, capture_output=True, text=True, env=known, timeout=60, check=False)


def imported(*words: str, state: Path) -> set[str]:
    """The modules that a command has imported at its end."""
    code = (
        "import sys, contextlib\nfrom onlyvips_release.cli.app import main\n"
        f"with contextlib.suppress(SystemExit):\n    main({list(words)!r})\n"
        "sys.stderr.write('\\n' + ' '.join(sys.modules))"
    )
    env = os.environ | {"ONLYVIPS_STATE": str(state)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return set(done.stderr.splitlines()[-1].split())


def plan_file(folder: Path) -> Path:
    """A plan that nobody installed."""
    path = folder / "release.yaml"
    path.write_text(
        "version: 1\nplatform: shop\nservices:\n  api:\n    health: {path: /h}\n    process: {ports: [18310, 18311]}\n"
        '    stable: {revision: v1, command: [a, "{port}"]}\n    canary: {revision: v2, command: [b, "{port}"]}\n'
    )
    return path
