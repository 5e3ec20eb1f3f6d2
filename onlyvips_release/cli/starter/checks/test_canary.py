"""Is the canary worse than stable?"""

import httpx
import pytest

from onlyvips_release.expect import Target, same


@pytest.mark.severity("critical")
@pytest.mark.title("{service}: the page is answered alike on both arms")
def test_page_is_answered_alike(service: Target, api: httpx.Client, stable_api: httpx.Client) -> None:
    same(f"{service}: status", api.get("/").status_code, stable_api.get("/").status_code)
