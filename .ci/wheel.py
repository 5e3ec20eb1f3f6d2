"""The wheel alone, in an environment of its own: the command answers, and both suites came along."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(python: str) -> int:
    """Build, install, ask."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, str(ROOT)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        venv = Path(folder) / "venv"
        subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True)
        pip = [
            python,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--python",
            str(venv / "bin" / "python"),
            "install",
            "-q",
        ]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True)
        command = str(venv / "bin" / "onlyvips-release")
        subprocess.run([command, "--version"], check=True, cwd=folder)
        done = subprocess.run([command, "demo"], cwd=folder, check=False)
        found = Path(folder) / "reports" / "index.html"
        sys.stdout.write(
            f"demo from the wheel: exit {done.returncode}, report {'there' if found.exists() else 'missing'}\n"
        )
        return done.returncode or (0 if found.exists() else 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
