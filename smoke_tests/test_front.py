"""miniapp and showcu-panel: the page, and every asset that it names (any other path answers index.html too)."""

from __future__ import annotations

import re

import httpx
import pytest

from onlyvips_release.pytest_plugin import Target

pytestmark = [pytest.mark.service("miniapp", "showcu-panel"), pytest.mark.severity("critical")]

TITLES = {"miniapp": "OnlyVips MiniApp", "showcu-panel": "OnlyVips - İçerik Üretici Platformu"}
TYPES = {"js": "javascript", "css": "css"}


@pytest.mark.title("{service}: its page has its title")
def test_page_is_this_front(service: Target, onlyvips_api: httpx.Client) -> None:
    page = onlyvips_api.get("/")
    assert page.status_code == 200
    assert f"<title>{TITLES[service.name]}</title>" in page.text


@pytest.mark.title("{service}: every asset that the page names is there")
def test_every_named_asset_is_there(service: Target, onlyvips_api: httpx.Client) -> None:
    page = onlyvips_api.get("/").text
    assets = re.findall(r'(?:src|href)="(/[^"]+\.(js|css))"', page)
    assert assets, "the page names no script and no style sheet"
    for path, kind in assets:
        answer = onlyvips_api.get(path)
        assert answer.status_code == 200, f"{path}: expected HTTP 200, got {answer.status_code}"
        assert TYPES[kind] in answer.headers["content-type"], f"{path}: got {answer.headers['content-type']}"
        assert answer.content, f"{path} is empty"


@pytest.mark.title("{service}: an asset that is not there is 404, not a page")
def test_missing_asset_is_404(service: Target, onlyvips_api: httpx.Client) -> None:
    assert onlyvips_api.get("/assets/never-built.js").status_code == 404
