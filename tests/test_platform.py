"""One platform over ports: what is installed, taken down, brought back and refused; on the toy target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release import targets
from onlyvips_release.core.events import CanaryStarted, Event, Phase, Shifted
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, SuiteResult, Verdict
from onlyvips_release.core.plan import Accept, Health, JudgePlan, ReleasePlan, Revision, Service, Step
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.environment import Environment
from onlyvips_release.errors import NotConfirmed, NotReady, Refused
from onlyvips_release.platform import Platform
from onlyvips_release.wiring import Parts
from tests.testing.toy_target import Shelf

SECOND = timedelta(seconds=1)


class Suites:
    """All suites end with this verdict, at once."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def start(self, request: SuiteRequest) -> Suites:
        """Begin and end."""
        self.request = request
        return self

    def poll(self) -> SuiteResult:
        """Ended."""
        return SuiteResult(self.request.name, self.request.arm, self.request.weight, self.verdict, "told so", 1, 1)

    def stop(self) -> None:
        """Ended."""


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch) -> Callable[[Verdict], None]:
    """Says how suites end; PASS until it is told otherwise."""
    monkeypatch.setitem(targets.BUILT_IN, "toy", "tests.testing.toy_target:TARGET")

    def tell(wanted: Verdict) -> None:
        monkeypatch.setattr(Parts, "checks", lambda *_: Suites(wanted))

    tell(Verdict.PASS)
    return tell


def plan_of(new: str, old: str | None = None, names: tuple[str, ...] = ("web",)) -> ReleasePlan:
    """All these services from `old` (None = whatever runs) to `new`."""
    services = tuple(
        Service(
            name,
            canary=Revision(new, image=new),
            stable=Revision(old, image=old) if old else None,
            host=f"{name}.*",
            health=Health("/"),
            runs=Shelf(2),
        )
        for name in names
    )
    return ReleasePlan(
        "shop",
        services,
        steps=(Step(10, SECOND),),
        watch=SECOND / 5,
        lease=2 * SECOND,
        accept=Accept.NO_EVIDENCE_OF_HARM,
        judge=JudgePlan(tick=SECOND / 5),
    )


@pytest.fixture
def shop(tmp_path: Path, verdict: Callable[[Verdict], None]) -> Callable[[ReleasePlan], Platform]:
    """Opens the platform under a plan."""
    environment = Environment(tmp_path / "state", tmp_path / "reports", {"PATH": "/bin"})
    return lambda plan: Platform(plan, folder=tmp_path, environment=environment)


Shop = Callable[[ReleasePlan], Platform]


def installed(platform: Platform) -> dict[str, str]:
    """What users are on, as the target says, with everybody on stable."""
    assert platform.target.router().read_weight() == 0
    return {i.service: i.revision for i in platform.target.workload.inspect() if i.arm is Arm.STABLE}


def run(platform: Platform) -> Release:
    """One release, without a process that guards it."""
    release = platform.run(guardian=False)
    assert release.phase is Phase.PROMOTED, release.finished
    return release


def up(platform: Platform) -> Release | None:
    """Without a process that guards it."""
    return platform.up(guardian=False)


def test_installation_takes_a_release_id_and_a_second_up_none(shop: Shop) -> None:
    first = up(shop(plan_of("v2", "v1")))
    assert first is not None
    assert (first.id, first.phase) == ("r0001", Phase.PROMOTED)
    assert up(shop(plan_of("v2", "v1"))) is None
    assert installed(shop(plan_of("v2"))) == {"web": "v1"}


def test_installation_that_fails_leaves_no_router_and_no_service(
    shop: Shop, verdict: Callable[[Verdict], None]
) -> None:
    verdict(Verdict.FAIL)
    release = up(shop(plan_of("v2", "v1")))
    assert release is not None
    assert release.finished is not None
    assert release.finished.exit == 3
    platform = shop(plan_of("v2"))
    assert not platform.target.router().running()
    assert platform.target.workload.stable() == {}
    assert platform.recover() is None


