"""A target that is one file and one registry line is driven by the real command line; nothing else knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAN = """
version: 1
platform: shop
target: toy
services:
  web:
    host: "web.*"
    health: {path: /health}
    shelf: {places: 3}
    stable: {revision: OLD, image: WAS}
    canary: {revision: NEW, image: IMAGE}
  bot:
    routed: false
    shelf: {places: 2}
    stable: {revision: OLD, image: WAS}
    canary: {revision: NEW, image: IMAGE}
steps: [{weight: 10, bake: 2s}]
accept: no_evidence_of_harm
watch: 1s
lease: 2s
judge: {tick: 200ms}
checks: {smoke: {path: SUITE}, canary: {path: SUITE}}
"""


class Shop:
    """A folder with its own state, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        registry = folder / "toy-1.dist-info"
        registry.mkdir()
        (registry / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
        line = "[onlyvips_release.targets]\ntoy = tests.testing.toy_target:TARGET\n"
        (registry / "entry_points.txt").write_text(line)
        paths = {"ONLYVIPS_STATE": folder / "state", "ONLYVIPS_REPORTS": folder / "reports"}
        self.env = os.environ | {name: str(path) for name, path in paths.items()}
        self.env["PYTHONPATH"] = f"{folder}:{ROOT}"

    def plan(self, new: str, image: str = "two", old: str = "v1", was: str = "one") -> str:
        """A plan file that releases `new` over `old`."""
        suite = str(ROOT / "tests" / "targets" / "toy_suite")
        path = self.folder / f"{new}.yaml"
        path.write_text(
            PLAN.replace("NEW", new)
            .replace("IMAGE", image)
            .replace("OLD", old)
            .replace("WAS", was)
            .replace("SUITE", suite)
        )
        return str(path)

    def command(self, *words: str) -> list[str]:
        """Of this Python."""
        return [sys.executable, "-m", "onlyvips_release", *words]

    def call(self, *words: str, code: int = 0) -> str:
        """Its output; it must end so."""
        done = subprocess.run(
            self.command(*words), env=self.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def sheet(self) -> dict[str, object]:
        """The platform as it is."""
        found: dict[str, object] = json.loads((self.folder / "state" / "shop" / "live" / "toy.json").read_text())
        return found


@pytest.mark.slow
def test_command_line_drives_a_toy_from_its_installation_to_its_end(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    v2 = shop.plan("v2")
    assert "toy router: does not run" in shop.call("doctor", v2, code=6)
    assert "INSTALLED (web v1, bot v1)" in shop.call("up", v2)
    assert "toy router: runs" in shop.call("doctor", v2)
    assert "shelf 'toys' of 3" in shop.call("plan", v2)
    assert "PROMOTED" in shop.call("run", v2)
    assert "canary weight 0 % in force" in shop.call("status", "--live")
    listed = shop.call("rollback", "shop", "--list")
    assert "v2" in listed
    assert "rollback PLAN --to r0001" in listed
    broken = shop.plan("v3", "broken", "v2", "two")
    assert "FAIL" in shop.call("run", broken, code=3)
    assert "back to v1" in shop.call("rollback", "shop")
    assert "nothing was touched" in shop.call("rollback", "shop")
    assert "web v1 stopped" in shop.call("down", v2)
    assert shop.sheet()["runs"] is False
    assert "nothing is unfinished" in shop.call("recover")
    assert "web v1 is ready" in shop.call("up", v2)


@pytest.mark.slow
def test_running_release_takes_requests_and_a_killed_one_is_recovered(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    path = Path(shop.plan("v2"))
    path.write_text(path.read_text().replace("bake: 2s", "bake: 60s"))
    shop.call("up", str(path))
    with subprocess.Popen(shop.command("run", str(path)), env=shop.env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while "10 % of users" not in child.stdout.readline():
            assert child.poll() is None
        assert "has taken the request" in shop.call("pause", "shop")
        end = time.monotonic() + 10
        while '"phase": "PAUSED"' not in shop.call("status", "--json"):
            assert time.monotonic() < end
        child.kill()
    while shop.sheet()["weight"]:
        assert time.monotonic() < end + 20, "the guardian took nobody back"
        time.sleep(0.2)
    assert "ROLLED BACK" in shop.call("recover", code=3)
