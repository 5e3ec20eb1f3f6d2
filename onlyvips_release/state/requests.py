"""What operators ask: of a running release in `live/request.json`, written by another command and read at every poll;
of a platform in `freeze`, as long as its new releases are blocked."""

from __future__ import annotations

import json
from pathlib import Path

from onlyvips_release.core.events import Requested
from onlyvips_release.errors import Refused
from onlyvips_release.state.files import make_folder, write_whole
from onlyvips_release.state.layout import Layout


class RequestFile:
    """One request at a time; taking it is what tells its author that the controller has it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self) -> Requested | None:
        """Take the request that waits, None = none does. One that cannot be read is a request for "unknown"."""
        taken = self.path.with_suffix(".taken")
        try:
            self.path.rename(taken)
        except FileNotFoundError:
            return None
        try:
            fields = json.loads(taken.read_bytes())
            request = Requested(str(fields["what"]), str(fields["by"]), reason=str(fields.get("reason", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            request = Requested("unknown", "somebody", reason=f"{self.path.name} held no request")
        taken.unlink()
        return request

    def ask(self, request: Requested) -> None:
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


def freeze(layout: Layout, reason: str) -> None:
    """No new release of this platform until `unfreeze`; what runs goes on, and the way back stays open."""
    make_folder(layout.folder)
    write_whole(layout.freeze, reason.encode())


def unfreeze(layout: Layout) -> None:
    """Allow releases again; nothing to do when they are not frozen."""
    layout.freeze.unlink(missing_ok=True)


def frozen(layout: Layout) -> str:
    """Why (and by whom) releases are frozen, "" = they are not."""
    try:
        return layout.freeze.read_text() or "no reason was given"
    except FileNotFoundError:
        return ""
