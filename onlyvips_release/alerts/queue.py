"""A queue of messages: whoever notifies never waits for a sink, however slow it is."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from onlyvips_release.core.events import Event

LONGEST = 1000
"""Events that wait for slow sinks; what comes on top is dropped, a release has a few hundred."""


class Sink(Protocol):
    """One place where people read messages. `name`: of the kind, for records."""

    @property
    def name(self) -> str: ...

    def send(self, event: Event) -> str:
        """Deliver what this event means to people; the key of the message, "" = it means nothing to them."""


class Alerts:
    """Port Notifier. One worker thread serves all sinks; a sink that fails loses this message, not the next one."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self.sinks = sinks
        self._waiting: queue.Queue[Event | None] = queue.Queue(LONGEST)
        self._delivered: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    def notify(self, event: Event) -> None:
        """Queue one event."""
        if not self.sinks:
            return
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="alerts", daemon=True)
            self._worker.start()
        with suppress(queue.Full):
            self._waiting.put_nowait(event)

    def delivered(self) -> tuple[tuple[str, str], ...]:
        """(sink, key) of each message that was delivered since the last call."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._delivered.get_nowait())
        return tuple(found)

    def close(self, within: float) -> bool:
        """Give what waits `within` seconds; whether everything was handled. The thread never keeps the process."""
        if self._worker is None:
            return True
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._worker.join(within)
        return not self._worker.is_alive()

    def _work(self) -> None:
        while (event := self._waiting.get()) is not None:
            for sink in self.sinks:
                with suppress(Exception):
                    if key := sink.send(event):
                        self._delivered.put((sink.name, key))
