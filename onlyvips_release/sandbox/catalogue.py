"""Badges, content and creators: what anyone may read. Content 0..99 counts as cached, as if a shared Redis had seen
it, so that POST view works on each arm; other ids need a GET first.
"""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import parse_qs

from onlyvips_release.sandbox.faults import Faults
from onlyvips_release.sandbox.http import REFUSED, Refusal, Request, Response, Router, as_json

BADGES = [
    {"id": name, "name": name.title(), "description": name.title(), "icon": f"{name}.png"}
    for name in ("starter", "social", "vip")
]

_CONTENT = json.loads("""{
 "title": "Sample Content", "description": "This is a sample content", "type": "image", "category": "general",
 "tags": ["sample"], "is_premium": false, "price": null, "access_requirements": null, "id": "",
 "creator_id": "creator_123", "creator_username": "testcreator", "url": "", "thumbnail_url": "", "file_size": 1048576,
 "duration": null, "views": 150, "likes": 25, "downloads": 10,
 "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}""")
_SHOWCU = json.loads("""{
 "id": "", "username": "samplecreator", "display_name": "Sample Content Creator", "bio": null,
 "email": "creator@example.com", "categories": ["photography"], "is_verified": true, "is_premium": true,
 "subscription_tier": "premium", "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}""")


def _page(request: Request) -> tuple[int, int]:
    """`page` and `per_page` of the query, else 422."""
    query = parse_qs(request.query)
    try:
        page, size = int(query.get("page", ["1"])[0]), int(query.get("per_page", ["20"])[0])
    except ValueError:
        page, size = 0, 0
    if page < 1 or not 1 <= size <= 100:
        raise Refusal(422, [{"type": "range", "loc": ["query", "per_page"], "msg": "page >= 1, per_page 1..100"}])
    return page, size


def _listing(name: str, items: list[dict[str, object]], total: int, page: int, size: int) -> dict[str, object]:
    return {name: items, "total": total, "page": page, "per_page": size, "has_next": page * size < total}


def _content(identity: str) -> dict[str, object]:
    return {
        **_CONTENT,
        "id": identity,
        "url": f"https://example.com/content/{identity}",
        "thumbnail_url": f"https://example.com/thumbnails/{identity}",
    }


def _showcu(identity: str) -> dict[str, object]:
    return {**_SHOWCU, "id": identity}


class Catalogue:
    """What one process shows to anyone."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._views: Counter[str] = Counter({f"content_{number}": 150 for number in range(100)})

    def routes(self, router: Router) -> None:
        """Add the calls of this module."""
        add = router.add
        add("GET", "/api/badges/list", lambda _: as_json({"badges": BADGES}))
        add("GET", "/api/content/", self._contents)
        add("GET", "/api/content/{}", self._one_content)
        add("POST", "/api/content/{}/view", self._view)
        add("GET", "/api/showcus/", self._showcus)
        add("GET", "/api/showcus/{}", self._one_showcu)
        add("GET", "/api/showcus/{}/contents", self._showcu_contents)

    def _contents(self, request: Request) -> Response:
        page, size = _page(request)
        items = [_content(f"content_{(page - 1) * size + index}") for index in range(size)]
        answer = _listing("contents", items, 100, page, size)
        if self._faults.on("changed_type"):
            answer["total"] = "100"
        return as_json(answer)

    def _one_content(self, request: Request, identity: str) -> Response:
        if not identity.startswith("content_"):
            raise Refusal(404, "Content not found")
        self._views.setdefault(identity, 150)
        return as_json({**_content(identity), "views": self._views[identity]})

    def _view(self, request: Request, identity: str) -> Response:
        if self._faults.hits("business_refused"):
            raise Refusal(409, REFUSED)
        if identity not in self._views:
            raise Refusal(404, "Content not found")
        self._views[identity] += 1
        return as_json({"message": "View recorded", "views": self._views[identity]})

    def _showcus(self, request: Request) -> Response:
        page, size = _page(request)
        items = [_showcu(f"showcu_{(page - 1) * size + index}") for index in range(size)]
        return as_json(_listing("showcus", items, 150, page, size))

    def _one_showcu(self, request: Request, identity: str) -> Response:
        if not identity.startswith("showcu_"):
            raise Refusal(404, "Showcu not found")
        return as_json(_showcu(identity))

    def _showcu_contents(self, request: Request, identity: str) -> Response:
        page, size = _page(request)
        names = [f"content_{identity}_{index}" for index in range(size)]
        items: list[dict[str, object]] = [{"id": name, "title": "Content", "type": "image"} for name in names]
        return as_json(_listing("contents", items, 50, page, size))
