"""An upstream of raw sockets whose answers end in odd ways: `python -m tests.testing.odd_server PORT [WAY SHARE]`.

Paths name a way (`/cut`); any other path, besides `/health`, ends in `WAY` for this share of requests, else well.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import sys
import threading
import time

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhellohello"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
STALL = 60.0
"""Seconds until a stalled answer is given up here."""


def answer(connection: socket.socket, way: str, method: str) -> bool:
    """One answer; whether the connection may be used again."""
    match way:
        case "cut":
            connection.sendall(HEAD + b"hello")
        case "cut-chunked":
            connection.sendall(CHUNKED)
        case "head":
            connection.sendall(HEAD)
        case "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        case "stall":
            connection.sendall(HEAD + b"hello")
            time.sleep(STALL)
        case "hang":
            time.sleep(STALL)
        case "late":
            connection.sendall(OK[:-5])
            time.sleep(2)
            connection.sendall(OK[-5:])
            return True
        case "500":
            connection.sendall(OK.replace(b"200 OK", b"500 No"))
            return True
        case "404":
            connection.sendall(OK.replace(b"200 OK", b"404 No"))
            return True
        case "empty":
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            return True
        case _:
            connection.sendall(OK[:-10] if method == "HEAD" else OK)
            return True
    return False


def serve(connection: socket.socket, way: str, share: float) -> None:
    """All requests of one connection."""
    with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
        while line := lines.readline():
            method, path, _ = line.decode().split(" ", 2)
            length = 0
            while header := lines.readline().strip().lower():
                length = int(header[15:]) if header.startswith(b"content-length:") else length
            lines.read(length)
            named = path.split("?")[0].strip("/")
            plain = named == "health" or random.random() >= share
            known = named in ("cut", "cut-chunked", "head", "reset", "stall", "hang", "late", "500", "404", "empty")
            if not answer(connection, named if known else "" if plain else way, method):
                return


def listen(server: socket.socket, way: str = "", share: float = 0.0) -> None:
    """Until the socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection, way, share), daemon=True).start()


if __name__ == "__main__":
    words = [*sys.argv[1:], "", "0"]
    listen(socket.create_server(("127.0.0.1", int(words[0])), backlog=512), words[1], float(words[2]))
