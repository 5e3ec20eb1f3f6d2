"""What a suite tests: each service's URLs, what reaches either arm, and what the release runner knows of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from onlyvips_release.environment import read_environment

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


class Options(Protocol):
    """pytest's configuration, as far as it is read here."""

    def getoption(self, name: str) -> Any:
        """An option of the command line."""

    def getini(self, name: str) -> Any:
        """A key of the ini file."""


@dataclass(frozen=True)
class Target:
    """One service as a suite sees it. `urls` and `headers` by arm; `facts`: what the runner knows, or {}.

    Pins are secrets: neither headers nor facts appear in the representation that pytest prints with a failure.
    """

    name: str
    arm: str
    urls: dict[str, str]
    headers: dict[str, dict[str, str]] = field(repr=False)
    facts: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        """As titles name it."""
        return self.name

    @property
    def routed(self) -> bool:
        """Whether it answers HTTP."""
        return bool(self.urls)

    @property
    def revision(self) -> str:
        """The revision that must answer; "" = nobody said."""
        return self.revision_of(self.arm)

    def revision_of(self, arm: str) -> str:
        """The revision of an arm; "" = nobody said."""
        return str(self.facts.get("revisions", {}).get(arm, ""))

    @property
    def instances(self) -> list[dict[str, Any]]:
        """The instances of the revision under test."""
        return self.instances_of(self.arm)

    def instances_of(self, arm: str) -> list[dict[str, Any]]:
        """The instances of an arm's revision."""
        return [i for i in self.facts.get("instances", ()) if i["revision"] == self.revision_of(arm)]

    @property
    def logs(self) -> list[str]:
        """Where the revision under test writes its log."""
        return [i["log"] for i in self.instances if i.get("log")]

    def has(self, need: str) -> bool:
        """Whether it offers one of NEEDS. A process service whose instance vanished still has processes to check."""
        instances = self.facts.get("instances", ())
        match need:
            case "http":
                return self.routed
            case "stable":
                return "stable" in self.urls
            case "revision":
                return bool(self.revision)
            case "process":
                return any(i.get("pid") for i in instances)
            case "log":
                return any(i.get("log") for i in instances)
            case _:
                return bool(self.facts.get(need))

    def secrets(self) -> list[str]:
        """Pins, with and without their arm, and the admin's token."""
        pins = [str(pin) for pin in self.facts.get("pins", {}).values()]
        admin = self.facts.get("admin")
        return [*pins, *(pin.partition("-")[2] for pin in pins), *([admin] if admin else [])]


@dataclass(frozen=True)
class Targets:
    """All services under test. `release`: id, weight, step, arm, suite and gate, {} outside of a release.

    `origin`: where they come from, "" = there are none and `problem` says why.
    """

    services: dict[str, Target]
    release: dict[str, Any]
    origin: str = ""
    problem: str = NO_TARGET


def read_targets(config: Options) -> Targets:
    """Option, then environment (the runner's ONLYVIPS_CONTEXT before ONLYVIPS_TARGET), then ini file."""
    env = read_environment().variables
    chosen = config.getoption("--release-target")
    path, named = env.get("ONLYVIPS_CONTEXT"), env.get("ONLYVIPS_TARGET", "").split()
    if path and not chosen:
        return from_context(Path(path))
    origin = "option" if chosen else "environment" if named else "ini"
    chosen = chosen or named or config.getini("release_target")
    if not chosen:
        return Targets({}, {})
    named = env.get("ONLYVIPS_STABLE", "").split()
    stable = config.getoption("--release-stable") or named or config.getini("release_stable")
    said = config.getoption("--release-revision") or env.get("ONLYVIPS_REVISION", "")
    facts = {"admin": env[ADMIN]} if env.get(ADMIN) else {}
    return Targets(given(chosen, stable, said or str(config.getini("release_revision")), facts), {}, origin)


def given(chosen: list[str], stable: list[str], revision: str, facts: dict[str, Any]) -> dict[str, Target]:
    """Targets of bare URLs."""
    pairs = {"canary": dict(split(text) for text in chosen), "stable": dict(split(text) for text in stable)}
    known = facts | ({"revisions": {"canary": revision}} if revision else {})
    found = {}
    for name in pairs["canary"]:
        urls = {arm: urls[name] for arm, urls in pairs.items() if name in urls}
        found[name] = Target(name, "canary", urls, {arm: {} for arm in urls}, known)
    return found


def split(text: str) -> tuple[str, str]:
    """`SERVICE=URL`, or a URL of backend-api."""
    name, sign, url = text.partition("=")
    return (name, url) if sign and "/" not in name else ("backend-api", text)


def from_context(path: Path) -> Targets:
    """The targets of the release runner's file. One that cannot be used is a fault only where a test needs it."""
    try:
        found = json.loads(path.read_text())
        arm = found["arm"]
        services = {name: in_context(name, arm, facts) for name, facts in found.get("services", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Targets({}, {}, problem=f"ONLYVIPS_CONTEXT cannot be used: {type(error).__name__}: {error}")
    usable = {name: target for name, target in services.items() if target.routed or arm == "stable" or target.instances}
    return Targets(usable, {key: value for key, value in found.items() if key != "services"}, "context")


def in_context(name: str, arm: str, facts: dict[str, Any]) -> Target:
    """A target of the release runner: the router's URL, told apart by pin. Without traffic there is no URL."""
    if not facts.get("url"):
        return Target(name, arm, {}, {}, facts)
    headers = {a: {"Host": facts["host"], "x-onlyvips-pin": pin} for a, pin in facts["pins"].items()}
    return Target(name, arm, dict.fromkeys(headers, facts["url"]), headers, facts)
