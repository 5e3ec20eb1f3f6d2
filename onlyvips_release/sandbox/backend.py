"""backend-api: the platform's main service, with the bodies, refusals and quirks that were measured on it.

Kept: health that checks nothing, HEAD 405, 307s, errors as 200, successes as 500 (tasks 1 and 5), the families that
are always 500, the input filter, 1 % of tokens that are bad, GET /api/users/{own} destroying the password.
Left out: the rate limiter and all else that needs Redis (there is none here). The metrics have counters only.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from urllib.parse import parse_qs, unquote

from onlyvips_release.sandbox.accounts import Accounts
from onlyvips_release.sandbox.catalogue import Catalogue
from onlyvips_release.sandbox.faults import Faults
from onlyvips_release.sandbox.http import BROKEN, Refusal, Request, Response, Router, as_json
from onlyvips_release.sandbox.store import Store
from onlyvips_release.sandbox.tasks import Tasks

NAME, VERSION = "OnlyVips API", "1.0.0"

_FILTER = re.compile(
    r"[;&|$`#\x00-\x08\x7f]|--|/\*|\.\./|\b(?:select|insert|update|delete|drop|create|alter|exec|union|script)\b|on\w+\s*=",
    re.IGNORECASE,
)
_EXEMPT = ("/health", "/metrics", "/docs", "/redoc", "/openapi.json")

_ANY = "GET POST PUT DELETE PATCH"
_ALWAYS_BROKEN = (
    (_ANY, "/api/admin/{*}"),
    ("POST", "/api/content/upload"),
    ("POST", "/api/content/{}/like"),
    ("PUT DELETE", "/api/content/{}"),
    ("GET", "/api/showcus/{}/stats"),
    ("GET", "/api/showcus/{}/earnings"),
    ("POST", "/api/showcus/{}/verify"),
    ("POST", "/api/showcus/{}/subscription"),
    ("POST", "/api/showcus/{}/payout"),
    ("POST", "/api/badges/assign"),
    ("POST", "/api/badges/create"),
)


def is_health(path: str) -> bool:
    """Whether `path` is one that orchestrators ask; faults with a share leave it alone."""
    return path == "/health" or path.startswith("/api/health")


def _broken(detail: str) -> Response:
    return Refusal(500, detail).response


class Backend:
    """One process of backend-api: `answer` is the whole application."""

    def __init__(self, faults: Faults, secret: str, environment: str) -> None:
        self._environment = environment
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._started = time.time()
        self._router = Router("Bu endpoint bulunamadı. Lütfen API belgelerine bakın.")
        self.store = store = Store()
        accounts = Accounts(store, faults, secret)
        accounts.routes(self._router)
        Tasks(accounts, store, faults).routes(self._router)
        Catalogue(faults).routes(self._router)
        self._own_routes()

    def answer(self, request: Request) -> Response:
        """One request. What the filter refuses is never counted, as on the platform."""
        if self._filtered(request):
            return _broken(BROKEN)
        response = self._router(request)
        self._requests[request.method, request.path, response.status] += 1
        return response

    def _filtered(self, request: Request) -> bool:
        if any(part in request.path for part in _EXEMPT):
            return False
        headers = request.headers
        texts = [unquote(request.path), headers.get("user-agent", "")]
        if request.query:
            texts += [text for pair in parse_qs(request.query).items() for text in (pair[0], *pair[1])]
        texts += [headers[name] for name in ("authorization", "x-api-key") if name in headers]
        if request.body and "json" in headers.get("content-type", ""):
            texts.append(request.body.decode("utf-8", "replace"))
        return any(_FILTER.search(text) for text in texts)

    def _own_routes(self) -> None:
        add = self._router.add
        about = {"service": NAME, "version": VERSION, "status": "active", "docs_url": "/api/docs"}
        add("GET", "/", lambda _: as_json(about))
        add("GET", "/api/health", lambda _: self._status("healthy", db_status="memory_only"))
        add("GET", "/api/health/health", lambda _: self._status("healthy", service=NAME, version=VERSION))
        add("GET", "/api/health/health/detailed", lambda _: self._detailed())
        add("GET", "/api/health/health/readiness", lambda _: self._probe("ready", "Service is ready"))
        add("GET", "/api/health/health/liveness", lambda _: self._probe("alive", "Service is alive"))
        add("GET", "/api/health/metrics", lambda _: self._metrics())
        add("GET", "/api/docs", lambda _: self._docs())
        add("GET", "/api/openapi.json", lambda _: self._openapi())
        add(_ANY, "/api/payments/{*}", lambda *_: _broken("Failed to fetch wallet info"))
        for methods, path in _ALWAYS_BROKEN:
            add(methods, path, lambda *_: _broken(BROKEN))

    def _status(self, status: str, **more: object) -> Response:
        return as_json({"status": status, "timestamp": time.time(), **more, "environment": self._environment})

    def _probe(self, status: str, message: str) -> Response:
        uptime = {"uptime_seconds": time.time() - self._started} if status == "alive" else {}
        return as_json({"status": status, "timestamp": time.time(), **uptime, "message": message})

    def _detailed(self) -> Response:
        database = {"status": "healthy", "type": "memory", "response_time_ms": 0.1, "message": "Memory store"}
        redis = {"status": "unhealthy", "response_time_ms": 0, "error": "no Redis in the sandbox"}
        checks = {"database": database, "redis": redis, "external_services": {}}
        return self._status("degraded", total_check_time_ms=0.1, service=NAME, version=VERSION, checks=checks)

    def _metrics(self) -> Response:
        counts: Counter[tuple[str, str, int]] = Counter()
        for (method, path, status), count in self._requests.items():
            endpoint = re.sub(r"/[A-Za-z0-9_-]{11,}", "/{id}", path.removeprefix("/api"))
            counts[method, endpoint, status] += count
        lines = ["# TYPE http_requests_total counter"]
        for (method, endpoint, status), count in sorted(counts.items()):
            labels = f'method="{method}",endpoint="{endpoint}",status_code="{status}"'
            lines.append(f"http_requests_total{{{labels}}} {count}")
        lines += ["# TYPE process_cpu_seconds_total counter", f"process_cpu_seconds_total {time.process_time():.3f}"]
        lines += ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {self._started:.3f}", ""]
        return Response(200, "\n".join(lines).encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _docs(self) -> Response:
        page = f"<!DOCTYPE html><title>{NAME} - Swagger UI</title><a href=/api/openapi.json>openapi.json</a>"
        return Response(200, page.encode(), "text/html; charset=utf-8")

    def _openapi(self) -> Response:
        done = {"200": {"description": "Successful Response"}}
        paths: dict[str, object] = {}
        for path, methods in self._router.paths().items():
            shown = path.replace("{*}", "{rest}").replace("{}", "{id}")
            name = "rest" if "{rest}" in shown else "id" if "{id}" in shown else ""
            parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            operation = {"responses": done} | ({"parameters": [parameter]} if name else {})
            paths[shown] = {method.lower(): operation for method in methods}
        return as_json({"openapi": "3.1.0", "info": {"title": NAME, "version": VERSION}, "paths": paths})


def create(faults: Faults) -> Backend:
    """backend-api with the settings of its environment: SECRET_KEY and ENVIRONMENT."""
    return Backend(
        faults,
        secret=os.environ.get("SECRET_KEY", "a-sandbox-secret-is-no-secret"),
        environment=os.environ.get("ENVIRONMENT", "development"),
    )
