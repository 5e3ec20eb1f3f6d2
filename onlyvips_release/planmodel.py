"""Validates the tree of a plan file: pydantic models, made from the fields of the plan's own dataclasses.

Only `planfile` and the schema import this module, and late, because pydantic is slow to import. Each key, its type, its
text and its default stand at a field with a `Key` (in `core.plan` and in the parts of the targets). A model hands on
only the keys that were given. What a dataclass refuses is one more validation error at its part, so that pydantic
gathers the faults of every part at once.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, WrapValidator
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from onlyvips_release import targets
from onlyvips_release.core import keys
from onlyvips_release.core.keys import Checks, Key, Off, Reads, Weighs
from onlyvips_release.core.model import LARGEST_STEP, SMALLEST_STEP
from onlyvips_release.core.plan import GROUPS, JudgePlan, ReleasePlan, Revision, Service, refuse
from onlyvips_release.errors import PlanError, Refused
from onlyvips_release.targets import NOT_BUILT, Target

Loc = tuple[int | str, ...]
"""Where in the file: keys, and list indices that count from 0."""

NO_VALUE = "has no value: give one or leave the key out"
PREFIX = "key_"
"""Before the names of a model's fields: pydantic keeps names such as `json` for itself."""


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


# --- models -------------------------------------------------------------------------------------------------------


class Part(BaseModel):
    """A mapping of the file. `make` makes the value that it describes from the keys that are given."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    make: ClassVar[Callable[[dict[str, Any]], Any]]
    refused: ClassVar[frozenset[str]] = frozenset()
    """Keys that another target takes here."""

    def build(self) -> Any:
        """The value. Raises PlanError with keys that count from this part, or from the root."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return type(self).make({name.removeprefix(PREFIX): value for name, value in given.items()})


class _Contradiction(ValueError):
    """What a dataclass refused, on its way through pydantic."""

    def __init__(self, error: PlanError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Via:
    """In `Annotated[Step, Via(part)]`: the file holds a mapping, the field the value that it describes."""

    part: type[Part]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.value, handler.generate_schema(self.part))

    @staticmethod
    def value(part: Part) -> Any:
        """The part's value; what its dataclass refuses becomes an error that pydantic gathers."""
        try:
            return part.build()
        except PlanError as error:
            raise _Contradiction(error) from None


class _Described(NamedTuple):
    """A field that a plan file may give: its type without the `Key`, and its default or MISSING."""

    name: str
    hint: Any
    key: Key
    default: Any

    @property
    def written(self) -> str:
        """Its name in the file."""
        return self.key.name or self.name


