"""What a person asks of a running release: `live/request.json`, written by another command, read at every beat."""

from __future__ import annotations

import json
from pathlib import Path

from onlyvips_release.core.model import Request


class RequestFile:
    """One wish at a time; reading takes it away."""

    def __init__(self, live: Path) -> None:
        self.path = live / "request.json"

    def take(self) -> Request | None:
        """The request since the last call, None = nothing (an unreadable file is nothing, and is taken away)."""
        try:
            found = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            found = {}
        self.path.unlink(missing_ok=True)
        if not isinstance(found, dict) or "what" not in found:
            return None
        return Request(str(found["what"]), str(found.get("by", "somebody")), reason=str(found.get("reason", "")))

    def ask(self, request: Request) -> None:
        """Leave a request for the controller that holds the lease."""
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"what": request.what, "by": request.by, "reason": request.reason}))
        temporary.rename(self.path)
