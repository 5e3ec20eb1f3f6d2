"""flirt-bot: opens no port; the only proof of its life is that it handles updates, one line each on stdout."""

from __future__ import annotations

import asyncio
import sys

from onlyvips_release.sandbox.faults import Faults

EVERY = 0.2
"""Seconds between two updates."""


async def run(faults: Faults) -> None:
    """Handle updates for ever."""
    number = 0
    while True:
        await asyncio.sleep(EVERY)
        if not faults.on("bot_silent"):
            number += 1
            sys.stdout.write(f"handled update {number}\n")
            sys.stdout.flush()
