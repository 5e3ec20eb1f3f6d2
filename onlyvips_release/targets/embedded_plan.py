"""The target of one machine, as a plan gives it: services that are processes here, or that someone else runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from onlyvips_release.core import keys
from onlyvips_release.core.keys import Key
from onlyvips_release.core.plan import Revision, Service, ServicePart, refuse
from onlyvips_release.targets import Defaults, Target

DEFAULTS = Defaults()
NAME = "embedded"


@dataclass(frozen=True, slots=True)
class Process(ServicePart):
    """Processes of one service on this machine."""

    kind: ClassVar[str] = "process"
    about: ClassVar[str] = "How its processes on this machine are kept."
    target: ClassVar[str] = NAME
    ports: Annotated[tuple[keys.Port, ...], Key("Two port slots: one for stable, one for the canary.")] = ()
    drain: Annotated[keys.Duration, Key("Time between SIGTERM and SIGKILL.")] = DEFAULTS.drain
    env_from: Annotated[tuple[keys.Variable, ...], Key("Names of secrets in the command's environment.")] = ()
    cwd: Annotated[keys.Text, Key("Working folder, counted from the plan file.")] = ""

    def check(self, service: Service) -> None:
        """A routed service has two ports and a command that takes one; another one has none."""
        if service.routed and service.health is None:
            refuse("health", "a routed service needs a health path: nothing else tells when it is ready")
        if service.routed and len(set(self.ports)) != 2:
            refuse("process.ports", "give two different ports: one for stable, one for the canary")
        if not service.routed and self.ports:
            refuse("process.ports", "a service that is not routed has no ports")
        for key, revision in (("stable", service.stable), ("canary", service.canary)):
            if revision is None:
                continue
            _refuse_unbuilt(key, revision)
            if not revision.command or revision.url:
                refuse(key, "a process service has a command and no url")
            if service.routed and not any("{port}" in word for word in revision.command):
                refuse(f"{key}.command", 'must contain "{port}", or both revisions would fight for one port')

    def absolute(self, folder: str) -> Self:
        """With an absolute working folder: a release goes on elsewhere than where it was started."""
        return replace(self, cwd=str(Path(folder) / self.cwd))


@dataclass(frozen=True, slots=True)
class External(ServicePart):
    """Two addresses that someone else keeps: only traffic moves."""

    kind: ClassVar[str] = "external"
    about: ClassVar[str] = "Someone else runs both revisions; only traffic moves."
    target: ClassVar[str] = NAME
    names_revision = False  # only the plan says which revision answers at an address

    def check(self, service: Service) -> None:
        """Revisions are addresses."""
        if not service.routed:
            refuse("external", "a service without traffic that someone else runs leaves nothing to do: leave it out")
        for key, revision in (("stable", service.stable), ("canary", service.canary)):
            if revision is None:
                continue
            _refuse_unbuilt(key, revision)
            if not revision.url or revision.command:
                refuse(key, "an external service has a url and no command")


def _refuse_unbuilt(key: str, revision: Revision) -> None:
    for name in ("image", "health"):
        if getattr(revision, name):
            refuse(f"{key}.{name}", f"{name!r} of a revision is not built yet: remove it")


def old_part(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """Services once had a field `process`, null for an external one."""
    found = service.get(Process.kind)
    return {"kind": External.kind} if found is None else {"kind": Process.kind, **found}


TARGET = Target(
    NAME,
    "onlyvips_release.targets.embedded",
    (Process, External),
    missing="give it a process, or external: true",
    several="a service is external or has a process, not both",
    revision=("revision", "command", "env", "url"),
    defaults=DEFAULTS,
    old_part=old_part,
)
