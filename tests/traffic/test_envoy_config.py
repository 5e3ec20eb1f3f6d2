"""Envoy's files as functions of the plan: what needs no Envoy."""

from __future__ import annotations

import re

import pytest

from onlyvips_release.traffic.envoy_config import pattern


@pytest.mark.parametrize(
    ("path", "fits", "not_fits"),
    [
        ("/a/{id}/b", "/a/x.y-z/b", "/a/x/y/b"),
        ("/a/*", "/a/1", "/a/"),
        ("/a.b", "/a.b", "/aXb"),
        ("/a/", "/a/", "/a"),
    ],
)
def test_star_and_name_are_one_segment_and_the_rest_is_literal(path: str, fits: str, not_fits: str) -> None:
    assert re.fullmatch(pattern(path), fits)
    assert not re.fullmatch(pattern(path), not_fits)
