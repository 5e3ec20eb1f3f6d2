"""flirt-bot opens no port: that it is at work is seen only in what it writes."""

from __future__ import annotations

import re
import time

import pytest

from onlyvips_release.expect import Mismatch, Target, output_of, require

WITHIN = 3.0
"""Seconds in which a bot at work handles an update."""


def last_update(log: str) -> int:
    """The highest number of an update that this process has handled; -1 = none."""
    return max((int(number) for number in re.findall(r"handled update (\d+)", output_of(log))), default=-1)


@pytest.mark.severity("critical")
@pytest.mark.service("flirt-bot")
@pytest.mark.needs("log")
@pytest.mark.title("{service} is at work: it handles updates")
def test_bot_handles_updates(service: Target) -> None:
    logs = service.logs
    require(logs, "instances", expected=f"one of {service.revision} with a log", got="none")
    before, end = [last_update(log) for log in logs], time.monotonic() + WITHIN
    while time.monotonic() < end:
        if all(last_update(log) > then for log, then in zip(logs, before, strict=True)):
            return
        time.sleep(0.02)
    raise Mismatch("the bot's log", "a new 'handled update N' line", f"none after {before}", f"{WITHIN:g} s")
