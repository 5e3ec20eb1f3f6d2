"""Makes a plan of the tree of a plan file by pydantic, or says of each fault where it is and what is wrong.

The models are made from the fields of the plan's own dataclasses: each key, its type, its text and its default stand at
a field with a `Key` (in `core.plan` and in the parts of the targets). Only `planfile` and the schema import this, late:
pydantic is slow to import.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import AfterValidator, BeforeValidator, WrapValidator
from pydantic_core import ErrorDetails

from onlyvips_release import targets
from onlyvips_release.core import keys
from onlyvips_release.core.keys import Checks, Key, Off, Reads, Weighs
from onlyvips_release.core.model import LARGEST_STEP, SMALLEST_STEP
from onlyvips_release.core.plan import GROUPS, JudgePlan, ReleasePlan, Revision, Service, refuse
from onlyvips_release.errors import PlanError, Refused, shortened
from onlyvips_release.targets import NOT_BUILT, Target

NO_VALUE = "has no value: give one or leave the key out"
PREFIX = "key_"
"""Before the names of a model's fields: pydantic keeps names such as `json` for itself."""

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
    model: Any = model_of((_target(tree),))
    try:
        plan: ReleasePlan = model.model_validate(tree)
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
        return f'put it in quotes: "{{{shortened(next(iter(value)))}}}"'
    if isinstance(value, dict | list):
        return "is not text"
    return f"is not text: put it in quotes ({shortened(str(value))!r})"


def _unknown(model: type[Part], loc: Loc) -> str:
    name, part = str(loc[-1]), _part_at(model, loc[:-1])
    if name in NOT_BUILT or (part and name in part.refused):
        return f"{name!r} is not built yet: remove it"
    options = [str(field.alias) for field in part.model_fields.values()] if part else []
    near = get_close_matches(shortened(name), options, n=1)
    return f"unknown key {shortened(name)!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _part_at(kind: Any, loc: Loc) -> type[Part] | None:
    """The model that stands at `loc` below the type `kind`."""
    if isinstance(kind, type) and issubclass(kind, Part):
        below = {field.alias: field.annotation for field in kind.model_fields.values()}
        return _part_at(below.get(str(loc[0])), loc[1:]) if loc else kind
    inner = loc[1:] if get_origin(kind) in (dict, tuple) else loc
    return next((part for option in get_args(kind) if (part := _part_at(option, inner))), None)


def _resolve(loc: Loc, key: str) -> Loc:
    """The place of a key that a dataclass refused, which counts either from the part at `loc` or from the root."""
    words = tuple(key.split(".")) if key else ()
    if loc and words[:1] == loc[:1]:
        return loc if loc[: len(words)] == words else words
    return (*loc, *words)


# --- models -------------------------------------------------------------------------------------------------------


class Contradiction(ValueError):
    """What a dataclass refused, on its way through pydantic, which gathers the faults of every part at once."""

    def __init__(self, error: PlanError) -> None:
        super().__init__(str(error))
        self.error = error


