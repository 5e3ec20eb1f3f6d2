"""What an operator asks of a running release: `live/request.json`, written by another command, read at every poll."""

from __future__ import annotations

import json
from pathlib import Path

from onlyvips_release.core.model import Request
from onlyvips_release.errors import Refused
from onlyvips_release.state.files import write_whole


class RequestFile:
    """One request at a time; taking it is what tells its author that the controller has it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self) -> Request | None:
        """Take the request that waits, None = none does. One that cannot be read is a request for "unknown"."""
        taken = self.path.with_suffix(".taken")
        try:
            self.path.rename(taken)
        except FileNotFoundError:
            return None
        try:
            fields = json.loads(taken.read_bytes())
            request = Request(str(fields["what"]), str(fields["by"]), reason=str(fields.get("reason", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            request = Request("unknown", "somebody", reason=f"{self.path.name} held no request")
        taken.unlink()
        return request

    def ask(self, request: Request) -> None:
        """Leave a request for the controller that holds the lease. Raises Refused while another one waits.

        Only `abort` replaces another one.
        """
        if request.what != "abort" and self.waits():
            raise Refused("another request waits for the running release", remedy="try again in a few seconds")
        fields = {"what": request.what, "by": request.by, "reason": request.reason}
        write_whole(self.path, json.dumps(fields).encode())

    def waits(self) -> bool:
        """Whether a request was left that no controller has taken."""
        return self.path.exists()

    def withdraw(self) -> None:
        """Take a request back that no controller has taken; nothing to do where there is none."""
        self.path.unlink(missing_ok=True)
