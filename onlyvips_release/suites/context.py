"""What a suite tests: each service's URLs and the headers that reach either arm; and the file ONLYVIPS_CONTEXT."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlyvips_release.codec import decode, encode
from onlyvips_release.core.model import Arm
from onlyvips_release.core.suite import InstanceContext, ServiceContext, SuiteContext
from onlyvips_release.environment import read_environment

if TYPE_CHECKING:
    import pytest

ADMIN = "ONLYVIPS_ADMIN_TOKEN"
"""The variable with an admin's bearer token; checks that need none run without it."""

NO_TARGET = "no target: give --release-target [SERVICE=]URL, or set ONLYVIPS_TARGET"

NEEDS = {
    "http": "the service's URL",
    "pins": "a release: its router and pins",
    "process": "a release: process ids",
    "log": "a release: a log file",
    "identity": "a release: `identity` in the plan",
    "stable": "--release-stable or ONLYVIPS_STABLE",
    "revision": "--release-revision or ONLYVIPS_REVISION",
    "admin": f"an admin's token in {ADMIN}",
}
"""What a check may need beside its service, and where it comes from."""


@dataclass(frozen=True)
class Target:
    """One service as a suite sees it: `urls` and `headers` by arm; `context`: what else is known of the service.

    Pins are secrets: neither headers nor context appear in the representation that pytest prints with a failure.
    """

    name: str
    arm: str
    urls: dict[str, str]
    headers: dict[str, dict[str, str]] = field(repr=False)
    context: ServiceContext = field(repr=False)

    def __str__(self) -> str:
        """As titles name it."""
        return self.name

    @property
    def facts(self) -> dict[str, Any]:
        """The context as the JSON object that the release runner wrote; what is not known is left out."""
        return {key: value for key, value in encode(self.context).items() if value not in ("", None, {})}

    @property
    def routed(self) -> bool:
        """Whether it answers HTTP."""
        return bool(self.urls)

    @property
    def revision(self) -> str:
        """The revision that must answer; "" = not known."""
        return self.revision_of(self.arm)

    def revision_of(self, arm: str) -> str:
        """The revision of an arm; "" = not known."""
        return self.context.revisions.get(arm, "")

    @property
    def instances(self) -> list[dict[str, Any]]:
        """The instances of the revision under test, as JSON objects."""
        return self.instances_of(self.arm)

    def instances_of(self, arm: str) -> list[dict[str, Any]]:
        """The instances of an arm's revision, as JSON objects."""
        return [encode(instance) for instance in self._running(arm)]

    @property
    def logs(self) -> list[str]:
        """Where the revision under test writes its log."""
        return [instance.log for instance in self._running(self.arm) if instance.log]

    def has(self, need: str) -> bool:
        """Whether it offers one of NEEDS. A process service whose instance vanished still has processes to check."""
        instances = self.context.instances
        match need:
            case "http":
                return self.routed
            case "stable":
                return "stable" in self.urls
            case "revision":
                return bool(self.revision)
            case "process":
                return any(instance.pid for instance in instances)
            case "log":
                return any(instance.log for instance in instances)
            case _:
                return bool(getattr(self.context, need))

    def _running(self, arm: str) -> list[InstanceContext]:
        return [i for i in self.context.instances if i.revision == self.revision_of(arm)]


@dataclass(frozen=True)
class Targets:
    """All services under test; `context` None = outside of a release.

    `origin`: where they come from (context, option, environment, ini), "" = there are none, for the reason `problem`.
    """

    services: dict[str, Target]
    context: SuiteContext | None = None
    origin: str = ""
    problem: str = NO_TARGET

    @property
    def release(self) -> dict[str, Any]:
        """Id, weight, step, arm, suite, gate and metrics of the release, as a JSON object; {} outside of a release."""
        keys = encode(self.context) if self.context else {}
        return {key: value for key, value in keys.items() if key != "services"}

    @property
    def gate(self) -> str:
        """The lowest severity whose failure counts, as the plan says; "" outside of a release."""
        return self.context.gate if self.context else ""


def read_targets(config: pytest.Config) -> Targets:
    """Option, then environment (the runner's ONLYVIPS_CONTEXT before ONLYVIPS_TARGET), then ini file."""
    env = read_environment().variables
    chosen = config.getoption("--release-target")
    path, named = env.get("ONLYVIPS_CONTEXT"), env.get("ONLYVIPS_TARGET", "").split()
    if path and not chosen:
        return from_context(Path(path))
    origin = "option" if chosen else "environment" if named else "ini"
    chosen = chosen or named or config.getini("release_target")
    if not chosen:
        return Targets({})
    named = env.get("ONLYVIPS_STABLE", "").split()
    stable = config.getoption("--release-stable") or named or config.getini("release_stable")
    revision = config.getoption("--release-revision") or env.get("ONLYVIPS_REVISION", "")
    revision = revision or str(config.getini("release_revision"))
    return Targets(from_urls(chosen, stable, revision, env.get(ADMIN, "")), origin=origin)


def from_urls(chosen: list[str], stable: list[str], revision: str, admin: str) -> dict[str, Target]:
    """Targets of bare URLs, each `[SERVICE=]URL`."""
    pairs = {"canary": dict(split(text) for text in chosen), "stable": dict(split(text) for text in stable)}
    context = ServiceContext(admin=admin, revisions={"canary": revision} if revision else {})
    targets = {}
    for name in pairs["canary"]:
        urls = {arm: urls[name] for arm, urls in pairs.items() if name in urls}
        targets[name] = Target(name, "canary", urls, {arm: {} for arm in urls}, context)
    return targets


def split(text: str) -> tuple[str, str]:
    """`SERVICE=URL`, or a URL of backend-api."""
    name, sign, url = text.partition("=")
    return (name, url) if sign and "/" not in name else ("backend-api", text)


def from_context(path: Path) -> Targets:
    """The targets of the release runner's file. One that cannot be used is a fault only where a test needs it."""
    try:
        context = read_context(path)
        arm = Arm(str(context.arm))
        services = {name: through_router(name, arm, service) for name, service in context.services.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Targets({}, problem=f"ONLYVIPS_CONTEXT cannot be used: {type(error).__name__}: {error}")
    usable = {name: target for name, target in services.items() if target.routed or arm == "stable" or target.instances}
    return Targets(usable, context, "context")


def through_router(name: str, arm: Arm, context: ServiceContext) -> Target:
    """A target behind the release's router, whose arms the pins choose. A service without traffic has no URL."""
    if not context.url:
        return Target(name, arm, {}, {}, context)
    headers = {
        a: {"Host": context.host, "x-onlyvips-pin": pin}
        for a, pin in context.pins.items()
        if a != "stable" or context.revisions.get(a)
    }
    return Target(name, arm, dict.fromkeys(headers, context.url), headers, context)


def read_context(path: Path) -> SuiteContext:
    """What the release runner wrote; raises an OSError or any error of a file that is no context."""
    context: SuiteContext = decode(SuiteContext, json.loads(path.read_text()))
    return context


def write_context(context: SuiteContext, path: Path) -> None:
    """Write a new file that only its owner may read: it holds pins and tokens."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(encode(context), file)
