"""One connection of the load: sends a request, reads its answer, and says what became of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Protocol

from onlyvips_release.sandbox.mix import Call

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_ARM = re.compile(rb"\r\nx-onlyvips-arm: *([^\r]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Job:
    """One request that is due: its bytes, its user, and when it began, in seconds since the load did."""

    call: Call
    user: str
    data: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What is read of an answer."""

    status: int
    arm: str
    close: bool


def read_reply(data: bytes, method: str, *, ended: bool = False) -> Reply | None:
    """The answer in `data`, None while it is incomplete; ValueError when it is none. `ended`: no more will come."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end]
    if not head.startswith(b"HTTP/1.1 "):
        raise ValueError("no HTTP/1.1 answer")
    status, arm = int(head[9:12]), _ARM.search(head)
    length = _LENGTH.search(head)
    if method == "HEAD" or status in (204, 304):
        complete = True
    elif length:
        complete = len(data) >= end + 4 + int(length[1])
    else:
        complete = data.endswith(b"\r\n0\r\n\r\n") if _CHUNKED.search(head) else ended
    close = ended or bool(_CLOSE.search(head))
    return Reply(status, arm[1].decode() if arm else "", close) if complete else None


class Load(Protocol):
    """Who sends, and counts what became of it."""

    def finish(self, job: Job, status: int, error: str, arm: str) -> None:
        """One request has ended; status 0 = without an answer, and `error` says how."""

    def release(self, client: Client) -> None:
        """A connection is free again."""

    def forget(self, client: Client) -> None:
        """A connection is closed."""


class Client(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self.job: Job | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def alive(self) -> bool:
        """Whether a request may be sent: the server may have closed the connection while it was idle."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, job: Job) -> None:
        """Put one request on the wire."""
        assert self._transport is not None
        self.job, self._data = job, b""
        self._transport.write(job.data)

    def abort(self) -> None:
        """Give the connection up; a request on it stays unfinished."""
        self.job = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self.job is None:
            return self.abort()
        try:
            reply = read_reply(self._data, self.job.call.method)
        except ValueError:
            self._finish(self.job, 0, "broken")
            return self.abort()
        if reply is not None:
            self._finish(self.job, reply.status, "", reply.arm)
            if reply.close:
                self.abort()
            else:
                self._load.release(self)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if (job := self.job) is not None:
            reply = None if exc else read_reply(self._data, job.call.method, ended=True)
            if reply is not None:
                self._finish(job, reply.status, "", reply.arm)
            else:
                self._finish(job, 0, "reset" if exc else "broken")
        self._load.forget(self)

    def _finish(self, job: Job, status: int, error: str, arm: str = "") -> None:
        self.job = None
        self._load.finish(job, status, error, arm)

    def time_out(self) -> None:
        """The answer is overdue."""
        if self.job is not None:
            self._finish(self.job, 0, "timeout")
        self.abort()
