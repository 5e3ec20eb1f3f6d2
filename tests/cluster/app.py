"""The service that test pods run: a small HTTP server whose faults environment variables choose.

It runs inside the image with the standard library alone.

REVISION=text          value of the answer's header x-revision
START=fail|memory      end at once with exit code 3, or take memory until the kernel kills it
READY=no               answer 503 at /ready
TERMINATE=drain|exit|close  at SIGTERM: serve 2 s more and end, end at once, or close the listener and end after 2 s
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

PORT = 8000
DRAIN_SECONDS = 2.0


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until the client closes it."""
    revision = os.environ.get("REVISION", "none")
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, path, *_ = head.decode("latin-1").split(" ", 2)
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
            )
            await reader.readexactly(length)
            ready = path != "/ready" or os.environ.get("READY") != "no"
            body = b"" if method == "HEAD" else f"{revision} {method} {path}\n".encode()
            status = "200 OK" if ready else "503 Service Unavailable"
            fields = f"x-revision: {revision}\r\ncontent-length: {len(body)}"
            writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve() -> None:
    """Listen until SIGTERM, then end in the chosen manner."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(answer, "0.0.0.0", PORT, backlog=512)
    print(f"revision {os.environ.get('REVISION')} serves", flush=True)
    await stop.wait()
    manner = os.environ.get("TERMINATE", "drain")
    if manner == "close":
        server.close()
    if manner != "exit":
        await asyncio.sleep(DRAIN_SECONDS)
    print("ended", flush=True)
    os._exit(0)


def main() -> None:
    """Start, or fail to."""
    start = os.environ.get("START", "")
    if start == "fail":
        print("start fails on purpose", flush=True)
        sys.exit(3)
    if start == "memory":
        kept = []
        while True:
            kept.append(os.urandom(1 << 20))
    asyncio.run(serve())


if __name__ == "__main__":
    main()
