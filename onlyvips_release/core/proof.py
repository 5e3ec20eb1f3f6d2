"""What proves an arm: pinned answers, the target's own instances, and what the app claims of itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Endpoint, Instance, Probe
from onlyvips_release.errors import NotReady

Revisions = Mapping[str, str]
"""service -> name of the revision that is expected."""


def prove(probes: Iterable[Probe], instances: Iterable[Instance], arm: Arm, revisions: Revisions) -> None:
    """Raise NotReady unless every pinned request was answered 200 by this arm and these revisions.

    A router that names no revision proves none: then, as always, the target must run a ready instance of it, and the
    app's claim (where the plan asks for one) must agree. No request at all proves nothing; requests to services that
    are not in `revisions` do not matter.
    """
    probes, instances = tuple(probe for probe in probes if probe.service in revisions), tuple(instances)
    missing = set(revisions) - {probe.service for probe in probes}
    if missing:
        raise NotReady(
            f"{', '.join(sorted(missing))}: no pinned request was made, so nothing is proven",
            remedy="this is a bug of the tool: report it with the journal",
        )
    for probe in probes:
        if probe.status != 200:
            raise NotReady(
                f"{probe.service}: a pinned request to {arm} failed ({answer_of(probe)})",
                remedy="read the service's log",
            )
        if not is_right(probe, arm, revisions):
            raise NotReady(wrong_answer(probe, revisions), remedy="the answer came from the wrong instance")
    for service, revision in revisions.items():
        mine = [i for i in instances if i.service == service]
        if not any(i.serves and i.revision == revision for i in mine):
            there = ", ".join(f"{i.revision} ({i.note or i.identity})" for i in mine) or "no instance"
            raise NotReady(
                f"{service}: no instance of {revision} is ready; the target has {there}",
                remedy="look at the service's instances, and read its log",
            )


def is_right(probe: Probe, arm: Arm, revisions: Revisions) -> bool:
    """Whether an answer is from this arm and revision, as far as router and app name them."""
    expected = revisions[probe.service]
    return probe.arm == arm and probe.revision in (None, expected) and probe.claim in (None, expected)


def answer_of(probe: Probe) -> str:
    """What came back, in words."""
    return f"HTTP {probe.status}" if probe.status is not None else probe.error


def wrong_answer(probe: Probe, revisions: Revisions) -> str:
    """The sentence of a pinned answer from the wrong place."""
    named = f"the router names {probe.arm or 'no arm'} {probe.revision or ''}".rstrip()
    claim = f", the app claims {probe.claim}" if probe.claim is not None else ""
    return f"{probe.service}: a pinned request was not answered by {revisions[probe.service]} ({named}{claim})"


def endpoints(instances: Iterable[Instance], services: Iterable[str]) -> dict[str, list[Endpoint]]:
    """Where each service answers now."""
    instances = tuple(instances)
    return {name: [i.endpoint for i in instances if i.service == name and i.endpoint] for name in services}


def moved(written: Mapping[str, Sequence[Endpoint]], instances: Iterable[Instance]) -> dict[str, list[Endpoint]]:
    """Services whose living instances answer elsewhere than the router points at, and where they answer.

    A service without a living instance stays as it is: an empty arm would refuse its users for longer than needed.
    """
    there = endpoints((i for i in instances if i.alive), written)
    return {name: where for name, where in there.items() if where and set(where) != set(written[name])}


def unproven(release: Release) -> list[str]:
    """Services of which only the router's word names the revision: someone else runs them, and the plan has no
    `identity` for them."""
    return [s.name for s in release.plan.routed if not s.runs.names_revision and s.identity is None]
