"""A target that exists only in tests: its part of a service, its part of the plan, and its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from onlyvips_release.core import keys
from onlyvips_release.core.keys import Key
from onlyvips_release.core.plan import SECOND, PlatformPart, ReleasePlan, Service, ServicePart, refuse
from onlyvips_release.targets import Defaults, Target


@dataclass(frozen=True, slots=True)
class Shelf(ServicePart):
    """A shelf that a service stands on."""

    kind: ClassVar[str] = "shelf"
    about: ClassVar[str] = "The shelf that the service stands on."
    target: ClassVar[str] = "toy"
    tenths = True
    places: Annotated[keys.Whole, Key("How many instances the shelf has room for.")]
    label: Annotated[keys.Text, Key("What is written on the shelf.")] = "toys"

    def check(self, service: Service) -> None:
        """Two revisions need two places."""
        if self.places < 2:
            refuse("shelf.places", "give 2 or more: one for stable, one for the canary")

    def text(self) -> str:
        """The shelf in words."""
        return f"shelf {self.label!r} of {self.places}"


@dataclass(frozen=True, slots=True)
class Room(PlatformPart):
    """The room that all shelves stand in."""

    kind: ClassVar[str] = "room"
    about: ClassVar[str] = "The room of the platform."
    doors: Annotated[keys.Whole, Key("How many doors it has.")] = 1

    def check(self, plan: ReleasePlan) -> None:
        """A room without doors is of no use."""
        if self.doors < 1:
            refuse("room.doors", f"nobody gets into a room with {self.doors} doors")

    def text(self) -> str:
        """The room in words."""
        return f"a room with doors: {self.doors}"


TARGET = Target(
    "toy",
    "tests.testing.toy_target",
    (Shelf,),
    missing="give it a shelf",
    several="give it one shelf",
    engine=Room,
    revision=("revision", "image"),
    defaults=Defaults(tick=5 * SECOND, listen=("127.0.0.1", 18999)),
)
