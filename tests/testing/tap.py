"""Every port call and journal record of a release as a point where it can be cut off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from onlyvips_release.core.ports import Ports

QUIET = {
    "clock": {"now", "monotonic"},
    "journal": {"read"},
    "lease": {"look"},
    "requests": {"take"},
    "notifier": {"delivered"},
    "router": {"points_at"},
    "workload": {"inspect", "within", "stable"},
}
"""What changes nothing and is asked all the time: no point of its own."""

FREQUENT = ", ".join(f"{port}.{method}" for port, methods in QUIET.items() for method in sorted(methods))

At = Callable[[str], None]


class Tapped:
    """A port that tells `at` before and after each call what is being called."""

    def __init__(self, target: Any, name: str, at: At) -> None:
        self._target, self._name, self._at = target, name, at

    def __getattr__(self, method: str) -> Any:
        inner = getattr(self._target, method)
        if not callable(inner) or method in QUIET.get(self._name, ()):
            return inner

        def call(*args: Any, **options: Any) -> Any:
            kind = f"{self._name}.{method}{told(self._name, method, args)}"
            self._at(f"before {kind}")
            result = inner(*args, **options)
            self._at(f"after {kind}")
            return result

        return call


def told(name: str, method: str, args: tuple[Any, ...]) -> str:
    """What tells calls of one method apart: the event, the weight, the arm, the suite."""
    if name == "journal":
        return f" {type(args[0]).__name__}"
    if method == "set_weight":
        return f" {args[0]}"
    if method in ("point", "probe", "points_at"):
        return f" {args[0]}"
    if name == "checks":
        return f" {args[0].name} {args[0].arm}"
    return ""


def tapped(ports: Ports, at: At) -> Ports:
    """The same ports, each of them tapped."""
    made: dict[str, Any] = {}
    for field in fields(ports):
        port = getattr(ports, field.name)
        made[field.name] = Tapped(port, field.name, at)
    return Ports(**made)
