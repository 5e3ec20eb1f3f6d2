"""One fault: where it is put, and how the code there is changed."""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "onlyvips_release"
LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclass(frozen=True)
class Seed:
    """`old` becomes `new` in `function`, which is looked for in all modules below `area`.

    `area`: a path below onlyvips_release/ without `.py`, of a package or a module; `function`: `function` or
    `Class.method`, "" = the module's own level. `old` is compared token by token: line breaks, indentation and comments
    do not count. It must stand there exactly once.
    """

    what: str
    area: str
    function: str
    old: str
    new: str


@dataclass(frozen=True)
class Broken:
    """A module with a fault in it. `line`: where the fault begins."""

    path: Path
    text: str
    line: int


class Misfit(Exception):
    """The code has changed, and the seed has not."""


def plant(seed: Seed, root: Path) -> Broken:
    """The one module that the fault changes, as it is afterwards. Raises Misfit where `old` is not there once."""
    found = [broken for path in modules(seed.area, root) for broken in places(seed, path)]
    if len(found) != 1:
        where = f"{seed.function or 'the module level'} of {PACKAGE}/{seed.area}"
        raise Misfit(f"the seed {seed.what!r} no longer fits: its code stands {len(found)} times in {where}")
    ast.parse(found[0].text)
    return found[0]


def modules(area: str, root: Path) -> list[Path]:
    """The files of an area."""
    base = root / PACKAGE / area
    module = base.with_name(f"{base.name}.py")
    return [module] if module.exists() else sorted(base.rglob("*.py"))


def places(seed: Seed, path: Path) -> Iterator[Broken]:
    """Every place in one module where the seed's code stands in its function."""
    text = path.read_text()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    old = fragment(seed.old)
    mine = tokens(text)
    for first, last in spans(seed.function, parsed(text)):
        inside = [token for token in mine if first <= token.start[0] <= last]
        for at in range(len(inside) - len(old) + 1):
            if [token.string for token in inside[at : at + len(old)]] == old:
                (row, column), (end_row, end_column) = inside[at].start, inside[at + len(old) - 1].end
                begin, end = starts[row - 1] + column, starts[end_row - 1] + end_column
                yield Broken(path, text[:begin] + seed.new + text[end:], row)


@functools.lru_cache(maxsize=256)
def parsed(text: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(text)


def spans(function: str, tree: ast.Module) -> list[tuple[int, int]]:
    """First and last line of each definition of that name; of every statement that is none for ""."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    if not function:
        return [(s.lineno, s.end_lineno or s.lineno) for s in tree.body if not isinstance(s, kinds)]
    scopes: list[ast.AST] = [tree]
    for name in function.split("."):
        inner = [node for scope in scopes for node in ast.iter_child_nodes(scope)]
        scopes = [node for node in inner if isinstance(node, kinds) and node.name == name]
    return [(node.lineno, node.end_lineno or node.lineno) for node in scopes if isinstance(node, kinds)]


@functools.lru_cache(maxsize=256)
def tokens(text: str) -> list[tokenize.TokenInfo]:
    """The code of a text."""
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token for token in found if token.type not in LAYOUT and token.string]


def fragment(text: str) -> list[str]:
    """The code of a part of a statement: read inside of a bracket, where layout does not count."""
    found = []
    with suppress(tokenize.TokenError):  # the bracket stays open
        for token in tokenize.generate_tokens(io.StringIO(f"({text}").readline):
            if token.type not in LAYOUT and token.string:
                found.append(token.string)
    return found[1:]
