"""The committed acceptance table (docs/judge-table.json) belongs to this judge, and comes out again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.judge import table
from benchmarks.judge.__main__ import repeat
from benchmarks.judge.rows import ROWS, Row

AGAIN = [row for row in ROWS if row.cases and row.first]


@pytest.fixture(scope="module")
def committed() -> Any:
    return json.loads(table.DATA.read_text())


def test_the_table_was_made_by_this_judge(committed: Any) -> None:
    assert committed["judge"] == table.source_hash(), f"judge/ has changed: run `{table.COMMAND}`"


def test_every_row_is_there_in_full_and_every_bar_holds(committed: Any) -> None:
    found = {
        row: {case: {name: table.unpack(name, v) for name, v in columns.items()} for case, columns in cases.items()}
        for row, cases in committed["rows"].items()
    }
    assert {row.id: {(case, row.runs) for case in row.cases} for row in ROWS} == {
        row: {(case, len(values)) for case, columns in cases.items() for values in columns.values()}
        for row, cases in found.items()
    }
    missed = [(row, bar) for row, bars in table.held(found, ROWS).items() for bar in bars if not bar.ok]
    assert not missed


@pytest.mark.slow
@pytest.mark.parametrize("row", AGAIN, ids=[row.id for row in AGAIN])
def test_its_first_runs_come_out_the_same(row: Row, committed: Any) -> None:
    for case in row.cases:
        kept = committed["rows"][row.id][case]
        again = repeat(row, case, 0, row.first)
        assert again == {name: table.unpack(name, values)[: row.first] for name, values in kept.items()}, case
