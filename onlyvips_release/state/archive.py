"""The records of a platform's releases, in its state folder."""

from __future__ import annotations

import os

from onlyvips_release.core.ports import Clock, Lease
from onlyvips_release.state.files import make_folder, write_whole
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.layout import Layout


class FileArchive:
    """Port Archive: `releases/<id>/{journal.jsonl, token}`."""

    def __init__(self, layout: Layout, clock: Clock, lease: Lease) -> None:
        self.layout, self.clock, self.lease = layout, clock, lease

    def names(self) -> list[str]:
        """By the folders that hold a journal."""
        return self.layout.releases()

    def journal(self, release: str) -> FileJournal:
        """Under the number of the claim that is held now."""
        return FileJournal(self.layout.journal(release), self.clock, self.lease.fence)

    def token(self, release: str) -> str:
        """128 random bits, readable by this user alone."""
        path = self.layout.token(release)
        if not path.exists():
            make_folder(path.parent)
            write_whole(path, os.urandom(16).hex().encode())
        return path.read_text()
