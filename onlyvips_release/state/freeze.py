"""Blocking new releases of a platform: `freeze` and `unfreeze`."""

from __future__ import annotations

from onlyvips_release.state.files import make_folder, write_whole
from onlyvips_release.state.layout import Layout


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