def described(kind: Any) -> Iterator[_Described]:
    """The keys of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        base, *marks = get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else [None]
        for key in marks:
            if isinstance(key, Key):
                others = [mark for mark in marks if mark is not key]
                yield _Described(field.name, annotated(base, *others) if others else base, key, _default(field))


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


@cache
def model_of(rows: tuple[Target, ...]) -> type[Part]:
    """The model of a whole file with the keys of these targets; only one made for a single target validates."""
    return _Maker(rows).plan()


class _Maker:
    """Makes the models for some targets."""

    def __init__(self, rows: tuple[Target, ...]) -> None:
        self.rows, self.row = rows, rows[0]
        self.engines = [row.engine for row in rows if row.engine]
        self.kinds = [part for row in rows for part in row.service]

    def plan(self) -> type[Part]:
        """The whole file: `version`, the plan's own keys, the target's."""
        version = Annotated[int, BeforeValidator(keys.whole), AfterValidator(only_version)]
        found: dict[str, Any] = {"version": (version, _field("version", "Version of the plan's keys: 1."))}
        groups: dict[str, dict[str, Any]] = {}
        for one in described(ReleasePlan):
            place = groups.setdefault(one.key.group, {}) if one.key.group else found
            place[one.name] = self.key(one)
            if one.key.group:
                group = _model(one.key.group.title(), GROUPS[one.key.group], groups[one.key.group], dict)
                found[one.key.group] = _optional(annotated(dict, Via(group)), one.key.group, GROUPS[one.key.group])
        for engine in self.engines:
            needed = len(self.rows) == 1 and any(one.default is MISSING for one in described(engine))
            kind = annotated(engine, Via(self.part(engine)))
            found[engine.kind] = (
                (kind, _field(engine.kind, engine.about)) if needed else _optional(kind, engine.kind, engine.about)
            )
        return _model(ReleasePlan.__name__, ReleasePlan.__doc__, found, self.make_plan)

    def make_plan(self, given: dict[str, Any]) -> ReleasePlan:
        """The plan of a file."""
        del given["version"]
        for group in GROUPS:
            given |= given.pop(group, {})
        if self.row.engine:
            given["engine"] = given.pop(self.row.engine.kind, None) or self.row.engine()
        services = tuple(replace(service, name=name) for name, service in given.pop("services").items())
        defaults = {"listen": self.row.defaults.listen, "judge": JudgePlan(tick=self.row.defaults.tick)}
        return ReleasePlan(**{**defaults, **given, "target": self.row.name, "services": services})

    def make_service(self, given: dict[str, Any]) -> Service:
        """A service whose name comes later: it is the key that the service stands under."""
        chosen = [part for kind in self.kinds if (part := given.pop(kind.kind, None))]
        if len(chosen) != 1:
            refuse(chosen[-1].kind if chosen else "", self.row.several if chosen else self.row.missing)
        return Service(name="unnamed", runs=chosen[0], **given)

    def part(self, kind: Any, *, over: Any = None, without: tuple[str, ...] = ()) -> type[Part]:
        """The model of a dataclass, or of what may be given `over` an instance of it."""
        found, refused = {}, set()
        for one in described(kind):
            if kind is Revision and not any(one.written in row.revision for row in self.rows):
                refused.add(one.written)
            elif one.name not in without:
                found[one.name] = self.key(one if over is None else one._replace(default=getattr(over, one.name)))
        make: Callable[[dict[str, Any]], Any] = lambda given: kind(**given)  # noqa: E731
        if kind is Service:
            make = self.make_service
            found |= {part.kind: self.service_part(part) for part in self.kinds}
        elif kind is JudgePlan:
            make = lambda given: kind(**{"tick": self.row.defaults.tick, **given})  # noqa: E731
        elif over is not None:
            make = lambda given: replace(over, **given)  # noqa: E731
        model = _model(kind.__name__ + "Over" * (over is not None and not without), kind.__doc__, found, make)
        model.refused = frozenset(refused)
        return model

    def service_part(self, kind: Any) -> Any:
        """A target's key of a service; `true` stands for a part that has no keys of its own."""
        if any(described(kind)):
            return _optional(annotated(kind, Via(self.part(kind))), kind.kind, kind.about)
        to_part = AfterValidator(lambda given: kind() if given else None)
        return _optional(Annotated[bool, BeforeValidator(keys.flag), to_part], kind.kind, kind.about)

    def key(self, one: _Described) -> Any:
        """One key: its type in the file, and what pydantic must know of it."""
        if one.key.by:
            each = get_args(one.hint)[0]
            name = get_type_hints(each, include_extras=True)[one.key.by]
            return self.file_type(Mapping[name, each]), _field(one.written, one.key.text)  # type: ignore[valid-type]
        if one.name == "target":
            shown = {"enum": [row.name for row in self.rows], "default": self.row.name}
            kind = annotated(self.file_type(one.hint), AfterValidator(known_target))
            return _optional(kind, one.written, one.key.text, shown)
        part = one.key.over and annotated(one.hint, Via(self.part(one.hint, over=one.default, without=one.key.without)))
        kind = part or self.file_type(one.hint)
        if one.default is MISSING:
            return kind, _field(one.written, one.key.text)
        return _optional(kind, one.written, one.key.text, self.shown_default(one))

    def shown_default(self, one: _Described) -> dict[str, Any]:
        """The default as a file would give it; nothing where there is none, or where it depends on other keys."""
        unread = _marks(one.hint) and not one.default and Checks(keys.longer_than_nothing) in _marks(one.hint)
        match {"tick": self.row.defaults.tick, "listen": self.row.defaults.listen}.get(one.name, one.default):
            case (str() as host, int() as port):
                return {"default": f"{host}:{port}"}
            case timedelta() as time if not unread:
                return {"default": keys.duration_text(time)}
            case Enum() as value:
                return {"default": value.value}
            case bool() | int() | float() as value:
                return {"default": value}
            case _:
                return {}

    def file_type(self, hint: Any) -> Any:
        """The type of a field as pydantic shall read it from a file."""
        match get_origin(hint), get_args(hint):
            case (origin, (base, *marks)) if origin is Annotated:
                reads = any(isinstance(mark, Reads | Weighs) for mark in marks)
                kind = base if reads else self.file_type(base)
                return annotated(kind, *(found for mark in marks for found in self.validators(mark, kind)))
            case (origin, options) if origin in (Union, types.UnionType):
                return self.file_type(next(option for option in options if option is not type(None)))
            case (origin, (item, end)) if origin is tuple and end is Ellipsis:
                return tuple[self.file_type(item), ...]  # type: ignore[misc]
            case (origin, (key, item)) if isinstance(origin, type) and issubclass(origin, Mapping):
                return dict[self.file_type(key), self.file_type(item)]  # type: ignore[misc]
            case _:
                return annotated(hint, Via(self.part(hint))) if is_dataclass(hint) else hint

    def validators(self, mark: object, kind: Any) -> Iterator[Any]:
        """What pydantic calls where a field has this mark."""
        match mark:
            case Reads(function, written):
                yield BeforeValidator(function, json_schema_input_type=written)
            case Weighs():
                tenths = any(row.tenths for row in self.rows)
                low, high, number = (SMALLEST_STEP, LARGEST_STEP, float) if tenths else (1, 99, int)
                written = annotated(number, pydantic.Field(ge=low, le=high))
                read = partial(keys.weight, tenths=tenths, target=self.row.name)
                yield BeforeValidator(read, json_schema_input_type=written)
            case Checks(function):
                yield AfterValidator(function)
            case Off():
                yield WrapValidator(
                    lambda value, go: None if value == "off" else go(value),
                    json_schema_input_type=Union[kind, Literal["off"]],  # noqa: UP007 - `kind` is a variable
                )
            case _:
                raise TypeError(f"{mark!r} means nothing at a key")


