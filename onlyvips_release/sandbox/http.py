"""A raw HTTP/1.1 server on `asyncio.Protocol`: keep-alive, pipelining in order, bodies by Content-Length.

Raw because two cores are shared by Envoy, eight services and the load: `http.server` manages 300 requests/s here, this
one 20 000. asyncio sets TCP_NODELAY itself. Idle connections are never closed by the server: whoever pools them (Envoy:
4 s) closes first, so that no request is sent into a closing connection.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 1024 * 1024
IDLE_GRACE = 0.2
"""Seconds that a stopping server leaves to idle connections, for requests that are already on their way."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Names of `headers` are lower case; `query` is what follows the `?`, still quoted."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, written after `delay` seconds; an infinite delay is an answer that never comes."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0

    def encode(self, *, head: bool, close: bool) -> bytes:
        """The bytes on the wire. `head`: without the body. `close`: the connection ends after this answer."""
        lines = f"HTTP/1.1 {self.status} {_REASONS.get(self.status, '')}\r\nContent-Length: {len(self.body)}\r\n"
        if self.content_type:
            lines += f"Content-Type: {self.content_type}\r\n"
        for name, value in self.headers:
            lines += f"{name}: {value}\r\n"
        lines += "Connection: close\r\n\r\n" if close else "\r\n"
        return lines.encode("latin-1") + (b"" if head else self.body)


RESET = Response(0)
"""Not an answer: the connection is reset."""
HANG = Response(0, delay=math.inf)
"""Not an answer: the client waits for ever."""

Answer = Callable[[Request], Response]
Handler = Callable[..., Response]
"""Takes the request and, as text, what stood at the `{}` of its path."""


BROKEN = "Sunucu hatası"
REFUSED = "İşlem şu anda yapılamıyor"


class Refusal(Exception):
    """A handler's way to answer anything but success."""

    def __init__(self, status: int, detail: object, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status)
        self.response = as_json({"detail": detail}, status=status, headers=headers)


class Malformed(Exception):
    """These bytes are no request that this server understands."""


def as_json(value: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """`value` as a JSON answer."""
    return Response(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), headers=headers)


def read_object(request: Request, *needed: str) -> dict[str, object]:
    """The JSON body, which must be an object with these fields, else 422."""
    try:
        value = json.loads(request.body)
    except ValueError:
        value = None
    missing = [["body", name] for name in needed if name not in value] if isinstance(value, dict) else [["body"]]
    if missing:
        raise Refusal(422, [{"type": "missing", "loc": place, "msg": "Field required"} for place in missing])
    return dict(value)


