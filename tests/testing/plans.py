"""Small plans that many tests share."""

from __future__ import annotations

from datetime import timedelta

from onlyvips_release.core.plan import Health, ReleasePlan, Revision, Service, Step
from onlyvips_release.targets.embedded_plan import Process


def service(name: str, number: int, *, routed: bool = True) -> Service:
    """A process service with two revisions."""
    words = ("serve", name, "{port}") if routed else ("serve", name)
    return Service(
        name,
        canary=Revision("v2", (*words, "2")),
        stable=Revision("v1", (*words, "1")),
        routed=routed,
        host=f"{name}.*" if routed else "",
        health=Health("/health") if routed else None,
        runs=Process((18100 + 2 * number, 18101 + 2 * number) if routed else ()),
    )


def make_plan(**changes: object) -> ReleasePlan:
    """Three routed services and a bot, one step of five minutes; `changes` by field name."""
    names = ("backend-api", "miniapp", "showcu-panel")
    services = (*(service(name, n) for n, name in enumerate(names)), service("flirt-bot", 9, routed=False))
    found: dict[str, object] = {
        "platform": "test",
        "services": services,
        "steps": (Step(10, timedelta(minutes=5)),),
        "watch": timedelta(seconds=20),
        **changes,
    }
    return ReleasePlan(**found)  # type: ignore[arg-type]  # the dataclass checks them
