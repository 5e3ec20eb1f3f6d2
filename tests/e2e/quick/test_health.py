"""The smallest suite that proves something, smoke and canary alike: health of each routed service on the arm."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CONTEXT: dict[str, Any] = json.loads(Path(os.environ["ONLYVIPS_CONTEXT"]).read_text())
ROUTED = [name for name, service in CONTEXT["services"].items() if service["routed"]]


@pytest.mark.parametrize("name", ROUTED)
def test_pinned_health_is_answered_by_the_arm_under_test(name: str) -> None:
    service = CONTEXT["services"][name]
    connection = http.client.HTTPConnection(urlsplit(service["url"]).netloc, timeout=5)
    headers = {"Host": service["host"], "x-onlyvips-pin": service["pins"][CONTEXT["arm"]]}
    connection.request("GET", service["health"], headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["x-onlyvips-arm"] == CONTEXT["arm"]
    assert answer.headers["x-onlyvips-revision"] == service["revisions"][CONTEXT["arm"]]
    connection.close()
