"""Frozen dataclasses to JSON and back, by their type hints: lossless, for the journal. Standard library only."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

hints = cache(get_type_hints)
PLAIN = frozenset({int, float, str, bool, type(None)})


def encode(value: Any) -> Any:
    """Dataclasses become objects, timedeltas seconds, enums their values, tuples lists."""
    if type(value) in PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case Enum():
            return value.value
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {str(key): encode(item) for key, item in value.items()}
        case list() | tuple():
            return [encode(item) for item in value]
        case _:
            return value


def decode(kind: Any, data: Any) -> Any:
    """The value of type `kind` that `encode` made this of. Unknown fields are left out, missing ones take defaults."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = [option for option in get_args(kind) if option is not type(None)]
        return None if data is None else decode(inner[0], data)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        known = hints(kind)
        return kind(**{name: decode(known[name], item) for name, item in data.items() if name in known})
    if kind is timedelta:
        return timedelta(seconds=data)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if origin is tuple:
        options = get_args(kind)
        if len(options) == 2 and options[1] is Ellipsis:
            return tuple(decode(options[0], item) for item in data)
        return tuple(decode(option, item) for option, item in zip(options, data, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        key, item = get_args(kind)
        return {decode(key, name): decode(item, entry) for name, entry in data.items()}
    return data
