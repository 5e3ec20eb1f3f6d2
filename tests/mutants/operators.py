"""What can be changed at one place of a module: each mutant is its whole new text, and the line of the change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.seed import Broken

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """`node` of a module becomes `new`."""

    path: Path
    kind: str
    statement: int
    first: tuple[int, int]
    last: tuple[int, int]
    new: str

    def broken(self) -> Broken:
        """The module with it."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        (row, column), (end_row, end_column) = self.first, self.last
        tail = lines[end_row - 1][end_column:]
        lines[row - 1 : end_row] = [lines[row - 1][:column] + self.new.encode() + tail]
        return Broken(self.path, b"".join(lines).decode(), row)


def mutants(path: Path, statements: set[int]) -> list[Mutant]:
    """Every mutant of a module at these statements (their first lines)."""
    found = []
    for statement, node in places(ast.parse(path.read_text())):
        if statement in statements:
            for kind, new in changes(node):
                end = (node.end_lineno or 0, node.end_col_offset or 0)
                found.append(Mutant(path, kind, statement, (node.lineno, node.col_offset), end, new))
    return found


def places(tree: ast.Module) -> Iterator[tuple[int, ast.expr | ast.stmt]]:
    """(first line of its statement, node) of all code: no annotations, patterns, decorators, texts and imports."""

    def below(node: ast.AST, statement: int) -> Iterator[tuple[int, ast.expr | ast.stmt]]:
        skipped = {"annotation", "returns", "decorator_list", "pattern", "type_params", "bases"}
        for name, value in ast.iter_fields(node):
            if name in skipped:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom) or is_type_alias(child):
                    continue
                if isinstance(child, ast.AST):
                    line = child.lineno if isinstance(child, ast.stmt) else statement
                    if isinstance(child, ast.expr | ast.stmt):
                        yield line, child
                    yield from below(child, line)

    return below(tree, 0)


def is_type_alias(node: object) -> bool:
    """`Name = A | B` or `Name = dict[...]`: nothing that runs depends on it. Also what only types need."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp) and node.col_offset == 0


def changes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, str]]:
    """(what kind of change, the new code) for one node."""
    yield from expression(node) if isinstance(node, ast.expr) else statement(node)


def expression(node: ast.expr) -> Iterator[tuple[str, str]]:
    """Of a value."""
    match node:
        case ast.Compare(left, [operator, *rest], values) if type(operator) in COMPARED:
            yield "comparison", code(ast.Compare(left, [COMPARED[type(operator)](), *rest], values))
        case ast.BinOp(left, operator, right) if type(operator) in COMPUTED and not is_text(left):
            yield "arithmetic", code(ast.BinOp(left, COMPUTED[type(operator)](), right))
        case ast.BoolOp(operator, values):
            yield "and/or", code(ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values))
        case ast.UnaryOp(ast.Not(), value):
            yield "not", code(value)
        case ast.Constant(bool(value)):
            yield "constant", str(not value)
        case ast.Constant(int(value) | float(value)):
            yield "constant", repr(value + 1)
        case ast.IfExp(test, yes, no):
            yield "branches swapped", code(ast.IfExp(test, no, yes))
        case ast.Call(function, [ast.expr() as one, ast.expr() as two, *rest], keywords) if not starred(one, two):
            yield "arguments swapped", code(ast.Call(function, [two, one, *rest], keywords))
        case _:
            pass


def statement(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Of what is done."""
    match node:
        case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Assign([ast.Attribute()]) | ast.Delete():
            yield "removed", "pass"
        case ast.Return(ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "nothing returned", "return None"
        case ast.Break():
            yield "break/continue", "continue"
        case ast.Continue():
            yield "break/continue", "break"
        case _:
            pass


def code(node: ast.expr) -> str:
    """As source, in brackets."""
    return f"({ast.unparse(ast.fix_missing_locations(node))})"


def is_text(node: ast.expr) -> bool:
    """Whether it is a text, whose arithmetic is formatting."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def starred(*nodes: ast.expr) -> bool:
    """`*values` have no place of their own."""
    return any(isinstance(node, ast.Starred) for node in nodes)
