"""Requests of suites: clients that make a *connection* again, remember what was said, and let secrets be learned."""

from __future__ import annotations

import contextlib
import json
import random
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import httpx
import tenacity

from onlyvips_release.suites.context import Target
from onlyvips_release.suites.secrets import Mask

ATTEMPTS, WITHIN, PAUSE = 3, 5.0, 0.2
"""A connection is tried so often, for so many seconds in all, with so many seconds between."""
KEPT = 3
"""Requests that are told with a failure: the last ones of the test."""
BODY = 600
"""Characters of a body that are told."""
LONGEST_FORM = 200
"""Bytes within which a form has its first `=`."""


@dataclass
class Spoken:
    """One request and what came of it."""

    request: httpx.Request
    response: httpx.Response | None = None
    error: str = ""

    def told(self, mask: Mask) -> dict[str, str]:
        """As two texts without secrets."""
        sent, got = self.request, self.response
        pin = " pinned" if "x-onlyvips-pin" in sent.headers else ""
        who = " signed in" if "authorization" in sent.headers else ""
        request = f"{sent.method} {sent.url} (host {sent.headers.get('host', '')}{pin}{who}) {cut(sent.content)}"
        response = self.error
        if got is not None:
            said = [f"{name}: {got.headers[name]}" for name in TOLD_HEADERS if name in got.headers]
            took = got.elapsed.total_seconds() * 1000
            response = f"HTTP {got.status_code} in {took:.0f} ms ({', '.join(said)}) {cut(got.content)}"
        return {"request": mask(request).strip(), "response": mask(response).strip()}


TOLD_HEADERS = ("content-type", "location", "x-onlyvips-arm", "x-onlyvips-revision", "x-ratelimit-remaining")


def cut(data: bytes) -> str:
    """The beginning of a body, on one line."""
    text = " ".join(data.decode(errors="replace").split())
    return text if len(text) <= BODY else f"{text[:BODY]}… ({len(data)} bytes)"


class Connections:
    """One httpx client per service and arm, kept open for the session.

    A connection is made again before anything was sent, never a request. Each time is counted for the test that runs
    (`begin`). All requests come from one client address of their own (X-Forwarded-For), so that the platform's sign-in
    limiter, which counts per client, is not shared with anybody.
    """

    def __init__(self, arguments: dict[str, Any], mask: Mask) -> None:
        self.arguments, self.mask = arguments, mask
        self.clients: dict[tuple[str, str], httpx.Client] = {}
        self.spoken: deque[Spoken] = deque(maxlen=KEPT)
        self.retries = 0
        self.address = f"198.18.{random.randrange(256)}.{random.randrange(1, 255)}"

    def begin(self) -> None:
        """Another test runs from now on."""
        self.retries = 0
        self.spoken.clear()

    def client(self, target: Target, arm: str) -> httpx.Client:
        """The client of a service's arm."""
        key = (target.name, arm)
        if key not in self.clients:
            self.clients[key] = self._connect(target, arm)
        return self.clients[key]

    def close(self) -> None:
        """The end of the session."""
        for client in self.clients.values():
            client.close()

    def _connect(self, target: Target, arm: str) -> httpx.Client:
        own = {"User-Agent": "onlyvips-release", "X-Forwarded-For": self.address, **target.headers[arm]}
        given = {"timeout": httpx.Timeout(10, connect=1.5), "transport": Patient(self), **self.arguments}
        hooks = {"response": [self._heard]}
        headers = {**own, **given.pop("headers", {})}
        return httpx.Client(base_url=target.urls[arm], headers=headers, event_hooks=hooks, **given)

    def _heard(self, response: httpx.Response) -> None:
        response.read()
        self.spoken[-1].response = response
        self.mask.learn_from(dict(response.request.headers))
        self.mask.learn_from([{"set-cookie": value} for value in response.headers.get_list("set-cookie")])
        self.mask.learn_from(parsed(response.request.content))
        self.mask.learn_from(parsed(response.content))

    def _again(self, _: object) -> None:
        self.retries += 1


class Patient(httpx.HTTPTransport):
    """A transport that connects again."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self.connections = connections
        self.retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((httpx.ConnectError, httpx.ConnectTimeout)),
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(WITHIN),
            wait=tenacity.wait_fixed(PAUSE),
            before_sleep=connections._again,
            reraise=True,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request, remembered whatever comes of it."""
        spoken = Spoken(request)
        self.connections.spoken.append(spoken)
        try:
            return self.retrying(super().handle_request, request)
        except httpx.HTTPError as error:
            spoken.error = f"no answer: {type(error).__name__}: {error}"
            raise


def parsed(body: bytes) -> object:
    """What a body says, as JSON or as a form; pages and the like say nothing."""
    if body[:1] in (b"{", b"["):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(body)
    return dict(parse_qsl(body.decode(errors="replace"))) if b"=" in body[:LONGEST_FORM] else None