def parse(data: bytes) -> tuple[Request, int] | None:
    """The first request in `data` and its length in bytes; None until it is complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > HEAD_LIMIT:
            raise Malformed("head too long")
        return None
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    try:
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise Malformed("not HTTP/1.1") from error
    if "transfer-encoding" in headers or not 0 <= length <= BODY_LIMIT:
        raise Malformed("only bodies with a reasonable Content-Length")
    start, total = end + 4, end + 4 + length
    if len(data) < total:
        return None
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, data[start:total]), total


class Router:
    """Method and path -> handler, with the manners of FastAPI: 405 for a known path, 307 for a slash too many."""

    def __init__(self, not_found: object) -> None:
        self._not_found = not_found
        self._exact: dict[str, dict[str, Handler]] = {}
        self._patterns: list[tuple[str, re.Pattern[str], dict[str, Handler]]] = []

    def add(self, methods: str, path: str, handler: Handler) -> None:
        """Serve `path` for each of the space-separated `methods`. `{}` stands for one part, `{*}` for any rest."""
        if "{" not in path:
            table = self._exact.setdefault(path, {})
        else:
            known = (table for text, _, table in self._patterns if text == path)
            table = next(known, {})
            if not table:
                pattern = re.compile(path.replace("{*}", "(.+)").replace("{}", "([^/]+)"))
                self._patterns.append((path, pattern, table))
        table.update(dict.fromkeys(methods.split(), handler))

    def paths(self) -> dict[str, tuple[str, ...]]:
        """Every path, with its methods."""
        tables = list(self._exact.items()) + [(text, table) for text, _, table in self._patterns]
        return {path: tuple(table) for path, table in tables}

    def __call__(self, request: Request) -> Response:
        table, values = self._find(request.path)
        if table is None:
            return self._missing(request)
        handler = table.get(request.method)
        if handler is None:
            return Refusal(405, "Method Not Allowed", (("Allow", ", ".join(table)),)).response
        try:
            return handler(request, *values)
        except Refusal as refusal:
            return refusal.response

    def _find(self, path: str) -> tuple[dict[str, Handler] | None, tuple[str, ...]]:
        table = self._exact.get(path)
        if table is not None:
            return table, ()
        for _, pattern, handlers in self._patterns:
            if match := pattern.fullmatch(path):
                return handlers, match.groups()
        return None, ()

    def _missing(self, request: Request) -> Response:
        path = request.path
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        if not other or self._find(other)[0] is None:
            return Refusal(404, self._not_found).response
        location = f"http://{request.headers.get('host', '')}{other}" + (f"?{request.query}" if request.query else "")
        return Response(307, content_type="", headers=(("Location", location),))


class Connection(asyncio.Protocol):
    """One client. Answers go out in the order of the requests: while one is due, the next stays in the buffer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def close(self) -> None:
        """End the connection after what is already written."""
        self._transport.close()

    def _advance(self) -> None:
        while self._buffer and not self.busy and not self._transport.is_closing():
            try:
                found = parse(self._buffer)
            except Malformed as error:
                self._transport.write(Refusal(400, str(error)).response.encode(head=False, close=True))
                return self.close()
            if found is None:
                return None
            request, length = found
            self._buffer = self._buffer[length:]
            self._answer(request, self._server.respond(request))
        return None

    def _answer(self, request: Request, response: Response) -> None:
        if response is RESET:
            return self._reset()
        if not response.delay:
            return self._write(request, response)
        self.busy = True
        if response.delay != math.inf:
            asyncio.get_running_loop().call_later(response.delay, self._write_late, request, response)
        return None

    def _write_late(self, request: Request, response: Response) -> None:
        self.busy = False
        if not self._transport.is_closing():
            self._write(request, response)
            self._advance()

    def _write(self, request: Request, response: Response) -> None:
        close = self._server.draining or request.headers.get("connection", "").lower() == "close"
        self._transport.write(response.encode(head=request.method == "HEAD", close=close))
        if close:
            self.close()

    def _reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # linger 0: RST instead of FIN
        self._transport.abort()


class Server:
    """One port on 127.0.0.1, which can be opened and closed while the process lives. No SO_REUSEPORT: a second
    process on the same port must fail, not share its connections."""

    def __init__(self, answer: Answer, *, access_log: bool = False) -> None:
        self._application = answer
        self._access_log = access_log
        self._listener: asyncio.Server | None = None
        self.connections: set[Connection] = set()
        self.draining = False

    async def open(self, port: int) -> None:
        """Listen on `port`, or raise OSError. Does nothing while it listens."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(lambda: Connection(self), "127.0.0.1", port, backlog=512)

    def shut(self) -> None:
        """Close the port; running connections stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def cut(self) -> None:
        """Close the port and every connection."""
        self.shut()
        for connection in list(self.connections):
            connection.close()

    def respond(self, request: Request) -> Response:
        """The application's answer; an error in it is a 500 and a traceback on stderr."""
        try:
            response = self._application(request)
        except Exception:
            sys.stderr.write(traceback.format_exc())
            response = Refusal(500, BROKEN).response
        if self._access_log:
            sys.stdout.write(f"{request.method} {request.path} {response.status}\n")
        return response

    async def drain(self, limit: float = 5.0) -> None:
        """Stop for good: no new connections, `Connection: close` on the running ones, at most `limit` seconds."""
        self.draining = True
        self.shut()
        begin = time.monotonic()
        while self.connections and (waited := time.monotonic() - begin) < limit:
            if waited >= IDLE_GRACE:
                for connection in [each for each in self.connections if not each.busy]:
                    connection.close()
            await asyncio.sleep(0.01)
