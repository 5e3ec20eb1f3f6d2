"""Every formula of the judge gives the committed figures."""

from __future__ import annotations

import json

import pytest

from tests.core.judge.figures import FILE, SOURCES

KNOWN = json.loads(FILE.read_text())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_formulas_give_the_committed_figures(source: object) -> None:
    for name, row in source():  # type: ignore[operator]
        assert row == pytest.approx(KNOWN[name], rel=1e-9, abs=1e-12), name


def test_no_committed_figure_is_left_out() -> None:
    assert set(KNOWN) == {name for source in SOURCES for name, _ in source()}
