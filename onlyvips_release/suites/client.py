"""HTTP clients of suites: they repeat a *connection*, keep the last exchanges, and learn the secrets in them."""

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
from onlyvips_release.suites.stream import Exchange

ATTEMPTS, WITHIN, PAUSE = 3, 5.0, 0.2
"""A connection is tried so often, for so many seconds in all, with so many seconds between."""
KEPT = 3
"""Requests that are shown with a failure: the last ones of the test."""
BODY = 600
"""Characters of a body that are shown."""
LONGEST_FORM = 200
"""Bytes within which a form has its first `=`."""


SHOWN_HEADERS = ("content-type", "location", "x-onlyvips-arm", "x-onlyvips-revision", "x-ratelimit-remaining")


@dataclass
class Sent:
    """One request and what came of it: a response, or an error."""

    request: httpx.Request
    response: httpx.Response | None = None
    error: str = ""

    def exchange(self, mask: Mask) -> Exchange:
        """As texts without secrets."""
        sent, answer = self.request, self.response
        pin = " pinned" if "x-onlyvips-pin" in sent.headers else ""
        who = " signed in" if "authorization" in sent.headers else ""
        request = f"{sent.method} {sent.url} (host {sent.headers.get('host', '')}{pin}{who}) {cut(sent.content)}"
        response = self.error
        if answer is not None:
            headers = [f"{name}: {answer.headers[name]}" for name in SHOWN_HEADERS if name in answer.headers]
            took = answer.elapsed.total_seconds() * 1000
            response = f"HTTP {answer.status_code} in {took:.0f} ms ({', '.join(headers)}) {cut(answer.content)}"
        return Exchange(mask(request).strip(), mask(response).strip())


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
        self.sent: deque[Sent] = deque(maxlen=KEPT)
        self.retries = 0
        self.address = f"198.18.{random.randrange(256)}.{random.randrange(1, 255)}"

    def begin(self) -> None:
        """Another test runs from now on."""
        self.retries = 0
        self.sent.clear()

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
        given = {"timeout": httpx.Timeout(10, connect=1.5), "transport": RetryingTransport(self), **self.arguments}
        hooks = {"response": [self._keep]}
        headers = {**own, **given.pop("headers", {})}
        return httpx.Client(base_url=target.urls[arm], headers=headers, event_hooks=hooks, **given)

    def _keep(self, response: httpx.Response) -> None:
        response.read()
        self.sent[-1].response = response
        self.mask.learn_from(dict(response.request.headers))
        self.mask.learn_from([{"set-cookie": value} for value in response.headers.get_list("set-cookie")])
        self.mask.learn_from(parsed(response.request.content))
        self.mask.learn_from(parsed(response.content))

    def count_retry(self, _: object) -> None:
        """One more connection of this test had to be made again."""
        self.retries += 1


class RetryingTransport(httpx.HTTPTransport):
    """A transport that connects again."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self.connections = connections
        self.retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((httpx.ConnectError, httpx.ConnectTimeout)),
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(WITHIN),
            wait=tenacity.wait_fixed(PAUSE),
            before_sleep=connections.count_retry,
            reraise=True,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request, kept whatever comes of it."""
        sent = Sent(request)
        self.connections.sent.append(sent)
        try:
            return self.retrying(super().handle_request, request)
        except httpx.HTTPError as error:
            sent.error = f"no answer: {type(error).__name__}: {error}"
            raise


def parsed(body: bytes) -> object:
    """A body that is JSON or a form, as values; None for pages and the like."""
    if body[:1] in (b"{", b"["):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(body)
    return dict(parse_qsl(body.decode(errors="replace"))) if b"=" in body[:LONGEST_FORM] else None
