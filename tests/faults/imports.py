"""Which test files import a module, directly or through others, and how far away it is."""

from __future__ import annotations

import ast
import functools
from collections import deque
from pathlib import Path

ROOTS = ("onlyvips_release", "tests", "benchmarks", "smoke_tests", "canary_checks", "examples")


def importers(module: Path, root: Path) -> dict[Path, int]:
    """Every file that imports `module` -> over how many imports."""
    graph = reversed_imports(root)
    found, queue = {module: 0}, deque([module])
    while queue:
        path = queue.popleft()
        for above in graph.get(path, ()):
            if above not in found:
                found[above] = found[path] + 1
                queue.append(above)
    return found


@functools.cache
def reversed_imports(root: Path) -> dict[Path, set[Path]]:
    """File -> the files that import it."""
    graph: dict[Path, set[Path]] = {}
    for folder in ROOTS:
        for path in (root / folder).rglob("*.py"):
            for target in imported(path, root):
                graph.setdefault(target, set()).add(path)
    return graph


def imported(path: Path, root: Path) -> set[Path]:
    """What a file imports of this repository, also inside functions or by its name.

    What only types need is left out; but a package hands out what it names for types, when it is asked for.
    """
    tree, found = ast.parse(path.read_text()), set[Path]()
    types = [node for node in ast.walk(tree) if only_for_types(node) and path.name != "__init__.py"]
    skipped = {id(inner) for node in types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {file for alias in node.names if (file := located(alias.name, root))}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            parts = {located(f"{node.module}.{alias.name}", root) for alias in node.names}
            own = located(node.module, root) if None in parts else None
            found |= {file for file in (*parts, own) if file}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("onlyvips_"):
            found |= {file for file in [located(node.value, root)] if file}
    return found


def only_for_types(node: ast.AST) -> bool:
    """Whether it is the block of an `if TYPE_CHECKING`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@functools.cache
def located(name: str, root: Path) -> Path | None:
    """The file of a module's name, None where it is none of ours."""
    base = root.joinpath(*name.split("."))
    module, package = base.with_name(f"{base.name}.py"), base / "__init__.py"
    return module if module.is_file() else package if package.is_file() else None
