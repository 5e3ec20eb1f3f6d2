"""docs/plan.md and the schema name the same keys; the example of the page is a plan with the defaults that it tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from onlyvips_release import planmodel
from onlyvips_release.planfile import load

PAGE = Path(__file__).parents[2] / "docs/plan.md"


def example() -> str:
    """The plan that the page shows."""
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


def keys_of_schema(part: dict[str, Any], whole: dict[str, Any], path: str = "") -> Iterator[str]:
    """`a.b.c` of each key; names that a user gives are left out."""
    part = {**whole["$defs"][part["$ref"].rpartition("/")[2]], **part} if "$ref" in part else part
    for name, below in part.get("properties", {}).items():
        yield f"{path}{name}"
        yield from keys_of_schema(below, whole, f"{path}{name}.")
    for below in (part.get("items"), part.get("additionalProperties"), *part.get("anyOf", ())):
        if isinstance(below, dict):
            yield from keys_of_schema(below, whole, path)


def keys_of_plan(value: Any, schema: set[str], path: str = "") -> Iterator[str]:
    """The same of a plan."""
    if isinstance(value, list):
        for item in value:
            yield from keys_of_plan(item, schema, path)
    for name, below in value.items() if isinstance(value, dict) else ():
        given_name = path == "services." or path.endswith(".env.")
        if not given_name:
            yield f"{path}{name}"
        yield from keys_of_plan(below, schema, path if given_name else f"{path}{name}.")


def test_page_names_each_key_that_exists_and_no_other() -> None:
    schema = planmodel.schema()
    exist = set(keys_of_schema(schema, schema))
    shown = set(keys_of_plan(yaml.load(example(), yaml.BaseLoader), exist))
    in_words = {key for key in exist - shown if re.search(rf"\b{key.rpartition('.')[2]}:", example())}
    assert (sorted(exist - shown - in_words), sorted(shown - exist)) == ([], [])


def test_each_key_has_a_text() -> None:
    def untold(part: dict[str, Any]) -> list[str]:
        refers = (name for name, below in part.get("properties", {}).items() if "description" not in below)
        return [name for name in refers if "$ref" not in part["properties"][name]]

    schema = planmodel.schema()
    assert [(name, untold(part)) for name, part in {"": schema, **schema["$defs"]}.items() if untold(part)] == []


def test_example_of_the_page_is_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(example())
    assert [service.kind for service in load(path)[0].services] == ["process", "external", "process"]
