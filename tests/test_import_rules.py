"""The import contracts see a breach: a rule that cannot fail holds nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BREACHES = {
    "platform.py": "from onlyvips_release.traffic.envoy import EnvoyRouter",
    "overview.py": "from onlyvips_release.clients.envoy_admin import Admin",
    "wiring.py": "from onlyvips_release.state.lease import FileLease",
    "cli/doctor.py": "from onlyvips_release.targets.embedded import Embedded",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", BREACHES)
def test_import_of_an_adapter_outside_of_targets_breaks_a_contract(path: str, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "onlyvips_release", tmp_path / "onlyvips_release", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    spoiled = tmp_path / "onlyvips_release" / path
    spoiled.write_text(spoiled.read_text() + f"\n{BREACHES[path]}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    env = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "only targets import adapters BROKEN" in done.stdout
