"""What can go wrong with a service, switched on at its start (`--fault`) or while it runs (`--control`).

`TABLE` is the one list: `--help`, the checks of names and values, and the control port all read it. Shares are dealt
out evenly, not drawn: of n requests the fault takes the whole part of n x share, so 0.3 is 30 of 100, every time.
No fault with a share touches a health path, for the platform's health says nothing of its work.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from onlyvips_release.sandbox.http import BROKEN, HANG, RESET, Answer, Refusal, Request, Response, as_json

Value = bool | int | float | str

BACKEND, FRONTS, BOT = "backend-api", "miniapp showcu-panel", "flirt-bot"
HTTP = f"{BACKEND} {FRONTS}"
ALL = f"{HTTP} {BOT}"
LEAK_LIMIT_MB = 512
"""A forgotten leak stops here, before it takes the machine along."""
TICK = 0.1
"""Seconds between two looks at the faults that need no request."""


class BadFault(ValueError):
    """A fault that this service does not know, or a value that makes no sense. The message is for the user."""


def _share(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise ValueError
    return value


def _amount(text: str) -> float:
    if not 0 <= (value := float(text)) < 1e9:
        raise ValueError
    return value


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError
    return value


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text]


def _methods(text: str) -> str:
    names = [name.strip().upper() for name in text.split(",")]
    if not all(name.isalpha() for name in names):
        raise ValueError
    return ",".join(names)


@dataclass(frozen=True, slots=True)
class Fault:
    """How its value is read from text, what it is called in an error, the services that have it, and its meaning."""

    read: Callable[[str], Value]
    form: str
    services: str
    meaning: str


_SHARE, _FLAG = (_share, "a share 0..1"), (_flag, "true or false")
_AMOUNT, _COUNT = (_amount, "a number >= 0"), (_count, "a whole number >= 0")

TABLE: Mapping[str, Fault] = MappingProxyType(
    {
        "errors": Fault(*_SHARE, HTTP, "share of requests answered 500"),
        "error_methods": Fault(_methods, "methods like GET,POST", HTTP, "restricts errors to these methods"),
        "latency_ms": Fault(*_AMOUNT, HTTP, "milliseconds added to answers"),
        "latency_share": Fault(*_SHARE, HTTP, "share of answers that latency_ms slows down (default 1)"),
        "hang": Fault(*_SHARE, HTTP, "share of requests that are never answered"),
        "reset": Fault(*_SHARE, HTTP, "share of requests whose connection is reset without an answer"),
        "error_as_200": Fault(*_SHARE, HTTP, "share of good answers replaced by an error body, still 200"),
        "lost_header": Fault(*_FLAG, HTTP, "answers carry no Content-Type"),
        "never_ready": Fault(*_FLAG, HTTP, "health paths answer 503; real work is fine"),
        "not_listening": Fault(*_FLAG, HTTP, "the port is closed, the process lives (meant for the start)"),
        "close_listener": Fault(*_FLAG, HTTP, "the port and its connections are closed, the process lives"),
        "errors_after": Fault(*_AMOUNT, HTTP, "errors begin this many seconds after they were switched on"),
        "crash_after_requests": Fault(*_COUNT, HTTP, "dies at the request after this many (health is not counted)"),
        "crash_after": Fault(*_AMOUNT, ALL, "dies this many seconds after it was switched on"),
        "exit_at_start": Fault(*_FLAG, ALL, "exits with 1 before it does anything"),
        "leak_mb_per_s": Fault(*_AMOUNT, ALL, f"megabytes that leak each second (up to {LEAK_LIMIT_MB})"),
        "cpu_burn": Fault(*_SHARE, ALL, "share of one core that is burnt beside the work"),
        "no_signin": Fault(*_FLAG, BACKEND, "register, login and telegram answer 500"),
        "auth_open": Fault(*_FLAG, BACKEND, "a call without a token is not refused (it runs as demo)"),
        "lost_field": Fault(*_FLAG, BACKEND, "tasks/list lacks `status`"),
        "changed_type": Fault(*_FLAG, BACKEND, "tasks/list: ids are text; content: total is text"),
        "business_loss": Fault(*_SHARE, BACKEND, "share of tasks/complete that answers 200 with an error, undone"),
        "business_refused": Fault(*_SHARE, BACKEND, "share of tasks/complete and content views answered 409, undone"),
        "asset_404": Fault(*_FLAG, FRONTS, "the files that index.html names are missing"),
        "bot_silent": Fault(*_FLAG, BOT, "lives, but handles no update"),
        "bot_exit_after": Fault(*_AMOUNT, BOT, "exits with 1 this many seconds after it was switched on"),
    }
)


def help_text() -> str:
    """The table for `--help`."""
    lines = [f"  {name:21}{fault.form:23}{fault.meaning} [{fault.services}]" for name, fault in TABLE.items()]
    return "faults (NAME alone means NAME=1):\n" + "\n".join(lines)


def read(service: str, name: str, raw: object) -> Value:
    """The value of fault `name` from command line text or JSON, or BadFault."""
    fault = TABLE.get(name)
    if fault is None:
        raise BadFault(f"unknown fault {name!r}; known: {', '.join(sorted(TABLE))}")
    if service not in fault.services.split():
        raise BadFault(f"{service} has no fault {name!r}; it belongs to {', '.join(fault.services.split())}")
    try:
        return fault.read(str(raw).lower())
    except (ValueError, KeyError):
        raise BadFault(f"fault {name}={raw}: expected {fault.form}") from None


class Faults:
    """What is wrong with this process now. `changed` is called after each switch."""

    def __init__(self, service: str, values: Mapping[str, object] = MappingProxyType({})) -> None:
        self.service = service
        self.changed: Callable[[], None] = lambda: None
        self.values: dict[str, Value] = {}
        self.since = 0.0
        self._seen: dict[str, int] = {}
        self.switch(values)

    def switch(self, values: Mapping[str, object]) -> None:
        """Replace all faults by `values`, or raise BadFault and change nothing. Shares and clocks begin anew."""
        new = {name: read(self.service, name, raw) for name, raw in values.items()}
        self.values = {name: value for name, value in new.items() if value or name == "latency_share"}
        self.since = time.monotonic()
        self._seen = {}
        self.changed()

    def on(self, name: str) -> bool:
        """Whether the fault is switched on at all."""
        return name in self.values

    def number(self, name: str) -> float:
        """The fault's value, 0 when it is off."""
        return float(self.values.get(name, 0))

    def due(self, name: str) -> bool:
        """Whether the fault is on and its seconds are over."""
        return name in self.values and time.monotonic() - self.since >= self.number(name)

    def hits(self, name: str, default: float = 0.0) -> bool:
        """Whether the share `name` takes this request."""
        share = float(self.values.get(name, default))
        if not share:
            return False
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        return int(seen * share + 1e-9) > int((seen - 1) * share + 1e-9)

    def nth(self, name: str) -> int:
        """How often this was asked since the last switch, this time included."""
        self._seen[name] = self._seen.get(name, 0) + 1
        return self._seen[name]


