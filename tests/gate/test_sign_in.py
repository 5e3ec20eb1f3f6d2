"""How the smoke checks sign in, against a platform that gives one token per user and second."""

from __future__ import annotations

import time

import httpx

from smoke_tests.conftest import signed_in


def test_token_that_the_platform_refuses_is_replaced_in_the_next_second() -> None:
    start = int(time.time())

    def platform(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("register"):
            return httpx.Response(400)
        second = int(time.time())
        return httpx.Response(200, json={"access_token": "a--b" if second == start else "a-b"})

    with httpx.Client(base_url="http://test", transport=httpx.MockTransport(platform)) as api:
        assert signed_in(api) == {"Authorization": "Bearer a-b"}
