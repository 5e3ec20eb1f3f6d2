"""What is written: docs/judge-table.md for people, docs/judge-table.json with every run."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import math
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.judge.peers import EARLY
from benchmarks.judge.rows import Cases, Row, Seen, percent, quantile, tick
from benchmarks.judge.runs import ONE_OF_16

ROOT = Path(__file__).parents[2]
MARKDOWN, DATA = ROOT / "docs/judge-table.md", ROOT / "docs/judge-table.json"
COMMAND = "python -m benchmarks.judge"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def source_hash(folder: str = "onlyvips_release/core/judge") -> str:
    """Of everything that decides: each definition's code, wherever it stands; docstrings, comments and imports are out.

    So a definition may move to another file, and may be explained better, without 75 minutes of simulation. The
    package's `__init__` is out too: it only names what stands in the other files.
    """
    files = sorted(path for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py")
    found = sorted(code for path in files for code in definitions(path.read_text()))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def definitions(text: str) -> list[str]:
    """The code of each statement of a module without blanks, comments and docstrings; imports and `__all__` are out."""
    found = []
    for statement in ast.parse(text).body:
        code = ast.get_source_segment(text, statement) or ""
        imports = isinstance(statement, ast.Import | ast.ImportFrom) or code.startswith("if TYPE_CHECKING:")
        if not imports and not isinstance(statement, ast.Expr) and not code.startswith("__all__ = "):
            found.append(without_prose(code))
    return found


def without_prose(code: str) -> str:
    """Its tokens in a row; a string that is a statement of its own is prose."""
    kept, line = list[str](), list[tokenize.TokenInfo]()
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NEWLINE:
            prose = all(part.type == tokenize.STRING for part in line)
            kept += [] if prose else [part.string for part in line]
            line = []
        elif token.type not in layout:
            line.append(token)
    return " ".join(kept)


def is_peer(column: str) -> bool:
    """Peers' columns have a space in their names, or are one of these."""
    return " " in column or column in {"kayenta", "pipecd", "z-test"}


def pack(column: str, values: Sequence[float | None]) -> Any:
    """Peers' ticks as two digits of base 36 each: they are many."""
    if not is_peer(column):
        return list(values)
    return "".join(DIGITS[int(v or 0) // 36] + DIGITS[int(v or 0) % 36] for v in values)


def unpack(column: str, packed: Any) -> list[float | None]:
    """The opposite."""
    if not is_peer(column):
        return list(packed)
    return [int(packed[i : i + 2], 36) for i in range(0, len(packed), 2)]


def held(found: Mapping[str, Cases], rows: Sequence[Row]) -> dict[str, list[Seen]]:
    """Every bar against what came out; rows that read others' outcomes are left out where those are missing."""
    seen = {}
    for row in rows:
        others = {f"{other}/{case}": columns for other in row.of for case, columns in found.get(other, {}).items()}
        if all(other in found for other in row.of):
            seen[row.id] = [bar({**found[row.id], **others}) for bar in row.bars]
    return seen


def read() -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """Every run of the committed table: row -> case -> column -> value by seed."""
    return {
        row: {case: {name: unpack(name, v) for name, v in columns.items()} for case, columns in cases.items()}
        for row, cases in json.loads(DATA.read_text())["rows"].items()
    }


def write(found: dict[str, Cases], rows: Sequence[Row], cpu: dict[str, float]) -> bool:
    """Both files; whether every bar holds."""
    seen = held(found, rows)
    data = {
        "command": COMMAND,
        "judge": source_hash(),
        "cpu_seconds": {row: round(value) for row, value in cpu.items()},
        "rows": {
            row: {case: {name: pack(name, v) for name, v in columns.items()} for case, columns in cases.items()}
            for row, cases in found.items()
        },
    }
    DATA.write_text(json.dumps(data, separators=(",", ":")).replace('"},"', '"},\n"').replace("]},", "]},\n") + "\n")
    MARKDOWN.write_text(markdown(found, rows, seen))
    return all(one.ok for bars in seen.values() for one in bars)


def markdown(found: dict[str, Cases], rows: Sequence[Row], seen: dict[str, list[Seen]]) -> str:
    """The table."""
    bars = [one for row in rows for one in seen.get(row.id, ())]
    lines = [
        "# Acceptance table of the judge",
        "",
        f"`{COMMAND}`; seeds 0 .. runs - 1 of every case; judge/ is `{source_hash()[:16]}`; every run's outcome is in",
        f"[judge-table.json](judge-table.json). {sum(one.ok for one in bars)} of {len(bars)} bars hold. A rate fails",
        "above its limit + 3 standard errors, a median one tick above. 5-s ticks, weight 10 %, 30 min, if not said",
        "otherwise; `alone` E >= 20, `1 of 16` E >= 320, which the times use.",
        "",
        "| row | scenario | runs | must | seen | pass |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for i, one in enumerate(seen.get(row.id, ())):
            head = f"| {row.id} | {row.scenario} | {len(found[row.id])} x {row.runs}" if i == 0 else "| | |"
            lines.append(f"{head} | {one.must} | {one.seen} | {'yes' if one.ok else '**NO**'} |")
    lines += ["", "## Other tools' rules on the same random numbers", "", *rivals(found, rows)]
    return "\n".join(lines) + "\n"


def rivals(found: dict[str, Cases], rows: Sequence[Row]) -> list[str]:
    """Per case: how often each rule rolls back, after how long since the onset (median)."""
    lines = ["| row | case | rolls back (median after) |", "|---|---|---|"]
    for row in rows:
        threshold = 100.0 if row.id.startswith("R") else ONE_OF_16
        for case, columns in found[row.id].items():
            told = [told_of(name, columns[name], case) for name in columns if is_peer(name)]
            if told:
                own = columns.get("ticks") or [float(v or 0) >= math.log(threshold) for v in columns["lnE"]]
                lines.append(f"| {row.id} | {case} | {'; '.join([told_of('**judge**', own, case), *told])} |")
    return lines


def told_of(name: str, values: Sequence[float | None], case: str) -> str:
    """`argo 99 % limit 0: 100 % (60 s)`."""
    n = len(values)
    hits = [v if v and v != EARLY else None for v in values]
    share, early = sum(map(bool, hits)) / n, sum(v == EARLY for v in values) / n
    after = f" ({quantile(hits, 0.5) * tick(case):g} s)" if share > 0.5 and not isinstance(values[0], bool) else ""
    return f"{name}: {percent(share)}{after}" + (f", {percent(early)} too early" if early else "")
