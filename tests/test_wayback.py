"""What `rollback` goes back to: over the journals of releases and installations, without any target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Event, Phase
from onlyvips_release.core.model import Arm, Verdict
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.errors import Refused
from onlyvips_release.wayback import Past, Way, listing, past_of, way_back
from tests.testing.plans import make_plan

Journal = list[Event]
ALL = tuple(service.name for service in make_plan().services)


def revision(name: str, service: str) -> Revision:
    """A build of one service."""
    return Revision(name, ("serve", service, "{port}", name))


def plan_of(new: str, old: str | None, names: tuple[str, ...] = ALL) -> ReleasePlan:
    """All these services from `old` to `new`; None = no stable."""
    services = [
        replace(s, canary=revision(new, s.name), stable=revision(old, s.name) if old else None)
        for s in make_plan().services
        if s.name in names
    ]
    return replace(make_plan(), services=tuple(services))


def journal(
    number: int, new: str, old: str | None, *, how: str = "promoted", names: tuple[str, ...] = ALL, keeps: str = ""
) -> Journal:
    """Of a release that was installed, promoted or rolled back (`restored`: as a person wanted it)."""
    plan = plan_of(new, old, names)
    revisions = {s.name: {Arm.STABLE: old or "", Arm.CANARY: new} for s in plan.services}
    if keeps:
        revisions[keeps] = dict.fromkeys(Arm, new)
        services = [replace(s, stable=None) if s.name == keeps else s for s in plan.services]
        plan = replace(plan, services=tuple(services))
    first, restore = how == "installed", how == "restored"
    begun = events.Started(f"r{number:04d}", "test", plan, "", {}, revisions, first=first, restore=restore)
    at = f"2026-01-{number:02d}T12:00:00Z"
    if how in ("restored", "rolled back"):
        back: Journal = [events.RollbackStarted("asked for"), events.RolledBack(at)]
        return [begun, *back, events.Finished(Phase.ROLLED_BACK, 0 if restore else 3, "back")]
    forward: Journal = [events.Prepared({}), events.CanaryStarted(())]
    if not first:
        forward += [events.SmokePassed(Arm.STABLE), events.Shifted(10, at, 1.0)]
    forward += [events.BakePassed(), events.Committed(100), events.Replaced({}, ()), events.Promoted(at)]
    return [begun, *forward, events.Watched(Verdict.PASS, "fine"), events.Finished(Phase.PROMOTED, 0, "done")]


def serving(name: str, names: tuple[str, ...] = ALL) -> dict[str, Revision]:
    """What users are on."""
    return {service: revision(name, service) for service in names}


def three() -> list[Past]:
    """v1 installed, v2 and v3 promoted."""
    return past_of([journal(1, "v1", None, how="installed"), journal(2, "v2", "v1"), journal(3, "v3", "v2")])


def goal(way: Way) -> Mapping[str, str]:
    """service -> revision that a restore brings back."""
    assert way.plan is not None
    return {name: arms[Arm.STABLE] for name, arms in way.revisions.items()}


def test_it_goes_to_what_users_were_on_before_the_newest_promotion() -> None:
    way = way_back(three(), serving("v3"))
    assert goal(way) == dict.fromkeys(ALL, "v2")
    assert way.plan is not None
    assert {s.name: (s.stable, s.canary) for s in way.plan.services} == {
        name: (revision("v2", name), revision("v3", name)) for name in ALL
    }


def test_repeated_it_touches_nothing_and_says_since_when_and_how_to_go_further() -> None:
    past = [*three(), *past_of([journal(4, "v3", "v2", how="restored")])]
    way = way_back(past, serving("v2"))
    assert way.plan is None
    assert "users are on v2 since 2026-01-04T12:00:00Z" in way.sentence
    assert "rollback PLAN --to v1" in way.sentence


@pytest.mark.parametrize("to", ["v1", "r0001"])
def test_a_name_or_a_release_reaches_what_a_repeated_rollback_does_not(to: str) -> None:
    past = [*three(), *past_of([journal(4, "v3", "v2", how="restored")])]
    assert goal(way_back(past, serving("v2"), to)) == dict.fromkeys(ALL, "v1")


@pytest.mark.parametrize("to", ["v3", "r0003"])
def test_what_serves_everywhere_is_left_alone(to: str) -> None:
    way = way_back(three(), serving("v3"), to)
    assert way.plan is None
    assert "users are on v3" in way.sentence


def test_it_never_goes_to_a_revision_that_was_taken_back_by_hand() -> None:
    past = past_of([
        journal(1, "v1", None, how="installed"),
        journal(2, "v2", "v1"),
        journal(3, "v2", "v1", how="restored"),
        journal(4, "v3", "v1"),
    ])  # fmt: skip
    assert goal(way_back(past, serving("v3"))) == dict.fromkeys(ALL, "v1")


def test_release_that_rolled_itself_back_left_nothing_behind() -> None:
    past = [*three(), *past_of([journal(4, "v4", "v3", how="rolled back")])]
    assert goal(way_back(past, serving("v3"))) == dict.fromkeys(ALL, "v2")
    with pytest.raises(Refused, match="r0004 is no release"):
        way_back(past, serving("v3"), "r0004")


def test_platform_whose_installation_has_no_record_goes_to_what_the_first_release_replaced() -> None:
    past = past_of([journal(1, "v2", "v1")])
    assert goal(way_back(past, serving("v2"))) == dict.fromkeys(ALL, "v1")
    assert goal(way_back(past, serving("v2"), "v1")) == dict.fromkeys(ALL, "v1")


@pytest.mark.parametrize("journals", [[], [journal(1, "v1", None, how="installed")]], ids=["nothing", "one"])
def test_nothing_older_is_refused(journals: list[Journal]) -> None:
    with pytest.raises(Refused):
        way_back(past_of(journals), serving("v1"))


def test_name_of_two_different_states_is_refused_and_both_are_named() -> None:
    past = past_of([
        journal(1, "v1", None, how="installed"),
        journal(2, "v2", "v1", names=ALL[:1]),
        journal(3, "v3", "v2", names=ALL[:1]),
        journal(4, "v2", "v1", names=ALL[1:]),
    ])  # fmt: skip
    users = {**serving("v2"), ALL[0]: revision("v3", ALL[0])}
    with pytest.raises(Refused) as refused:
        way_back(past, users, "v2")
    assert "r0002" in str(refused.value)
    assert "r0004" in str(refused.value)


def test_service_that_came_later_stays_and_one_that_went_stays_away() -> None:
    past = past_of([journal(1, "v1", None, how="installed", names=ALL[:2]), journal(2, "v2", "v1", names=ALL[1:])])
    way = way_back(past, serving("v2", ALL[1:]), "v1")
    assert goal(way) == {ALL[1]: "v1", **dict.fromkeys(ALL[2:], "v2")}
    assert way.plan is not None
    assert [s.name for s in way.plan.services if s.stable is None] == list(ALL[2:])
    assert any(f"{ALL[0]} is not on this platform any more" in note for note in way.notes)
    assert any(f"{ALL[2]} came after" in note for note in way.notes)


def test_restore_that_kept_a_service_is_the_past_of_all_services() -> None:
    past = [*three(), *past_of([journal(4, "v3", "v2", how="restored", keeps=ALL[0])])]
    assert past[-1].revisions[ALL[0]].name == "v3"
    assert past[-1].replaced == ALL[1:]


def test_list_has_each_state_once_with_the_way_to_it_or_what_is_in_the_way() -> None:
    past = [*three(), *past_of([journal(4, "v3", "v2", how="restored")])]
    lines = listing(past, serving("v2"))
    assert [line.split()[2] for line in lines] == ["v2", "v3", "v1"]
    assert "users are on it" in lines[0]
    assert "rollback PLAN --to r0003" in lines[1]


def test_name_that_runs_in_another_way_now_is_refused() -> None:
    users = {**serving("v3"), ALL[0]: Revision("v2", ("serve", "otherwise", "{port}"))}
    with pytest.raises(Refused, match="runs now in another way"):
        way_back(three(), users, "v2")