def test_new_service_is_installed_beside_those_that_serve(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    release = up(shop(plan_of("v2", "v1", ("web", "blog"))))
    assert release is not None
    assert (release.id, release.old) == ("r0002", {"web": "v1", "blog": ""})
    assert installed(shop(plan_of("v2", names=("web", "blog")))) == {"web": "v1", "blog": "v1"}


def test_down_and_up_bring_back_what_was_promoted_not_what_the_plan_names(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    run(shop(plan_of("v2", "v1")))
    lines: list[str] = []
    shop(plan_of("v2", "v1")).down(lines.append)
    assert lines == ["router stopped", "web v2 stopped"]
    assert shop(plan_of("v3")).recover() is None
    assert up(shop(plan_of("v2", "v1"))) is None
    assert installed(shop(plan_of("v3"))) == {"web": "v2"}


def test_down_that_leaves_something_behind_is_not_confirmed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = shop(plan_of("v2", "v1"))
    up(platform)
    monkeypatch.setattr(type(platform.target.workload), "stop_all", lambda _: None)
    with pytest.raises(NotConfirmed, match="web v1 still runs"):
        platform.down()


def test_recover_with_nothing_open_names_whose_users_are_refused(shop: Shop) -> None:
    platform = shop(plan_of("v2", "v1"))
    up(platform)
    assert platform.recover() is None
    platform.target.lease.acquire("test")
    platform.target.router().stop()
    platform.target.lease.release()
    with pytest.raises(NotConfirmed, match="users are refused: web: no router"):
        platform.recover()
    up(platform)
    assert platform.recover() is None


def test_rollback_undoes_one_promotion_and_nothing_when_it_is_repeated(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    run(shop(plan_of("v2", "v1")))
    run(shop(plan_of("v3", "v2")))
    lines: list[str] = []
    back = shop(plan_of("v3", "v2")).rollback(guardian=False)
    assert back is not None
    assert back.finished is not None
    assert (back.finished.exit, installed(shop(plan_of("v9")))) == (0, {"web": "v2"})
    assert shop(plan_of("v3", "v2")).rollback(guardian=False, tell=lines.append) is None
    assert "rollback PLAN --to v1" in lines[0]
    assert shop(plan_of("v3", "v2")).rollback("v1", guardian=False) is not None
    assert installed(shop(plan_of("v9"))) == {"web": "v1"}


@pytest.mark.parametrize("to", [None, "r0002"])
def test_rollback_to_before_a_service_came_leaves_that_service_alone(to: str | None, shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    run(shop(plan_of("v2", "v1")))
    both = ("web", "blog")
    up(shop(plan_of("v2", names=both)))
    platform = shop(plan_of("v3", names=both))
    run(platform)
    back = platform.rollback(to, guardian=False)
    assert back is not None
    assert back.phase is Phase.ROLLED_BACK
    assert installed(platform) == {"web": "v2", "blog": "v2" if to is None else "v3"}


@pytest.mark.parametrize("names", [("web",), ("web", "blog", "extra")], ids=["fewer services", "more services"])
def test_rollback_uses_the_plan_that_is_in_force_whatever_the_plan_file_names(
    names: tuple[str, ...], shop: Shop
) -> None:
    both = ("web", "blog")
    up(shop(plan_of("v2", "v1", both)))
    run(shop(plan_of("v2", names=both)))
    back = shop(plan_of("v9", names=names)).rollback(guardian=False)
    assert back is not None
    assert back.finished is not None
    assert back.finished.exit == 0, back.finished
    assert installed(shop(plan_of("v9", names=both))) == {"web": "v1", "blog": "v1"}


def test_rollback_to_a_release_with_a_service_that_has_gone_restores_the_others(shop: Shop) -> None:
    both = ("web", "blog")
    up(shop(plan_of("v2", "v1", both)))
    run(shop(plan_of("v2", names=both)))
    platform = shop(plan_of("v3"))
    platform.down()
    taken_off = up(platform)
    assert taken_off is not None  # its plan is the one in force from now on: a release on record says so
    assert (taken_off.first, installed(platform)["web"]) == (True, "v2")
    assert platform.recover() is None
    run(platform)
    back = platform.rollback("r0002", guardian=False)
    assert back is not None
    assert back.finished is not None
    assert (back.phase, back.finished.exit) == (Phase.ROLLED_BACK, 0)
    assert installed(platform)["web"] == "v2"
    assert any("blog is not on this platform any more" in note for note in back.noted)


@pytest.mark.parametrize("begin", [run, up])
def test_plan_that_leaves_out_a_service_with_users_is_refused(
    begin: Callable[[Platform], Release | None], shop: Shop
) -> None:
    up(shop(plan_of("v2", "v1", ("web", "blog"))))
    with pytest.raises(Refused, match="users are on blog, which this plan leaves out"):
        begin(shop(plan_of("v2")))
    assert installed(shop(plan_of("v2", names=("web", "blog")))) == {"web": "v1", "blog": "v1"}


def test_name_that_users_were_on_cannot_be_given_to_something_else(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    run(shop(plan_of("v2", "v1")))
    plan = plan_of("v1", "v2")
    other = replace(plan.services[0], canary=Revision("v1", image="another"))
    with pytest.raises(Refused, match="users were on another v1"):
        shop(replace(plan, services=(other,))).run(guardian=False)
    assert shop(plan).target.archive.names() == ["r0001", "r0002"]


def test_up_of_a_platform_whose_smoke_suite_fails_is_an_error_and_stops_nothing(
    shop: Shop, verdict: Callable[[Verdict], None]
) -> None:
    up(shop(plan_of("v2", "v1")))
    verdict(Verdict.FAIL)
    with pytest.raises(NotReady, match="stable does not pass"):
        up(shop(plan_of("v2", "v1")))
    assert installed(shop(plan_of("v2"))) == {"web": "v1"}


class Killed(BaseException):
    """SIGKILL: nothing in the process goes on."""


def left_open(platform: Platform) -> None:
    """A release that its controller left while it baked."""

    def die(event: Event, _: Release) -> None:
        if isinstance(event, Shifted):
            raise Killed

    with pytest.raises(Killed):
        platform.run(die, guardian=False)


def test_up_after_down_of_an_open_release_starts_what_its_users_need(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    left_open(shop(plan_of("v2", "v1")))
    shop(plan_of("v2", "v1")).down()
    assert up(shop(plan_of("v2", "v1"))) is None
    platform = shop(plan_of("v2", "v1"))
    assert (installed(platform), platform.target.router().running()) == ({"web": "v1"}, True)


def test_recover_after_down_of_an_open_release_ends_it(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    left_open(shop(plan_of("v2", "v1")))
    shop(plan_of("v2", "v1")).down()
    platform = shop(plan_of("v2", "v1"))
    release = platform.recover()
    assert release is not None
    assert release.finished is not None
    assert (release.finished.exit, installed(platform)) == (3, {"web": "v1"})


def test_down_stops_also_what_an_open_installation_started(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))

    def die(event: Event, _: Release) -> None:
        if isinstance(event, CanaryStarted):
            raise Killed

    with pytest.raises(Killed):
        shop(plan_of("v2", "v1", ("web", "blog"))).up(on_event=die, guardian=False)
    lines: list[str] = []
    shop(plan_of("v2", "v1")).down(lines.append)
    assert lines == ["router stopped", "web v1 stopped", "blog v1 stopped"]


def test_recover_of_a_release_that_was_left_paused_starts_what_its_users_need(shop: Shop) -> None:
    up(shop(plan_of("v2", "v1")))
    plan = replace(plan_of("v2", "v1"), steps=(Step(10, SECOND, approve=True),))
    paused = shop(plan).run(until_paused=True, guardian=False)
    assert (paused.phase, paused.finished and paused.finished.exit) == (Phase.PAUSED, 5)
    assert installed(shop(plan)) == {"web": "v1"}
    shop(plan).down()
    release = shop(plan).recover()
    assert (release and release.finished and release.finished.exit) == 5
    assert (installed(shop(plan)), shop(plan).open_release()) == ({"web": "v1"}, paused.id)
