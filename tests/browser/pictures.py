"""Takes the screenshots of docs/reports.md: `python -m tests.browser.pictures`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.testing.chrome import Chrome
from tests.testing.kept_releases import published

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def main() -> None:
    """Three pictures, each of what fits into a window."""
    with tempfile.TemporaryDirectory() as folder, Chrome() as chrome:
        published(Path(folder))
        for name, page, width, height in (
            ("report-1280", "e2e/r0002/report.html", 1280, 960),
            ("report-390", "e2e/r0003/report.html", 390, 1400),
            ("index-1280", "index.html", 1280, 600),
        ):
            chrome.look(width=width, height=height)
            chrome.open(f"{Path(folder).as_uri()}/{page}")
            (IMAGES / f"{name}.png").write_bytes(chrome.picture())


if __name__ == "__main__":
    main()
