"""Envoy's admin interface on its unix socket. Standard library only: the controller asks it every half second."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from onlyvips_release.errors import Refused, Unavailable

TIMEOUT = 1.0
"""Seconds for one answer; Envoy gives it in a millisecond, or hangs."""

SOCKET = "admin.sock"
"""The socket's name, in the folder that Envoy watches."""

LONGEST_SOCKET_PATH = 100
"""The kernel takes 107 bytes; Envoy ends with exit 1 beyond that."""


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        """To the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Admin:
    """One question at a time, each on a connection of its own; Unavailable when Envoy does not answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def text(self, path: str, method: str = "GET") -> str:
        """The body of an answer."""
        connection = Connection(short(self.folder) / SOCKET)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"the router does not answer ({type(error).__name__})", remedy="onlyvips-release up PLAN"
            ) from error
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The same, parsed."""
        return json.loads(self.text(path))

    def stats(self, pattern: str) -> dict[str, str]:
        """Counters, gauges and texts whose name matches the regular expression, as written (texts in quotes)."""
        lines = self.text(f"/stats?filter={pattern}").splitlines()
        return dict(line.split(": ", 1) for line in lines if ": " in line)

    def total(self, pattern: str) -> int:
        """The sum of the counters or gauges whose whole name matches the regular expression."""
        return sum(int(value) for value in self.stats(f"^{pattern}$").values())


def short(folder: Path) -> Path:
    """The folder itself, or a link to it that is short enough for a socket's path (same name for the same folder)."""
    if len(str(folder / SOCKET)) <= LONGEST_SOCKET_PATH:
        return folder
    import tempfile  # noqa: PLC0415 - slow to import, and rarely needed

    link = Path(tempfile.gettempdir()) / f"ov{os.getuid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    try:
        link.symlink_to(folder)
    except FileExistsError:
        if link.lstat().st_uid != os.getuid() or link.readlink() != folder:
            raise Refused(f"{link} belongs to somebody else", remedy="set ONLYVIPS_STATE to a shorter path") from None
    return link
