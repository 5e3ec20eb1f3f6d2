"""Makes a plan of the tree of a plan file, or says of each fault where it is and what is wrong.

Only `planfile` and the schema import this module, and late, because pydantic is slow to import.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NamedTuple, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails

from onlyvips_release import targets
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.errors import PlanError, Refused
from onlyvips_release.planparts import NO_VALUE, Contradiction, Part, Via, model_of
from onlyvips_release.targets import NOT_BUILT, Target

Loc = tuple[int | str, ...]
"""Where in the file: keys, and list indices that count from 0."""


class Fault(NamedTuple):
    """One fault of a plan. `at_key`: the key itself is at fault, not what stands behind it."""

    loc: Loc
    message: str
    at_key: bool = False


class Faults(Exception):
    """Every fault of a plan, in the order of validation."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def read(tree: object) -> ReleasePlan:
    """The plan of `tree` (dicts, lists, text, numbers, booleans, None), or Faults."""
    model = model_of((_target(tree),))
    try:
        plan: ReleasePlan = model.model_validate(tree).build()
    except PlanError as error:
        raise Faults([Fault(_resolve((), p.key), p.message) for p in error.problems]) from None
    except pydantic.ValidationError as error:
        raise Faults([f for e in error.errors(include_url=False) for f in _faults(model, e)]) from None
    return plan


def schema() -> dict[str, Any]:
    """JSON Schema of a plan file, with the keys of every target that is installed."""
    return model_of(targets.every()).model_json_schema()


def _target(tree: object) -> Target:
    """The target whose keys the file may have; the first one where it names none that is installed."""
    name = tree.get("target") if isinstance(tree, dict) else ""
    try:
        return targets.find(name if isinstance(name, str) else "")
    except Refused:
        return targets.find("")


# --- faults -------------------------------------------------------------------------------------------------------


def _faults(model: type[Part], error: ErrorDetails) -> list[Fault]:
    """What pydantic says, in the reader's words."""
    loc = tuple(part for part in error["loc"] if part != "[key]")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Contradiction):
        return [Fault(_resolve(loc, problem.key), problem.message) for problem in cause.error.problems]
    if error["type"] == "extra_forbidden":
        return [Fault(loc, _unknown(model, loc), at_key=True)]
    return [Fault(loc, _message(error), at_key=error["loc"][-1:] == ("[key]",))]


def _message(error: ErrorDetails) -> str:
    value = error["input"]
    if value is None:
        return "is not text: it has no value" if error["type"] == "string_type" else NO_VALUE
    match error["type"]:
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case "string_type":
            return _no_text(value)
        case "model_type" | "dict_type":
            return "give keys with values"
        case "tuple_type":
            return "give a list, such as [a, b]"
        case _:
            return error["msg"]


def _no_text(value: object) -> str:
    """Numbers come from TOML only; `{port}` without quotes is a mapping in YAML."""
    if isinstance(value, dict) and len(value) == 1 and list(value.values()) == [None]:
        return f'put it in quotes: "{{{_short(next(iter(value)))}}}"'
    if isinstance(value, dict | list):
        return "is not text"
    return f"is not text: put it in quotes ({_short(str(value))!r})"


def _unknown(model: type[Part], loc: Loc) -> str:
    name, part = str(loc[-1]), _part_at(model, loc[:-1])
    if name in NOT_BUILT or (part and name in part.refused):
        return f"{name!r} is not built yet: remove it"
    options = [str(field.alias) for field in part.model_fields.values()] if part else []
    near = get_close_matches(_short(name), options, n=1)
    return f"unknown key {_short(name)!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _part_at(kind: Any, loc: Loc) -> type[Part] | None:
    """The model that stands at `loc` below the type `kind`."""
    if isinstance(kind, Via):
        return _part_at(kind.part, loc)
    if isinstance(kind, type) and issubclass(kind, Part):
        found = next((field for field in kind.model_fields.values() if loc and field.alias == loc[0]), None)
        options = [found.annotation, *found.metadata] if found else []
        return next((part for one in options if (part := _part_at(one, loc[1:]))), None) if loc else kind
    below = loc[1:] if get_origin(kind) in (dict, tuple) else loc
    return next((part for option in get_args(kind) if (part := _part_at(option, below))), None)


def _resolve(loc: Loc, key: str) -> Loc:
    """The place of a key that a dataclass refused, which counts either from the part at `loc` or from the root."""
    words = tuple(key.split(".")) if key else ()
    if loc and words[:1] == loc[:1]:
        return loc if loc[: len(words)] == words else words
    return (*loc, *words)
