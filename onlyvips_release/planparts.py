"""The models by which pydantic reads a plan file, made from the fields of the plan's own dataclasses.

Each key, its type, its text and its default stand at a field with a `Key` (in `core.plan` and in the parts of the
targets). A model hands on only the keys that were given. What a dataclass refuses is one more validation error at its
part, so that pydantic gathers the faults of every part at once.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, WrapValidator
from pydantic_core import CoreSchema, core_schema

from onlyvips_release import targets
from onlyvips_release.core import keys
from onlyvips_release.core.keys import Checks, Key, Off, Reads, Weighs
from onlyvips_release.core.model import LARGEST_STEP, SMALLEST_STEP
from onlyvips_release.core.plan import GROUPS, JudgePlan, ReleasePlan, Revision, Service, refuse
from onlyvips_release.errors import PlanError, Refused
from onlyvips_release.targets import Target

NO_VALUE = "has no value: give one or leave the key out"
PREFIX = "key_"
"""Before the names of a model's fields: pydantic keeps names such as `json` for itself."""


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


class Contradiction(ValueError):
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
            found[engine.kind] = _optional(annotated(engine, Via(self.part(engine))), engine.kind, engine.about)
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
            shown = {"enum": [row.name for row in self.rows]}
            kind = annotated(self.file_type(one.hint), AfterValidator(known_target))
            return _optional(kind, one.written, one.key.text, shown)
        kind = self.file_type(one.hint)
        if one.key.without is not None:
            kind = annotated(one.hint, Via(self.part(one.hint, over=one.default, without=one.key.without)))
        optional = one.default is not MISSING
        return _optional(kind, one.written, one.key.text) if optional else (kind, _field(one.written, one.key.text))

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
    reads = any(isinstance(mark, BeforeValidator) for mark in getattr(kind, "__metadata__", ()))
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
