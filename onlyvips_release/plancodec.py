"""The plan as JSON, and back: what the journal stores, so that a replay needs neither the file nor its libraries.

Generic over type hints: dataclasses, enums, timedelta (seconds), tuples (lists), mappings, optional values. Secrets
cannot get in: a plan holds only the names of environment variables to take them from (`Process.env_from`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, cast, get_args, get_origin, get_type_hints

from onlyvips_release.errors import JournalError, PlanError
from onlyvips_release.plan import ReleasePlan


def dump(plan: ReleasePlan) -> dict[str, Any]:
    """The plan as JSON values, every default written out: a later version's other defaults must not change it."""
    return cast(dict[str, Any], encode(plan))


def from_dict(raw: Mapping[str, Any]) -> ReleasePlan:
    """The plan that `dump` wrote. JournalError when it is not one that this version accepts."""
    try:
        return cast(ReleasePlan, decode(ReleasePlan, raw))
    except (AttributeError, KeyError, OverflowError, PlanError, TypeError, ValueError) as error:
        raise JournalError(
            f"the recorded plan cannot be read: {type(error).__name__}: {error}",
            remedy="use the version of onlyvips-release that began this release",
        ) from error


def encode(value: object) -> Any:
    """One value of a plan as JSON values."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return value.total_seconds() if value.microseconds else value.days * 86400 + value.seconds
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value


def decode(hint: Any, raw: Any) -> object:
    """The value of type `hint` that `encode` turned into `raw`; keys that are absent take the type's defaults."""
    kinds = get_args(hint)
    if type(None) in kinds:
        return None if raw is None else decode(next(kind for kind in kinds if kind is not type(None)), raw)
    if is_dataclass(hint):
        return _decode_fields(cast(type, hint), raw)
    if hint is timedelta:
        return timedelta(seconds=raw)
    if get_origin(hint) is tuple:
        each = [kinds[0]] * len(raw) if kinds[-1] is Ellipsis else kinds
        return tuple(decode(kind, item) for kind, item in zip(each, _typed(list, raw), strict=True))
    if get_origin(hint) is not None:
        return {key: decode(kinds[1], item) for key, item in _typed(dict, raw).items()}
    return hint(raw) if issubclass(hint, Enum) else _typed((int, float) if hint is float else hint, raw)


def _decode_fields(kind: type, raw: Any) -> object:
    hints = get_type_hints(kind)
    if unknown := set(raw) - set(hints):
        raise TypeError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**{key: decode(hints[key], item) for key, item in raw.items()})


def _typed(kind: Any, raw: Any) -> Any:
    if not isinstance(raw, kind):
        raise TypeError(f"{kind} was expected, not {type(raw).__name__}")
    return raw
