"""miniapp and showcu-panel: a built single-page application behind nginx.

`/health...` is a static OK that says nothing, any other path is index.html, only a missing asset type is 404. The real
fronts pass `/api/` on to the *stable* backend; here nothing is behind them, so `/api/` is 502.
"""

from __future__ import annotations

import hashlib

from onlyvips_release.sandbox.faults import Faults
from onlyvips_release.sandbox.http import Request, Response

TITLES = {"miniapp": "OnlyVips MiniApp", "showcu-panel": "OnlyVips - İçerik Üretici Platformu"}
ASSET_TYPES = (".js", ".css", ".png", ".jpg", ".jpeg", ".gif", ".ico", ".svg")


def is_health(path: str) -> bool:
    """nginx matches a prefix: `/healthz` is health too."""
    return path.startswith("/health")


def _html(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/html; charset=utf-8")


def _page(title: str, script: str, style: str) -> str:
    head = f'<meta charset="UTF-8"><title>{title}</title><link rel="stylesheet" href="{style}">'
    body = f'<div id="root"></div><script type="module" src="{script}"></script>'
    return f'<!DOCTYPE html><html lang="tr"><head>{head}</head><body>{body}</body></html>'


def files(service: str) -> dict[str, Response]:
    """What a front's index.html names: one script and one style sheet, by path. Every build has the same."""
    script = f'document.getElementById("root").textContent = "{TITLES[service]}";\n'.encode() * 40
    style = b"#root { font-family: sans-serif; }\n" * 40
    names = [f"/assets/index-{hashlib.sha256(data).hexdigest()[:8]}" for data in (script, style)]
    return {
        f"{names[0]}.js": Response(200, script, "application/javascript"),
        f"{names[1]}.css": Response(200, style, "text/css"),
    }


class Front:
    """One process of a front: all its answers are made at the start."""

    def __init__(self, service: str, faults: Faults) -> None:
        self._faults = faults
        self._files = files(service)
        self._index = _html(200, _page(TITLES[service], *self._files))
        self._health = Response(200, b"OK", "application/octet-stream", (("Content-Type", "text/plain"),))
        self._missing = _html(404, "<h1>404 Not Found</h1>")

    def answer(self, request: Request) -> Response:
        """One request, as nginx with `try_files ... /index.html` serves it."""
        path = request.path
        if request.method not in ("GET", "HEAD"):
            return _html(405, "<h1>405 Not Allowed</h1>")
        if is_health(path):
            return self._health
        if path.startswith("/api/"):
            return _html(502, "<h1>502 Bad Gateway</h1>")
        if path in self._files and not self._faults.on("asset_404"):
            return self._files[path]
        return self._missing if path.endswith(ASSET_TYPES) else self._index
