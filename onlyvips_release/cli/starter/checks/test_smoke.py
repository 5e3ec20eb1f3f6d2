"""Does the revision under test do its work? Alone: pytest checks/test_smoke.py --release-target web=http://..."""

import httpx
import pytest

from onlyvips_release.expect import Target, answered, require


@pytest.mark.severity("blocker")
@pytest.mark.title("{service}: the page is there")
def test_page_is_there(service: Target, api: httpx.Client) -> None:
    page = answered(api.get("/"))
    require("<h1>" in page.text, f"{service}: page", expected="a headline", got=page.text[:200])


@pytest.mark.severity("normal")
@pytest.mark.title("{service}: a page that was never made is not found")
def test_missing_page_is_not_found(service: Target, api: httpx.Client) -> None:
    answered(api.get("/never-made"), 404)