def die(why: str) -> None:
    """End the process at once, as a crash does: nothing is drained, nothing answered."""
    sys.stdout.write(f"crash: {why}\n")
    sys.stdout.flush()
    os._exit(1)


def spoil(answer: Answer, faults: Faults, is_health: Callable[[str], bool]) -> Answer:
    """`answer`, with the faults of this process around it."""

    def spoiled(request: Request) -> Response:
        if not faults.values:
            return answer(request)
        if is_health(request.path):
            return Refusal(503, "Service not ready").response if faults.on("never_ready") else answer(request)
        return _spoil(answer, faults, request)

    return spoiled


def _spoil(answer: Answer, faults: Faults, request: Request) -> Response:
    limit = faults.values.get("crash_after_requests")
    if limit is not None and faults.nth("crash_after_requests") > int(limit):
        die("crash_after_requests")
    if faults.hits("reset"):
        return RESET
    if faults.hits("hang"):
        return HANG
    methods = str(faults.values.get("error_methods", request.method)).split(",")
    begun = not faults.on("errors_after") or faults.due("errors_after")
    failing = begun and request.method in methods and faults.hits("errors")
    response = Refusal(500, BROKEN).response if failing else answer(request)
    if response.status == 200 and faults.hits("error_as_200"):
        response = as_json({"error": BROKEN, "status": "error"})
    if faults.on("lost_header"):
        response = replace(response, content_type="")
    if faults.on("latency_ms") and faults.hits("latency_share", 1.0):
        response = replace(response, delay=faults.number("latency_ms") / 1000)
    return response


async def run_background(faults: Faults) -> None:
    """The faults that need no request: crashes by the clock, leak, burnt processor time. Never returns."""
    leaked: list[bytes] = []
    burner: threading.Thread | None = None
    while True:
        for name in ("crash_after", "bot_exit_after"):
            if faults.due(name):
                die(name)
        if not faults.on("leak_mb_per_s"):
            leaked.clear()
        elif sum(map(len, leaked)) < LEAK_LIMIT_MB << 20:
            leaked.append(b"x" * int(faults.number("leak_mb_per_s") * TICK * (1 << 20)))
        if faults.on("cpu_burn") and (burner is None or not burner.is_alive()):
            burner = threading.Thread(target=_burn, args=(faults,), daemon=True)
            burner.start()
        await asyncio.sleep(TICK)


def _burn(faults: Faults) -> None:
    """Hash without the interpreter lock, so that the processor is burnt but answers are not delayed by it."""
    block = b"x" * (1 << 18)
    while share := faults.number("cpu_burn"):
        end = time.monotonic() + 0.02 * share
        while time.monotonic() < end:
            hashlib.sha256(block)
        time.sleep(0.02 * (1 - share))


def control(faults: Faults) -> Answer:
    """The control port: GET, PUT (a JSON object that replaces all) and DELETE `/faults`; each answers what is on."""

    def answer(request: Request) -> Response:
        if request.path != "/faults" or request.method not in ("GET", "PUT", "DELETE"):
            return Refusal(404, "only GET, PUT and DELETE /faults").response
        try:
            if request.method != "GET":
                wanted = json.loads(request.body) if request.method == "PUT" else {}
                if not isinstance(wanted, dict):
                    raise BadFault("expected a JSON object: fault -> value")
                faults.switch(wanted)
        except ValueError as error:
            return Refusal(400, str(error)).response
        return as_json(faults.values)

    return answer
