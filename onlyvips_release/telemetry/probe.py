"""Requests of our own: which arm and revision the router names, and what the app claims of itself."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from onlyvips_release.core.model import Arm, Probe
from onlyvips_release.core.plan import Identity, Service

TIMEOUT = 5.0
"""Seconds for one probe."""


class RouterProber:
    """Port Prober, over the address where users reach the router (`url`) and the token of the release's pins."""

    proof = 20

    def __init__(self, url: str, services: Sequence[Service], token: str) -> None:
        self.url, self.services, self.token = urlsplit(url), services, token

    def probe(self, arm: Arm | None, count: int) -> tuple[Probe, ...]:
        """Services side by side, each with `count` requests in a row, each on a new connection."""
        if count == 1 and len(self.services) == 1:
            return (self._one(arm, self.services[0]),)
        with ThreadPoolExecutor(max(1, len(self.services))) as pool:
            rows = pool.map(lambda service: [self._one(arm, service) for _ in range(count)], self.services)
            return tuple(probe for row in rows for probe in row)

    def _one(self, arm: Arm | None, service: Service) -> Probe:
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.url.hostname or "", self.url.port, timeout=TIMEOUT)
        headers = {
            "Host": service.host.replace("*", "onlyvips.local") or "onlyvips.local",
            "User-Agent": "onlyvips-release",
            "Connection": "close",
        }
        if arm is not None:
            headers["x-onlyvips-pin"] = f"{arm}-{self.token}"
        try:
            connection.request("GET", service.health.path if service.health else "/", headers=headers)
            answer = connection.getresponse()
            body = answer.read(65536)
        except (OSError, http.client.HTTPException) as error:
            return Probe(service.name, None, error=f"{type(error).__name__}: {error}")
        finally:
            connection.close()
        found = answer.headers
        return Probe(
            service.name,
            answer.status,
            found.get("x-onlyvips-arm", ""),
            found.get("x-onlyvips-revision", ""),
            claim(service.identity, dict(found.items()), body),
        )


def claim(identity: Identity | None, headers: dict[str, str], body: bytes) -> str | None:
    """What the app says it is; None where the plan does not ask, "" where the app does not tell."""
    if identity is None:
        return None
    if identity.header:
        lower = {name.lower(): value for name, value in headers.items()}
        return lower.get(identity.header.lower(), "")
    try:
        found: Any = json.loads(body)
        for part in identity.json.split("."):
            found = found[part]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(found)
