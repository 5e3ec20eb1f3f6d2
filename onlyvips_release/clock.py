"""Real time, and the one place where a signal surfaces: `sleep` raises Interrupted, nothing else does.

Handlers are installed explicitly: a process that a script started in the background inherits SIGINT as ignored.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType

from onlyvips_release.errors import Interrupted

LONGEST_WAIT = 0.2
"""Seconds until a thread notices a signal whose wake-up another thread took."""


class SystemClock:
    """The machine's clock. `listen` makes SIGINT, SIGTERM and SIGHUP interrupt the next `sleep`."""

    def __init__(self) -> None:
        self._signals: list[int] = []
        self._handled = 0
        self._thread = threading.local()
        self._wake = self._waker = -1

    def listen(self) -> None:
        """Take the signals over from Python's defaults (main thread only)."""
        if self._wake < 0:
            self._wake, self._waker = os.pipe()
            os.set_blocking(self._wake, False)
            os.set_blocking(self._waker, False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds, never back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a signal ends it at once, also one that arrived before.

        A signal interrupts the main thread once, and once each other thread that sleeps before or while it does so.
        """
        main = threading.current_thread() is threading.main_thread()
        handled: int = self._handled if main else getattr(self._thread, "handled", self._handled)
        self._thread.handled = handled
        until = time.monotonic() + seconds
        while len(self._signals) == handled and (left := until - time.monotonic()) > 0:
            select.select([self._wake] if self._wake >= 0 else [], [], [], min(left, LONGEST_WAIT))
        if len(self._signals) > handled:
            self._thread.handled = handled + 1
            if main:
                self._handled = handled + 1
            if main and len(self._signals) == self._handled:
                self._drain()
            raise Interrupted(signal.SIGINT if self._signals[handled] == signal.SIGINT else signal.SIGTERM)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 1024)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)
        with suppress(BlockingIOError):
            os.write(self._waker, b"!")
