"""The functions that checks are written with: their failures name what was expected, what came, and the limit.

The plugin adds to each failure the last requests and answers (without secrets) and where the logs lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

KINDS = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}


class Mismatch(AssertionError):
    """A check's failure. `what` was looked at; `limit` is the line that was crossed, "" = none."""

    def __init__(self, what: str, expected: object, got: object, limit: str = "") -> None:
        self.what, self.expected, self.got, self.limit = what, str(expected), str(got), limit
        super().__init__(f"{what}: expected {expected}, got {got}{f' (limit: {limit})' if limit else ''}")


def require(holds: object, what: str, *, expected: object, got: object, limit: str = "") -> None:
    """Raise Mismatch unless `holds`."""
    if not holds:
        raise Mismatch(what, expected, got, limit)


def same(what: str, got: object, expected: object) -> None:
    """Raise Mismatch unless they are equal."""
    require(got == expected, what, expected=repr(expected), got=repr(got))


def answered(answer: httpx.Response, status: int = 200) -> httpx.Response:
    """The answer, if it has the expected status. A redirect is no success."""
    what = f"{answer.request.method} {answer.request.url.path}"
    require(answer.status_code == status, what, expected=f"HTTP {status}", got=f"HTTP {answer.status_code}")
    return answer


def body_of(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The JSON object of an answer with the expected status."""
    path = answered(answer, status).request.url.path
    kind = answer.headers.get("content-type", "none")
    require("json" in kind, f"{path}: content type", expected="application/json", got=kind)
    try:
        body = answer.json()
    except ValueError as error:
        raise Mismatch(f"{path}: body", "JSON", error) from None
    require(isinstance(body, dict), f"{path}: body", expected="an object", got=type(body).__name__)
    return dict(body)


def field(body: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """`body[name]`, which must be of this type (true and false are no numbers)."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    named = " or ".join(dict.fromkeys(KINDS.get(each, "null") for each in kinds))
    require(name in body, f"field {name!r}", expected=named, got=f"no such field among {sorted(body)}")
    value = body[name]
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    require(fits, f"field {name!r}", expected=named, got=f"{type(value).__name__} {value!r}")
    return value
