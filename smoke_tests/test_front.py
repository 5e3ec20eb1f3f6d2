"""miniapp and showcu-panel: the page, and every asset that it names.

Any other path answers index.html too, and `/health` is a static OK: so what counts is what the page names.
"""

from __future__ import annotations

import re

import httpx
import pytest

from onlyvips_release.expect import Target, answered, require, same

pytestmark = [pytest.mark.service("miniapp", "showcu-panel"), pytest.mark.severity("critical")]

TITLES = {"miniapp": "OnlyVips MiniApp", "showcu-panel": "OnlyVips - İçerik Üretici Platformu"}
TYPES = {"js": "javascript", "css": "css", "svg": "svg", "png": "png", "ico": "image", "json": "json"}
KINDS = ("js", "css")


def page_of(client: httpx.Client, path: str = "/") -> str:
    """A page of the front."""
    answer = answered(client.get(path))
    kind = answer.headers.get("content-type", "none")
    require("html" in kind, f"{path}: content type", expected="html", got=kind)
    return answer.text


def named(page: str, kind: str = "") -> list[str]:
    """The paths of the front's own files (of one kind) that a page names."""
    found = re.findall(r'(?:src|href)="(?!https?:|//|data:)([^"?#]+\.(\w+))', page)
    return [path for path, ending in found if kind in ("", ending)]


@pytest.mark.severity("blocker")
@pytest.mark.title("{service}: its page has its title")
def test_page_has_its_title(service: Target, onlyvips_api: httpx.Client) -> None:
    found = re.search(r"<title>(.*?)</title>", page_of(onlyvips_api))
    same("title", found[1] if found else None, TITLES[service.name])


@pytest.mark.title("{service}: its page has the place where the application appears")
def test_page_has_the_place_of_the_application(service: Target, onlyvips_api: httpx.Client) -> None:
    page = page_of(onlyvips_api)
    require('id="root"' in page, f"{service}: page", expected='an element with id="root"', got=page[:300])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.title("{service}: every {kind} file that the page names is there")
def test_named_files_are_there(service: Target, onlyvips_api: httpx.Client, kind: str) -> None:
    paths = named(page_of(onlyvips_api), kind)
    require(paths, f"{service}: files that the page names", expected=f"at least one .{kind}", got="none")
    for path in paths:
        answer = answered(onlyvips_api.get(path))
        got = answer.headers.get("content-type", "none")
        require(TYPES[kind] in got, f"{path}: content type", expected=TYPES[kind], got=got)
        require(answer.content, f"{path}: content", expected="something", got="nothing")


@pytest.mark.title("{service}: no named file is a page in disguise")
def test_named_files_are_no_pages(service: Target, onlyvips_api: httpx.Client) -> None:
    for path in named(page_of(onlyvips_api)):
        text = onlyvips_api.get(path).text.lstrip()[:100].lower()
        require(not text.startswith("<!doctype html"), f"{service}: {path}", expected="no page", got=text)


@pytest.mark.severity("normal")
@pytest.mark.title("{service}: a file that was never built is not found, instead of a page")
def test_missing_file_is_not_found(service: Target, onlyvips_api: httpx.Client) -> None:
    assert service.routed
    answered(onlyvips_api.get("/assets/never-built.js"), 404)


@pytest.mark.title("{service}: a deep link opens the application")
def test_deep_link_opens_the_application(service: Target, onlyvips_api: httpx.Client) -> None:
    found = re.search(r"<title>(.*?)</title>", page_of(onlyvips_api, "/profile"))
    same("title", found[1] if found else None, TITLES[service.name])
