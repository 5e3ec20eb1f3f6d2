"""docs/mutations.md, made anew: what each mutation of the platform turns red, and that every check earns its place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.suites.mutations import DOC, MUTATIONS, in_parts, table

pytestmark = [pytest.mark.slow, pytest.mark.slice]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """All mutations, measured."""
    return in_parts()


def test_table_in_the_docs_is_what_happens(found: dict[str, Any]) -> None:
    assert table(found) == DOC.read_text(), "make it anew: python -m tests.suites.mutations --write"


def test_healthy_platform_turns_nothing_red(found: dict[str, Any]) -> None:
    assert found["healthy"] == []


def test_every_check_is_turned_red_by_a_mutation_and_every_mutation_is_found(found: dict[str, Any]) -> None:
    red = found["red"]
    assert len({mutation.what for mutation in MUTATIONS}) == len(MUTATIONS) >= 40
    assert [what for what, names in red.items() if not names] == []
    finders = {name for names in red.values() for name in names}
    assert sorted(set(found["checks"]) - finders) == []
    assert len(finders) >= 60


def test_no_two_checks_see_exactly_the_same(found: dict[str, Any]) -> None:
    seen: dict[frozenset[str], str] = {}
    for check in found["checks"]:
        mine = frozenset(what for what, names in found["red"].items() if check in names)
        assert mine not in seen, f"{check} finds nothing that {seen[mine]} does not find"
        seen[mine] = check
