"""Runs the table: `python -m benchmarks.judge [--rows F1,D1] [--runs N | --first N] [--resume] [--jobs N]`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.judge import table
from benchmarks.judge.rows import BY_ID, ROWS, Cases, Row
from benchmarks.judge.worlds import seeded

CHUNK = 10
"""Seeds of one task."""

CHECKPOINTS = table.ROOT / ".benchmarks/judge"
Task = tuple[str, str, int, int]


def repeat(row: Row, case: str, first: int, last: int) -> dict[str, list[float | None]]:
    """Columns of the seeds first .. last - 1."""
    outcomes = [row.cases[case](seeded(row.id, case, seed)) for seed in range(first, last)]
    return {name: [outcome[name] for outcome in outcomes] for name in outcomes[0]}


def work(task: Task) -> tuple[Task, dict[str, list[float | None]], float]:
    """In a process of its own; with the CPU seconds it took."""
    row, case, first, last = task
    begun = time.process_time()
    columns = repeat(BY_ID[row], case, first, last)
    return task, columns, time.process_time() - begun


def differences(row: Row, runs: int) -> list[str]:
    """What the first runs of the committed table say now, where that is something else."""
    kept, told = table.read()[row.id], []
    for case in row.cases:
        again = repeat(row, case, 0, runs) if runs else {}
        told += [
            f"{row.id} {case} {name}: {values} was {kept[case][name][:runs]}"
            for name, values in again.items()
            if values != kept[case][name][:runs]
        ]
    return told


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0: every bar holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description=__doc__)
    parser.add_argument("--rows", help="only these, e.g. F1,D1; nothing is written to docs/")
    parser.add_argument("--runs", type=int, help="seeds per case instead of the row's own; nothing is written to docs/")
    parser.add_argument("--first", type=int, help="repeat only the first seeds of every case, compare with docs/")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--resume", action="store_true", help="keep the cases that are finished")
    asked = parser.parse_args(argv)
    rows = [row for row in ROWS if not asked.rows or row.id.rstrip("b") in asked.rows.split(",")]
    if asked.first:
        told = [line for row in rows for line in differences(row, min(asked.first, row.first))]
        sys.stdout.write("\n".join([*told, f"{len(told)} differences"]) + "\n")
        return 1 if told else 0
    made_by = table.source_hash()[:12] + table.source_hash("benchmarks/judge")[:12]
    store = CHECKPOINTS / f"{made_by}-{asked.runs or 'all'}"
    store.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, dict[str, list[float | None]]]] = {row.id: {} for row in rows}
    cpu = dict.fromkeys(found, 0.0)
    tasks: list[Task] = []
    for row in rows:
        runs = min(asked.runs or row.runs, row.runs)
        for number, case in enumerate(row.cases):
            kept = store / f"{row.id}.{number}.json"
            if asked.resume and kept.exists():
                found[row.id][case], spent = json.loads(kept.read_text())
                cpu[row.id] += spent
            else:
                tasks += [(row.id, case, at, min(at + CHUNK, runs)) for at in range(0, runs, CHUNK)]
    for (row_id, case), columns, spent in gathered(tasks, asked.jobs):
        found[row_id][case] = columns
        cpu[row_id] += spent
        number = list(BY_ID[row_id].cases).index(case)
        (store / f"{row_id}.{number}.json").write_text(json.dumps([columns, spent]))
    results: dict[str, Cases] = {row.id: {case: found[row.id][case] for case in row.cases} for row in rows}
    if asked.rows or asked.runs:
        seen = table.held(results, rows)
        sys.stdout.write(table.markdown(results, rows, seen))
        ok = all(one.ok for bars in seen.values() for one in bars)
    else:
        ok = table.write(results, rows, cpu)
    sys.stdout.write("".join(f"{row}: {spent:.0f} s CPU\n" for row, spent in cpu.items()))
    return 0 if ok else 1


def gathered(tasks: list[Task], jobs: int) -> Iterator[tuple[tuple[str, str], dict[str, list[float | None]], float]]:
    """Whole cases as they finish, with progress on stderr."""
    waiting: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        waiting.setdefault(task[:2], []).append(task)
    parts: dict[Task, tuple[dict[str, list[float | None]], float]] = {}
    costs = expected(tasks)
    begun, spent_of, whole = time.monotonic(), 0.0, sum(costs.values())
    with multiprocessing.Pool(jobs) as pool:
        for done, (task, columns, spent) in enumerate(pool.imap_unordered(work, tasks), 1):
            parts[task] = columns, spent
            passed, spent_of = time.monotonic() - begun, spent_of + costs[task]
            left = passed / spent_of * (whole - spent_of)
            if done % 20 == 0:
                print(f"{done}/{len(tasks)} {task[0]:<4} {passed:5.0f} s, about {left:.0f} s left", file=sys.stderr)
            mine = waiting[task[:2]]
            if all(one in parts for one in mine):
                chunks = [parts.pop(one) for one in mine]
                joined = {name: [v for chunk, _ in chunks for v in chunk[name]] for name in chunks[0][0]}
                yield task[:2], joined, sum(cost for _, cost in chunks)


def expected(tasks: list[Task]) -> dict[Task, float]:
    """What each task may cost: as in the committed table, else all the same."""
    known = json.loads(table.DATA.read_text())["cpu_seconds"] if table.DATA.exists() else {}
    runs = {row.id: max(row.runs * len(row.cases), 1) for row in ROWS}
    return {task: (task[3] - task[2]) * (known.get(task[0], 0) + 1) / runs[task[0]] for task in tasks}


if __name__ == "__main__":
    sys.exit(main())
