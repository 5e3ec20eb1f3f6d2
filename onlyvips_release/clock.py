"""Real time, and the one place where a signal surfaces: `sleep` raises Interrupted, nothing else does.

Handlers are installed explicitly: a process that a script started in the background inherits SIGINT as ignored.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from datetime import UTC, datetime
from types import FrameType

from onlyvips_release.errors import Interrupted


class SystemClock:
    """The machine's clock. `listen` makes SIGINT, SIGTERM and SIGHUP interrupt the next `sleep`."""

    def __init__(self) -> None:
        self._signals: deque[int] = deque()
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
        """Wait; a signal ends it at once, also one that arrived before."""
        if not self._signals:
            select.select([self._wake] if self._wake >= 0 else [], [], [], max(0.0, seconds))
        if self._signals:
            number = self._signals.popleft()
            if not self._signals:
                self._drain()
            raise Interrupted(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    def _drain(self) -> None:
        try:
            os.read(self._wake, 1024)
        except BlockingIOError:
            return

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)
        try:
            os.write(self._waker, b"!")
        except BlockingIOError:
            return
