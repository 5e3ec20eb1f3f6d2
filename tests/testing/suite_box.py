"""The platform in one thread, behind a router in miniature: each service's canary can be mutated, its stable is sound.

Only tests know of it: the suites reach it by HTTP, by the context file, and by logs, like any platform.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from onlyvips_release.clients.process import birth
from onlyvips_release.sandbox.backend import Backend
from onlyvips_release.sandbox.demo import free_ports
from onlyvips_release.sandbox.faults import Faults
from onlyvips_release.sandbox.front import Front
from onlyvips_release.sandbox.http import Answer, Request, Response, Server
from onlyvips_release.sandbox.store import issue
from onlyvips_release.sandbox.tasks import TASKS

SECRET = "a-secret-of-the-box"
TOKEN = "5f0c1e7a9b3d2468ace013579bdf0246"
PINS = {arm: f"{arm}-{TOKEN}" for arm in ("canary", "stable")}
HEALTH = {"backend-api": "/api/health/health", "miniapp": "/health", "showcu-panel": "/health"}
REVISIONS = {"stable": "v1", "canary": "v2"}

Middleware = Callable[[Request, Answer], Response]
"""What stands between the router and a service; the sound one passes the request on."""


class Said(NamedTuple):
    """One request as the router saw it."""

    service: str
    arm: str
    method: str
    path: str
    status: int
    client: str
    agent: str
    body: str


def sound(request: Request, answer: Answer) -> Response:
    """Nothing is wrong."""
    return answer(request)


def application(service: str) -> Backend | Front:
    """A fresh process of a service."""
    faults = Faults(service)
    return Backend(faults, SECRET, "test") if service == "backend-api" else Front(service, faults)


class Box:
    """`ports` by service. `wrap[arm]` stands before that arm of every service; `fresh()` forgets all users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(list(HEALTH))
        self.arms: dict[tuple[str, str], Backend | Front] = {}
        self.wrap: dict[tuple[str, str], Middleware] = {}
        self.says: dict[str, tuple[str, str]] = {}
        self.seen: list[Said] = []
        self.loop = asyncio.new_event_loop()
        self.silent = False
        self.fresh()

    def fresh(self) -> None:
        """New processes, no mutation, clean logs, a bot at work."""
        self.arms = {(name, arm): application(name) for name in HEALTH for arm in PINS}
        self.wrap, self.says, self.silent = {}, {}, False
        self.seen.clear()
        for name in (*HEALTH, "flirt-bot"):
            for arm in PINS:
                self.log(name, arm).write_text(f"{name}: started\n")

    def log(self, service: str, arm: str = "canary") -> Path:
        """Of an arm's process."""
        return self.folder / f"{service}.{arm}.log"

    def users(self, arm: str) -> list[str]:
        """Whom an arm's backend knows."""
        backend = self.arms["backend-api", arm]
        assert isinstance(backend, Backend)
        return sorted(backend.store.users)

    def use_up(self) -> None:
        """Everybody who completes tasks has tried every one of them today."""
        for arm in PINS:
            backend = self.arms["backend-api", arm]
            assert isinstance(backend, Backend)
            for user in (u for name, u in backend.store.users.items() if not name.startswith("smokecheck")):
                user.attempts = dict.fromkeys(TASKS, 1)
                user.pending = set(TASKS) - user.done
                backend.store.pending |= {f"{user.name}_{task}": (user.name, task) for task in user.pending}

    def answer(self, service: str) -> Answer:
        """The router: the pin chooses the arm, who brings none gets the canary (a bare URL is the canary's)."""

        def routed(request: Request) -> Response:
            pin = request.headers.get("x-onlyvips-pin", "")
            arm = pin.partition("-")[0] or "canary"
            headers = {k: v for k, v in request.headers.items() if k != "x-onlyvips-pin"}
            passed = replace(request, headers=headers)
            response = self.wrap.get((service, arm), sound)(passed, self.arms[service, arm].answer)
            client, agent = headers.get("x-forwarded-for", ""), headers.get("user-agent", "")
            body = request.body.decode()
            self.seen.append(Said(service, arm, request.method, request.path, response.status, client, agent, body))
            if not pin:
                return response
            told = self.says.get(service, (arm, REVISIONS[arm])) if arm == "canary" else (arm, REVISIONS[arm])
            labels = tuple(zip(("x-onlyvips-arm", "x-onlyvips-revision"), told, strict=True))
            return replace(response, headers=(*response.headers, *labels))

        return routed

    def context(self, arm: str = "canary", admin: bool = True) -> dict[str, Any]:
        """As the release runner describes it; the bot is seen where stable is under test."""
        process = psutil.Process()
        identity = f"pid {process.pid} started {birth(process.pid):.2f} command 0123"
        services: dict[str, Any] = {}
        for name in (*HEALTH, "flirt-bot"):
            instance = {"identity": identity, "pid": process.pid, "alive": True, "port": self.ports.get(name)}
            both = [{**instance, "arm": a, "revision": r, "log": str(self.log(name, a))} for a, r in REVISIONS.items()]
            services[name] = {"routed": name in HEALTH, "revisions": dict(REVISIONS), "instances": both}
            if name in HEALTH:
                url = f"http://127.0.0.1:{self.ports[name]}"
                known = {"url": url, "host": f"{name}.local", "health": HEALTH[name], "pins": PINS}
                services[name] |= {**known, "identity": {"header": "x-app-revision", "json": ""}}
        claims: dict[str, object] = {"sub": "admin", "exp": int(time.time()) + 600}
        if admin:
            services["backend-api"]["admin"] = accepted(claims)
        return {"release": "r0007", "step": 0, "suite": "smoke", "arm": arm, "weight": 0, "services": services}

    async def serve(self) -> None:
        """All services, and the bot's log."""
        servers = [Server(self.answer(name)) for name in self.ports]
        for server, port in zip(servers, self.ports.values(), strict=True):
            await server.open(port)
        number = 0
        try:
            while True:
                await asyncio.sleep(0.02)
                number += 1
                if not self.silent:
                    with self.log("flirt-bot").open("a") as file:
                        file.write(f"handled update {number}\n")
        finally:
            for server in servers:
                server.cut()
            await asyncio.sleep(0.05)  # the connections' last words


