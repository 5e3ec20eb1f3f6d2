"""The way back: what users were on, what of it can be restored, and which plan does it. Pure.

The past of a platform is what its ended releases and installations left users on, oldest first. A release that rolled
itself back left nothing behind and is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from onlyvips_release.core.events import Event, Phase, Promoted, RolledBack
from onlyvips_release.core.lifecycle import IllegalEvent, Release
from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.errors import Refused

INSTALLED, PROMOTED, RESTORED, REPLACED = "installed", "promoted", "restored", "replaced"
SEE = "see what can be restored: onlyvips-release rollback PLAN --list"


@dataclass(frozen=True, slots=True)
class Past:
    """What one release left users on.

    `how`: installed, promoted or restored; "replaced" = no record installed it, but the release replaced it. `at`: when
    (UTC, ISO 8601), "" = unknown. `revisions`: of all services, also of those that it did not change; `replaced`: the
    services whose revision it changed.
    """

    release: str
    how: str
    at: str
    plan: ReleasePlan
    revisions: Mapping[str, Revision]
    replaced: tuple[str, ...]

    @property
    def names(self) -> str:
        """Its revisions, for people: one word where all services have the same."""
        found = {name: self.revisions[name].name for name in self.replaced or self.revisions if name in self.revisions}
        return next(iter(found.values())) if len(set(found.values())) == 1 else ", ".join(map(" ".join, found.items()))

    def __str__(self) -> str:
        """One line for people."""
        since = f" at {self.at}" if self.at else ""
        return f"{self.release} {self.how} {self.names}{since}"


@dataclass(frozen=True, slots=True)
class Way:
    """A restore: canary of `plan` is what serves, stable what is wanted. A service that both name alike stays.

    `plan` None = users are there already; the sentence says so. `notes`: what the restore leaves as it is.
    """

    plan: ReleasePlan | None
    revisions: Mapping[str, Mapping[Arm, str]]
    sentence: str
    notes: tuple[str, ...] = ()


def past_of(releases: Iterable[Iterable[Event]]) -> list[Past]:
    """From the journals of all releases, oldest first."""
    found: list[Past] = []
    for journal in releases:
        found += _left_by(journal, found[-1].revisions if found else {})
    return found


def _left_by(journal: Iterable[Event], before: Mapping[str, Revision]) -> list[Past]:
    release, at = Release(), ""
    for event in journal:
        with suppress(IllegalEvent):  # a damaged record: what is left of it counts
            release.apply(event)
        at = event.at if isinstance(event, Promoted | RolledBack) else at
    if not release.id or release.phase not in (Phase.PROMOTED, Phase.ROLLED_BACK):
        return []
    new = {s.name: s.canary for s in release.plan.services}
    old = {s.name: new[s.name] if release.keeps(s.name) else s.stable for s in release.plan.services}
    back = {**before, **{name: revision for name, revision in old.items() if revision}}
    replaced = tuple(name for name in new if not release.keeps(name))
    found = []
    if not before and not release.first and not release.restore:
        found.append(Past(release.id, REPLACED, "", release.plan, back, replaced))
    if release.restore and release.phase is Phase.ROLLED_BACK:
        found.append(Past(release.id, RESTORED, at, release.plan, back, replaced))
    elif release.phase is Phase.PROMOTED:
        how = INSTALLED if release.first else PROMOTED
        found.append(Past(release.id, how, at, release.plan, {**before, **new}, replaced))
    return found


def way_back(past: list[Past], serving: Mapping[str, Revision], to: str = "") -> Way:
    """Where `rollback` goes: to what `to` names, else to what users were on before the newest promotion.

    A rollback undoes one promotion, however often it is repeated. Raises Refused where nothing older can be restored.
    """
    if not past or not serving:
        _refuse("nothing was ever promoted here", past)
    wanted = _named(past, to) if to else _before_newest(past, serving)
    if wanted is None or is_served(wanted, serving):
        return Way(None, {}, _stays(past, serving))
    return _restore(past[-1].plan, wanted, serving)


def _before_newest(past: list[Past], serving: Mapping[str, Revision]) -> Past | None:
    """None = the newest thing that happened is a rollback."""
    if past[-1].how == RESTORED:
        return None
    good = stack(past)
    older = [one for one in good[:-1] if not is_served(one, serving)]
    if not older:
        _refuse(f"nothing older than {past[-1].names} can be restored", past)
    return older[-1]


def stack(past: Iterable[Past]) -> list[Past]:
    """What a rollback can step down through: a restore takes away what was promoted after what it restored."""
    good: list[Past] = []
    for one in past:
        if one.how == RESTORED:
            there = [n for n, other in enumerate(good) if is_served(other, one.revisions)]
            good = good[: there[-1]] if there else good
        good.append(one)
    return good


def _named(past: list[Past], to: str) -> Past:
    """What a release id or the name of a revision means."""
    found = [one for one in past if one.release == to and one.how != REPLACED]
    if not found:
        found = [one for one in past if any(one.revisions[n].name == to for n in one.replaced if n in one.revisions)]
    if not found:
        _refuse(f"{to} is no release that left users on anything, and no revision that they were on", past)
    different = [one for one in found if one.revisions != found[-1].revisions]
    if different:
        _refuse(f"{to} may mean {different[-1]}, or {found[-1]}", past, "give the release: rollback PLAN --to r0007")
    return found[-1]


def is_served(past: Past, serving: Mapping[str, Revision]) -> bool:
    """Whether all that it left users on, and that is still installed, is what serves."""
    return all(serving[name] == revision for name, revision in past.revisions.items() if name in serving)


def _stays(past: list[Past], serving: Mapping[str, Revision]) -> str:
    newest = next((one for one in reversed(past) if is_served(one, serving)), past[-1])
    since = f" since {newest.at}" if newest.at else ""
    further = [one.names for one in stack(past) if not is_served(one, serving)]
    more = f"; to go further: rollback PLAN --to {further[-1]}" if further else ""
    return f"users are on {newest.names}{since} ({newest.release} {newest.how} it): nothing was touched{more}"


def _restore(base: ReleasePlan, wanted: Past, serving: Mapping[str, Revision]) -> Way:
    """Over the plan that is in force: services that came later stay as they are, those that went stay away."""
    services, revisions, notes = [], dict[str, dict[Arm, str]](), []
    for service in base.services:
        serves = serving.get(service.name)
        if serves is None:
            _refuse(f"{service.name} is not installed", [], "onlyvips-release up PLAN")
        old = wanted.revisions.get(service.name, serves)
        if old.name == serves.name and old != serves:
            _refuse(f"{service.name}: {old.name} runs now in another way than {wanted.release} left it", [])
        stays = old == serves
        services.append(replace(service, stable=None if stays else old, canary=serves))
        revisions[service.name] = {Arm.STABLE: old.name, Arm.CANARY: serves.name}
        if service.name not in wanted.revisions:
            notes.append(f"{service.name} came after {wanted.names}: it stays on {serves.name}")
    there = {service.name for service in base.services}
    gone = [service.name for service in wanted.plan.services if service.name not in there]
    notes += [f"{name} is not on this platform any more: it is not restored" for name in gone]
    sentence = f"back to {wanted.names}, as {wanted.release} {wanted.how} it"
    return Way(replace(base, services=tuple(services)), revisions, sentence, tuple(notes))


def restorable(past: list[Past], serving: Mapping[str, Revision]) -> list[tuple[Past, str]]:
    """Everything that users were on, newest first and each once, with what keeps it from being restored ("" = none)."""
    found: list[tuple[Past, str]] = []
    for one in reversed(past):
        if any(one.revisions == other.revisions for other, _ in found):
            continue
        found.append((one, _obstacle(one, past, serving)))
    return found


def _obstacle(one: Past, past: list[Past], serving: Mapping[str, Revision]) -> str:
    if not serving:
        return "nothing is installed"
    if is_served(one, serving):
        return "users are on it"
    try:
        _restore(past[-1].plan, one, serving)
    except Refused as error:
        return str(error)
    return ""


def listing(past: list[Past], serving: Mapping[str, Revision]) -> list[str]:
    """`rollback --list` for people."""
    rows = restorable(past, serving)
    return [f"{one}: {why or f'rollback PLAN --to {one.release}'}" for one, why in rows]


def _refuse(why: str, past: list[Past], remedy: str = SEE) -> NoReturn:
    known = ", ".join(dict.fromkeys(one.names for one in past))
    raise Refused(why + (f"; users were on {known}" if known else ""), remedy=remedy)


def started_revisions(plan: ReleasePlan) -> dict[str, dict[Arm, str]]:
    """service -> arm -> name, as the plan gives them."""
    return {s.name: {Arm.STABLE: s.stable.name if s.stable else "", Arm.CANARY: s.canary.name} for s in plan.services}
