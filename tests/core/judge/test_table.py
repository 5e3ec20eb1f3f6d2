"""The committed acceptance table (docs/judge-table.json) belongs to this judge, and comes out again."""

from __future__ import annotations

import json

import pytest

from benchmarks.judge import table
from benchmarks.judge.__main__ import differences
from benchmarks.judge.rows import ROWS, Row


@pytest.mark.slice
def test_the_table_was_made_by_this_judge() -> None:
    made_by = json.loads(table.DATA.read_text())["judge"]
    assert made_by == table.source_hash(), f"judge/ has changed: run `{table.COMMAND}`"


@pytest.mark.slice
def test_every_row_is_there_in_full_and_every_bar_holds() -> None:
    found = table.read()
    assert {row.id: {(case, row.runs) for case in row.cases} for row in ROWS} == {
        row: {(case, len(values)) for case, columns in cases.items() for values in columns.values()}
        for row, cases in found.items()
    }
    assert not [(row, bar) for row, bars in table.held(found, ROWS).items() for bar in bars if not bar.ok]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.first])
def test_its_first_run_comes_out_the_same(row: Row) -> None:
    assert not differences(row, 1)


@pytest.mark.slow
@pytest.mark.slice
@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_its_first_runs_come_out_the_same(row: Row) -> None:
    assert not differences(row, row.first)
