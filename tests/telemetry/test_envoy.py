"""What the source makes of the router's counters when its log cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from onlyvips_release.core.model import Arm
from onlyvips_release.state.layout import Layout
from onlyvips_release.telemetry.envoy import EnvoySource
from tests.testing.plans import make_plan, service


def test_counters_that_fall_begin_again_also_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = EnvoySource(Layout.at(tmp_path), make_plan(services=(service("api", 0),)))
    counted = {f"api__{arm}": {"127.0.0.1:1": (50, 2, 0)} for arm in Arm}
    monkeypatch.setattr(source, "_start", lambda: "1")
    monkeypatch.setattr(source, "_lost", dict)
    monkeypatch.setattr(source, "_counts", lambda: counted)
    seen = []
    for counts in ((50, 2, 0), (3, 0, 0), (9, 1, 0)):
        counted["api__canary"] = {"127.0.0.1:1": counts}
        (series,) = source.sample().arms["api"][Arm.CANARY]
        assert series.latency is None
        seen.append((series.good, series.bad))
    assert seen == [(50, 2), (3, 0), (9, 1)]
