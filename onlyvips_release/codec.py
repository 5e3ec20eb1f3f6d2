"""Frozen dataclasses to JSON and back, by their type hints: lossless, for the journal.

A part of a target is written with its `kind`, by which the registry of targets finds its class again.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from onlyvips_release import targets
from onlyvips_release.core.plan import PlatformPart, Service, ServicePart

PLAIN = frozenset({int, float, str, bool, type(None)})


def encode(value: Any) -> Any:
    """Dataclasses become objects, timedeltas seconds, enums their values, tuples lists."""
    if type(value) in PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if isinstance(value, ServicePart | PlatformPart) else {}
        return kind | {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.value if isinstance(value, Enum) else value


@cache
def hints(kind: type) -> dict[str, Any]:
    """The fields of a dataclass, and their types."""
    found = get_type_hints(kind)
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}


def decode(kind: Any, data: Any) -> Any:
    """The value of type `kind` that `encode` made this of. Unknown fields are left out, missing ones take defaults."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = [option for option in get_args(kind) if option is not type(None)]
        if len(inner) > 1 and any(map(dataclasses.is_dataclass, inner)):
            raise TypeError(f"{kind} does not say which class a record was: use one class, or parts with a kind")
        return None if data is None else decode(inner[0], data)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind is Service and "runs" not in data:
            data = {**data, "runs": targets.old_part(data)}
        known = hints(kind)
        return kind(**{name: decode(known[name], item) for name, item in data.items() if name in known})
    if kind in (ServicePart, PlatformPart):
        return decode(targets.part(data["kind"]), data)
    if kind is timedelta:
        return timedelta(seconds=data)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if origin is tuple:
        first, *rest = get_args(kind)
        options = [first] * len(data) if rest == [Ellipsis] else [first, *rest]
        return tuple(decode(option, item) for option, item in zip(options, data, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        key, item = get_args(kind)
        return {decode(key, name): decode(item, entry) for name, entry in data.items()}
    return data