def accepted(claims: dict[str, object]) -> str:
    """A token that the platform's filter lets pass."""
    tokens = (issue({**claims, "n": number}, SECRET) for number in range(100))
    return next(token for token in tokens if "--" not in token)


@contextmanager
def box(folder: Path) -> Iterator[Box]:
    """The platform, in a thread of its own."""
    found = Box(folder)
    thread = threading.Thread(target=_run, args=(found,), daemon=True)
    thread.start()
    for port in found.ports.values():
        _wait(port)
    yield found
    found.loop.call_soon_threadsafe(found.loop.stop)
    thread.join(5)


def _run(found: Box) -> None:
    asyncio.set_event_loop(found.loop)
    task = found.loop.create_task(found.serve())
    found.loop.run_forever()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        found.loop.run_until_complete(task)
    found.loop.close()


def _wait(port: int) -> None:
    import socket  # noqa: PLC0415

    end = time.monotonic() + 5
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)


# --- mutations of answers ---------------------------------------------------------------------------------------------


def edited(path: str, change: Callable[[Any], Any], method: str = "") -> Middleware:
    """The JSON of good answers to `path` (a prefix if it ends in `*`), changed."""

    def middleware(request: Request, answer: Answer) -> Response:
        response = answer(request)
        if not hits(request, path, method) or response.status != 200 or "json" not in response.content_type:
            return response
        return replace(response, body=json.dumps(change(json.loads(response.body))).encode())

    return middleware


def instead(path: str, status: int, body: str = "{}", kind: str = "application/json", method: str = "") -> Middleware:
    """Another answer to `path`."""

    def middleware(request: Request, answer: Answer) -> Response:
        return Response(status, body.encode(), kind) if hits(request, path, method) else answer(request)

    return middleware


def hits(request: Request, path: str, method: str = "") -> bool:
    """Whether a mutation is about this request."""
    same = request.path.startswith(path[:-1]) if path.endswith("*") else request.path == path
    return same and method in ("", request.method)


def without(path: str, *fields: str) -> Middleware:
    """Answers to `path` lack these fields, at any depth."""
    return edited(path, lambda body: stripped(body, fields))


def stripped(value: Any, fields: tuple[str, ...]) -> Any:
    """JSON without these fields."""
    if isinstance(value, dict):
        return {key: stripped(inner, fields) for key, inner in value.items() if key not in fields}
    return [stripped(inner, fields) for inner in value] if isinstance(value, list) else value


def valued(path: str, field: str, value: Any) -> Middleware:
    """Answers to `path` have another value in this field, at any depth."""
    return edited(path, lambda body: revalued(body, field, value))


def revalued(value: Any, field: str, new: Any) -> Any:
    """JSON with this value in every such field."""
    if isinstance(value, dict):
        return {key: new if key == field else revalued(inner, field, new) for key, inner in value.items()}
    return [revalued(inner, field, new) for inner in value] if isinstance(value, list) else value


def lenient(path: str, refusal: int, when: Callable[[Request], bool] = lambda _: True, method: str = "") -> Middleware:
    """What is refused with this status is let in."""

    def middleware(request: Request, answer: Answer) -> Response:
        response = answer(request)
        let_in = hits(request, path, method) and response.status == refusal and when(request)
        body = {"access_token": "a.b.c", "token_type": "bearer", "status": "success", "username": "demo"}
        return Response(200, json.dumps(body).encode()) if let_in else response

    return middleware


def own_environment() -> dict[str, str]:
    """Of a pytest that inherits nothing of ours."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "ONLYVIPS", "COV"))}