class Part(pydantic.BaseModel):
    """A mapping of the file. It validates to the value that `make` makes of the keys that are given.

    `refused`: keys that another target takes here.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    make: ClassVar[Callable[..., Any]]
    refused: ClassVar[frozenset[str]] = frozenset()

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def to_value(cls, tree: object, validated: pydantic.ModelWrapValidatorHandler[Any]) -> Any:
        """The value; what its dataclass refuses becomes one more validation error here."""
        part = validated(tree)
        given = {name.removeprefix(PREFIX): value for name, value in part if name in part.model_fields_set}
        try:
            return cls.make(**given)
        except PlanError as error:
            raise Contradiction(error) from None


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


def described(kind: Any, over: Any = None) -> Iterator[_Described]:
    """The keys of a dataclass; the defaults are those of the instance `over`, if there is one."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        base, *marks = get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else [None]
        for key in (mark for mark in marks if isinstance(mark, Key)):
            default = field.default if field.default_factory is MISSING else field.default_factory()
            default = default if over is None else getattr(over, field.name)
            yield _Described(field.name, annotated(base, *(m for m in marks if m is not key)), key, default)


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
        found = {"version": _entry(version, "version", "Version of the plan's keys: 1.", optional=False)}
        groups: dict[str, dict[str, Any]] = {}
        for one in described(ReleasePlan):
            group = one.key.group
            place = groups.setdefault(group, {}) if group else found
            place[one.name] = self.key(one)
            if group:
                found[group] = _entry(_model(group.title(), GROUPS[group], place, dict), group, GROUPS[group])
        for engine in self.engines:
            found[engine.kind] = _entry(self.part(engine), engine.kind, engine.about)
        return _model(ReleasePlan.__name__, ReleasePlan.__doc__, found, self.make_plan)

    def make_plan(self, version: int, services: Mapping[str, Service], **given: Any) -> ReleasePlan:
        """The plan of a file."""
        for group in GROUPS:
            given |= given.pop(group, {})
        if self.row.engine:
            given["engine"] = given.pop(self.row.engine.kind, None) or self.row.engine()
        named = tuple(replace(service, name=name) for name, service in services.items())
        defaults = {"listen": self.row.defaults.listen, "judge": JudgePlan(tick=self.row.defaults.tick)}
        return ReleasePlan(**{**defaults, **given, "target": self.row.name, "services": named})

    def make_service(self, **given: Any) -> Service:
        """A service whose name comes later: it is the key that the service stands under."""
        chosen = [part for kind in self.kinds if (part := given.pop(kind.kind, None))]
        if len(chosen) != 1:
            refuse(chosen[-1].kind if chosen else "", self.row.several if chosen else self.row.missing)
        return Service(name="unnamed", runs=chosen[0], **given)

    def part(self, kind: Any, over: Any = None, without: tuple[str, ...] = ()) -> type[Part]:
        """The model of a dataclass, or of what may be given `over` an instance of it."""
        found, refused = {}, set()
        for one in described(kind, over):
            if kind is Revision and not any(one.written in row.revision for row in self.rows):
                refused.add(one.written)
            elif one.name not in without:
                found[one.name] = self.key(one)
        make: Callable[..., Any] = partial(replace, over) if over else kind
        if kind is Service:
            make = self.make_service
            found |= {part.kind: self.service_part(part) for part in self.kinds}
        elif kind is JudgePlan:
            make = partial(kind, tick=self.row.defaults.tick)
        model = _model(kind.__name__ + "Over" * (over is not None and not without), kind.__doc__, found, make)
        model.refused = frozenset(refused)
        return model

    def service_part(self, kind: Any) -> Any:
        """A target's key of a service; `true` stands for a part that has no keys of its own."""
        if any(described(kind)):
            return _entry(self.part(kind), kind.kind, kind.about)
        to_part = AfterValidator(lambda given: kind() if given else None)
        return _entry(Annotated[bool, BeforeValidator(keys.flag), to_part], kind.kind, kind.about)

    def key(self, one: _Described) -> Any:
        """One key: its type in the file, and what pydantic must know of it."""
        shown = None
        if one.key.by:
            each = get_args(one.hint)[0]
            name = get_type_hints(each, include_extras=True)[one.key.by]
            kind = self.file_type(Mapping[name, each])  # type: ignore[valid-type]
        elif one.key.without is not None:
            kind = self.part(one.hint, one.default, one.key.without)
        else:
            kind = self.file_type(one.hint)
        if one.name == "target":
            kind, shown = annotated(kind, AfterValidator(known_target)), {"enum": [row.name for row in self.rows]}
        return _entry(kind, one.written, one.key.text, shown, optional=one.default is not MISSING)

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
                return self.part(hint) if is_dataclass(hint) else hint

    def validators(self, mark: object, kind: Any) -> Iterator[Any]:
        """What pydantic calls where a field has this mark."""
        match mark:
            case Reads(function, written):
                yield BeforeValidator(function, json_schema_input_type=written)
            case Weighs():
                tenths = any(part.tenths for part in self.kinds)
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


def _model(name: str, text: str | None, found: dict[str, Any], make: Callable[..., Any]) -> type[Part]:
    model: type[Part] = pydantic.create_model(
        name, __base__=Part, __doc__=text, **{f"{PREFIX}{name}": field for name, field in found.items()}
    )
    model.make = staticmethod(make)
    return model


def _entry(kind: Any, name: str, text: str, shown: dict[str, Any] | None = None, *, optional: bool = True) -> Any:
    """A key of a model: its type and its field. Only some readers take null for `off`; no other key that may be left
    out may stand there without value."""
    options: dict[str, Any] = {"alias": name, "description": text, "json_schema_extra": shown}
    if optional:
        options["default_factory"] = lambda: None
        if not any(isinstance(mark, BeforeValidator) for mark in getattr(kind, "__metadata__", ())):
            kind = annotated(kind, BeforeValidator(with_value))
    return kind, pydantic.Field(**options)


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
