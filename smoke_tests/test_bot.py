"""flirt-bot opens no port: that it is at work is seen only in what it writes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from onlyvips_release.expect import Mismatch, require
from onlyvips_release.targets import Target

WITHIN = 3.0
"""Seconds in which a bot at work handles an update."""
TAIL = 64 * 1024


def last_update(path: Path) -> int:
    """The highest number of an update that the log's end names; -1 = none."""
    if not path.exists():
        return -1
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return max((int(number) for number in re.findall(rb"handled update (\d+)", file.read())), default=-1)


@pytest.mark.severity("critical")
@pytest.mark.service("flirt-bot")
@pytest.mark.needs("log")
@pytest.mark.title("{service} is at work: it handles updates")
def test_bot_handles_updates(service: Target) -> None:
    logs = [Path(log) for log in service.logs]
    require(logs, "instances", expected=f"one of {service.revision} with a log", got="none")
    before, end = [last_update(log) for log in logs], time.monotonic() + WITHIN
    while time.monotonic() < end:
        if all(last_update(log) > then for log, then in zip(logs, before, strict=True)):
            return
        time.sleep(0.02)
    raise Mismatch("the bot's log", "a new 'handled update N' line", f"none after {before}", f"{WITHIN:g} s")
