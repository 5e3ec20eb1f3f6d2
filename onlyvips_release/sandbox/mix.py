"""What the users of the load generator ask for.

The default mix is answered 2xx by either arm, whichever of them a user lands on: the services keep users in their own
memory, so calls that need a registered user would be refused by the arm that does not know them. Signing in through
Telegram creates the user on the spot, and `demo` exists in every process: with SECRET_KEY in the environment the mix
also lists and completes tasks as `demo`.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from onlyvips_release.sandbox.front import files
from onlyvips_release.sandbox.store import TOKEN_SECONDS, issue

SERVICES = {"api": "backend-api", "app": "miniapp", "panel": "showcu-panel"}
"""First label of the Host header -> service; another host is its own service."""
API, APP, PANEL = "api.onlyvips.local", "app.onlyvips.local", "panel.onlyvips.local"


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of request. `{user}` and `{n}` (0..99) in path, body and form stand for the user and a number,
    `"{now}"` in a body for the time in seconds. `expect` are statuses outside 2xx that are no surprise.
    """

    method: str
    host: str
    path: str
    weight: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    form: Mapping[str, str] | None = None
    expect: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.weight < 1 or not self.path.startswith("/") or not self.method.isalpha():
            raise ValueError(f"not a call: {self.method} {self.path!r} with weight {self.weight}")

    @property
    def service(self) -> str:
        """Whose request this is."""
        return SERVICES.get(self.host.partition(".")[0], self.host)

    def content(self) -> tuple[str, str]:
        """Content-Type and body, before the placeholders are filled in; both empty without a body."""
        if self.form is not None:
            return "application/x-www-form-urlencoded", urlencode(self.form, safe="{}")
        if self.body is not None:
            return "application/json", json.dumps(self.body, ensure_ascii=False)
        return "", ""


@dataclass(frozen=True, slots=True)
class Template:
    """A call as bytes, so that one request costs three replacements."""

    call: Call
    head: bytes
    body: bytes

    def render(self, user: str, number: int) -> bytes:
        """The request of `user` on the wire."""
        values = ((b"{user}", user.encode()), (b"{n}", str(number).encode()))
        head, body = self.head, self.body
        for name, value in values:
            head, body = head.replace(name, value), body.replace(name, value)
        return b"%s%d\r\n\r\n%s" % (head, len(body), body) if body else head + b"0\r\n\r\n"


def template(call: Call) -> Template:
    """`call`, ready to be rendered."""
    kind, body = call.content()
    lines = [f"{call.method} {call.path} HTTP/1.1", f"Host: {call.host}", "x-user-id: {user}"]
    lines += ["User-Agent: onlyvips-load/1", *(f"{name}: {value}" for name, value in call.headers.items())]
    lines += [f"Content-Type: {kind}"] if kind else []
    body = body.replace('"{now}"', str(int(time.time()))).replace('"{n}"', "{n}")
    return Template(call, ("\r\n".join(lines) + "\r\nContent-Length: ").encode(), body.encode())


def default_mix(secret: str | None = None) -> list[Call]:
    """Users of all three services, one request in ten a POST."""
    calls = [
        Call("GET", API, "/api/badges/list", 14),
        Call("GET", API, "/api/content/?page=1&per_page=5", 10),
        Call("GET", API, "/api/content/content_{n}", 12),
        Call("GET", API, "/api/showcus/?per_page=5", 6),
        Call("GET", API, "/api/showcus/showcu_{n}", 8),
        Call("POST", API, "/api/content/content_{n}/view", 6),
        Call("POST", API, "/api/auth/telegram", 4, body={"id": "{user}", "username": "{user}", "auth_date": "{now}"}),
    ]
    for host, service in ((APP, "miniapp"), (PANEL, "showcu-panel")):
        calls += [Call("GET", host, path, 5) for path in ("/", "/profile", *files(service))]
    if secret:
        bearer = {"Authorization": f"Bearer {demo_token(secret)}"}
        done = {"user_id": "demo", "task_id": 2}
        calls += [
            Call("GET", API, "/api/tasks/list", 12, bearer),
            Call("POST", API, "/api/tasks/complete", 2, bearer, done),
        ]
    return calls


def demo_token(secret: str) -> str:
    """A token of `demo` that the platform's input filter lets pass: one in a hundred contains `--`."""
    expires = int(time.time()) + TOKEN_SECONDS
    tokens = (issue({"sub": "demo", "role": "user", "exp": expires + second}, secret) for second in range(100))
    return next(token for token in tokens if "--" not in token)


def read_mix(path: Path) -> list[Call]:
    """The mix of a JSON file, a list of objects with the fields of Call; ValueError says what is wrong."""
    items = json.loads(path.read_text(encoding="utf-8"))
    try:
        calls = [Call(**{**item, "expect": tuple(item.get("expect", ()))}) for item in items]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a mix is a list of calls: {error}") from error
    if not calls:
        raise ValueError("the mix is empty")
    return calls


def shuffled(calls: Sequence[Call]) -> list[Template]:
    """Each call as often as its weight says, in an order that is mixed but always the same."""
    dealt = [each for call in calls for each in [template(call)] * call.weight]
    random.Random(0).shuffle(dealt)
    return dealt
