"""What proves which revision answers."""

from __future__ import annotations

from dataclasses import replace

from onlyvips_release.core.lifecycle import fold
from onlyvips_release.core.plan import Health, Identity, Revision, Service
from onlyvips_release.core.proof import unproven
from onlyvips_release.targets.embedded_plan import External
from tests.testing.crash_world import started
from tests.testing.plans import make_plan, service


def test_revision_that_only_the_router_names_is_unproven_unless_the_app_names_it_too() -> None:
    old, new = (Revision(name, url=f"http://127.0.0.1:{port}") for name, port in (("v1", 18_301), ("v2", 18_302)))
    api = Service("api", canary=new, stable=old, host="api.*", health=Health("/"), runs=External())
    named = replace(api, name="shop", host="shop.*", identity=Identity(header="x-version"))
    assert unproven(fold([started(make_plan(services=(api, named, service("miniapp", 2))))])) == ["api"]