def annotated(kind: Any, *marks: Any) -> Any:
    """`Annotated[kind, *marks]` for a type that is only known when this runs."""
    return Annotated[kind, *marks] if marks else kind


def _marks(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _model(name: str, text: str | None, found: dict[str, Any], make: Callable[[dict[str, Any]], Any]) -> type[Part]:
    model: type[Part] = pydantic.create_model(
        name, __base__=Part, __doc__=text, **{f"{PREFIX}{name}": field for name, field in found.items()}
    )
    model.make = staticmethod(make)
    return model


def _field(name: str, text: str, shown: dict[str, Any] | None = None, **options: Any) -> Any:
    return pydantic.Field(alias=name, description=text, json_schema_extra=shown, **options)


def _optional(kind: Any, name: str, text: str, shown: dict[str, Any] | None = None) -> Any:
    """A key that may be left out. Only some readers take null for `off`; no other key may stand there without value."""
    reads = any(isinstance(mark, BeforeValidator) for mark in _marks(kind))
    allowed = kind if reads else annotated(kind, BeforeValidator(with_value))
    return allowed, _field(name, text, shown, default_factory=lambda: None)


def with_value(value: object) -> object:
    """A key that may be left out must not stand there empty: more often than not its lines were lost."""
    if value is None:
        raise ValueError(NO_VALUE)
    return value


def only_version(version: int) -> int:
    """The version of the plan's keys, not of anything that is released."""
    if version != 1:
        raise ValueError("Input should be 1, the only version of plans so far")
    return version


def known_target(name: str) -> str:
    """Refused here: a plan for a target that is not installed has more unknown keys, and this is their reason."""
    try:
        return targets.find(name).name
    except Refused as error:
        raise ValueError(str(error)) from None


# --- faults -------------------------------------------------------------------------------------------------------


def _faults(model: type[Part], error: ErrorDetails) -> list[Fault]:
    """What pydantic says, in the reader's words."""
    loc = tuple(part for part in error["loc"] if part != "[key]")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, _Contradiction):
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
