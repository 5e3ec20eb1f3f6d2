"""What a plan file may say: one pydantic model per part, each of which builds its value of `plan.py`.

Only `planfile` imports this module, and late, because pydantic is slow to import. Defaults stay in `plan.py`: a part
hands on only the keys that were given. What `plan.py` refuses is one more validation error at that part, so that
pydantic gathers the faults of every part at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from onlyvips_release.core import plan
from onlyvips_release.errors import PlanError

Loc = tuple[int | str, ...]
"""Where in the file: keys, and list indices that count from 0."""

NOT_BUILT = frozenset({
    "launch", "notify", "docker", "kubernetes", "image", "compose", "deployment", "network",
})  # fmt: skip
NO_VALUE = "has no value: give one or leave the key out"
LONGEST = timedelta(days=31)
PER_TRY = timedelta(seconds=7)
T = TypeVar("T")


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


def read(tree: object) -> plan.ReleasePlan:
    """The plan of `tree` (dicts, lists, text, numbers, booleans, None), or Faults."""
    try:
        return PlanPart.model_validate(tree).build()
    except PlanError as error:
        raise Faults([Fault(_resolve((), p.key), p.message) for p in error.problems]) from None
    except ValidationError as error:
        raise Faults([f for e in error.errors(include_url=False) for f in _faults(e)]) from None


# --- values -------------------------------------------------------------------------------------------------------


def matching(pattern: str, advice: str) -> AfterValidator:
    """Text that must match `pattern` as a whole. The advice never repeats the value: it might be a secret."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(advice)
        return text

    return AfterValidator(check)


def duration(value: object) -> timedelta:
    """`250ms`, `30s`, `5m`, `1h30m`. A bare number is refused: seconds or minutes would be a guess."""
    pattern = r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
    match = re.fullmatch(pattern, value) if isinstance(value, str) and value else None
    if not match:
        raise ValueError("give a duration such as 30s, 5m or 1h30m")
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    total = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    if total > LONGEST:
        raise ValueError(f"is longer than {LONGEST.days} days")
    return total


def longer_than_nothing(value: timedelta) -> timedelta:
    """Waiting times of zero would fail everything at once."""
    if not value:
        raise ValueError("must be longer than nothing")
    return value


def whole(value: object) -> int:
    """A whole number, in digits only: pydantic alone would also take `true`, `1_0` and `2.0`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    raise ValueError("give a whole number")


def number(value: object) -> float:
    """A finite number in plain or exponent notation; never a boolean, never `1_0`."""
    text = str(value) if isinstance(value, str | int | float) else ""
    if re.fullmatch(r"-?(?:[0-9]{1,18}\.?[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?", text):
        return float(text)
    if text.lower().strip("+-.") in ("nan", "inf", "infinity"):
        raise ValueError("Input should be a finite number")
    raise ValueError("give a number such as 0.05")


def share_or_off(value: object) -> float | None:
    """A share, or `off` (also null): a guard that is not wanted."""
    return None if value is None or value == "off" else number(value)


def zero_or_number(value: object) -> float:
    """A number; `off` is 0."""
    return 0.0 if value == "off" else number(value)


def duration_or_off(value: object) -> timedelta | None:
    """A duration, or `off` (also null)."""
    return None if value is None or value == "off" else duration(value)


def size(value: object) -> float:
    """Bytes: a number, or one with kB, MB, GB."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(kB|MB|GB)", value) if isinstance(value, str) else None
    if match:
        return float(match[1]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[match[2]]
    try:
        return number(value)
    except ValueError:
        raise ValueError("give a size such as 512MB") from None


def address(value: object) -> tuple[str, int]:
    """`IPv4:PORT`. `localhost` becomes 127.0.0.1, so that nobody listens where a resolver happens to point."""
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        return str(IPv4Address(host)), in_range(whole(port))
    except (AddressValueError, ValueError):
        raise ValueError('give an IPv4 address and a port, such as "127.0.0.1:18000"') from None


def in_range(port: int) -> int:
    """A TCP port."""
    if not 0 < port < 65536:
        raise ValueError(f"{port} is not a port in 1..65535")
    return port


def upstream(url: str) -> str:
    """`http://HOST[:PORT]`: where requests go; their path stays the users' own."""
    match = re.fullmatch(r"http://[A-Za-z0-9._-]+(?::([0-9]{1,5}))?", url)
    if not match:
        raise ValueError("give http://HOST:PORT, without path, user or password")
    in_range(int(match[1] or 80))
    return url


def only_version(version: int) -> int:
    """The version of the plan's keys, not of anything that is released."""
    if version != 1:
        raise ValueError("Input should be 1, the only version of plans so far")
    return version


def built_target(target: str) -> str:
    """Told here already: a plan for another target has more unknown keys, and this is their reason."""
    if target != "embedded":
        raise ValueError(f"{target!r} is not built yet: use embedded")
    return target


def given(value: object) -> object:
    """A key that may be left out must not stand there empty: more often than not its lines were lost."""
    if value is None:
        raise ValueError(NO_VALUE)
    return value


TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
Opt = Annotated[T | None, BeforeValidator(given)]
Word = Annotated[str, matching(r"[^\0]*", "must not contain a zero byte")]
Text = Annotated[str, matching(r"[^\0-\x1f\x7f]*[^\0-\x20\x7f][^\0-\x1f\x7f]*", "give text on one line, not empty")]
Name = Annotated[str, matching(LABEL, "use lower-case letters, digits and '-' between them, at most 40 characters")]
RevisionName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}", "use letters, digits and . _ : @ + -, at most 128 characters")
]
Variable = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "give the name of an environment variable, no value")]
Host = Annotated[
    str, matching(r"[a-z0-9._:-]+(?:\.\*)?|\*\.[a-z0-9._:-]+", "give a lower-case name, `name.*` or `*.name`")
]
Header = Annotated[str, matching(TOKEN, "give the name of a header")]
Sticky = Annotated[str, matching(rf"(?:header|cookie):{TOKEN}|client", "give header:NAME, cookie:NAME or client")]
UrlPath = Annotated[str, matching(r"/[!-~]*", "give a path that begins with /")]
Call = Annotated[
    str, matching(plan.CALL.pattern, "give METHOD /path without query; a whole segment may be * or {name}")
]
Upstream = Annotated[str, AfterValidator(upstream)]
Duration = Annotated[timedelta, BeforeValidator(duration, json_schema_input_type=str)]
Span = Annotated[Duration, AfterValidator(longer_than_nothing)]
Whole = Annotated[int, BeforeValidator(whole)]
Port = Annotated[Whole, AfterValidator(in_range)]
Number = Annotated[float, BeforeValidator(number)]
NumberOrOff = Annotated[float | None, BeforeValidator(share_or_off)]
Flag = Annotated[bool, Field(strict=True)]


# --- parts --------------------------------------------------------------------------------------------------------


class Part(BaseModel):
    """A mapping of the file. `build` makes the value of plan.py that it describes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    makes: ClassVar[Callable[..., Any]]

    def given(self) -> dict[str, Any]:
        """The keys that stand in the file, with their values."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    def build(self) -> Any:
        """The value of plan.py. Raises PlanError with keys that count from this part, or from the root."""
        return type(self).makes(**self.given())


class _Contradiction(ValueError):
    """What plan.py refused, on its way through pydantic."""

    def __init__(self, error: PlanError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Via:
    """In `Annotated[Step, Via(StepPart)]`: the file holds a StepPart, the field its Step."""

    part: type[Part]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.value, handler.generate_schema(self.part))

    @staticmethod
    def value(part: Part) -> Any:
        """The part's value; what plan.py refuses becomes an error that pydantic gathers."""
        try:
            return part.build()
        except PlanError as error:
            raise _Contradiction(error) from None


class OrOff(Via):
    """The same, or `off`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = super().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_wrap_validator_function(
            lambda value, go: None if value == "off" else go(value), inner
        )


class StepPart(Part):
    """One weight and its bake."""

    makes: ClassVar[Callable[..., Any]] = plan.Step
    weight: Annotated[Whole, Field(ge=1, le=99)]
    bake: Duration
    approve: Opt[Flag] = None


class HealthPart(Part):
    """When an instance is ready."""

    makes: ClassVar[Callable[..., Any]] = plan.Health
    path: UrlPath
    within: Opt[Span] = None


class IdentityPart(Part):
    """Where the app states its revision. The service builds it: plan.py counts the key from there."""

    header: Opt[Header] = None
    json_path: Opt[Text] = Field(default=None, alias="json")

    def build(self) -> plan.Identity:
        return plan.Identity(header=self.header or "", json=self.json_path or "")


class ProcessPart(Part):
    """How processes are kept."""

    makes: ClassVar[Callable[..., Any]] = plan.Process
    ports: Opt[tuple[Port, ...]] = None
    drain: Opt[Duration] = None
    env_from: Opt[tuple[Variable, ...]] = None
    cwd: Opt[Text] = None


class RevisionPart(Part):
    """What runs on one arm. The service builds it: whether `env` was given decides on the canary's."""

    revision: RevisionName
    command: Opt[tuple[Word, ...]] = None
    env: Opt[dict[Variable, Word]] = None
    url: Opt[Upstream] = None

    def build(self) -> plan.Revision:
        options = self.given()
        return plan.Revision(options.pop("revision"), **options)


class ServicePart(Part):
    """One service. Its name is the key that it stands under, so the plan gives it last."""

    host: Opt[Host] = None
    timeout: Opt[Span] = None
    per_try_timeout: Opt[Span] = None
    health: Opt[Annotated[plan.Health, Via(HealthPart)]] = None
    identity: Opt[IdentityPart] = None
    process: Opt[Annotated[plan.Process, Via(ProcessPart)]] = None
    business: Opt[tuple[Call, ...]] = None
    external: Opt[Flag] = None
    routed: Opt[Flag] = None
    traffic: Opt[Number] = None
    stable: Opt[RevisionPart] = None
    canary: RevisionPart

    def build(self) -> plan.Service:
        if self.external and self.process:
            plan.refuse("external", "a service is external or has a process, not both")
        if not self.external and not self.process:
            plan.refuse("", "give it a process, or external: true")
        options = self.given()
        options.pop("external", None)
        options |= {key: part.build() for key, part in options.items() if isinstance(part, Part)}
        if self.stable and self.canary.env is None:
            options["canary"] = replace(options["canary"], env=options["stable"].env)
        if self.timeout and not self.per_try_timeout:
            options["per_try_timeout"] = min(PER_TRY, self.timeout / 2)
        return plan.Service(name="unnamed", **options)


class LinePart(Part):
    """A line of judge.errors."""

    makes: ClassVar[Callable[..., Any]] = plan.Line
    factor: Number
    plus: Number


class ErrorsPart(Part):
    """The two lines."""

    makes: ClassVar[Callable[..., Any]] = plan.ErrorLimits
    tolerated: Opt[Annotated[plan.Line, Via(LinePart)]] = None
    never_accept: Opt[Annotated[plan.Line, Via(LinePart)]] = None


class SloPart(Part):
    """Absolute guards."""

    makes: ClassVar[Callable[..., Any]] = plan.SloLimits
    errors: NumberOrOff = None
    slower_than: Annotated[timedelta | None, BeforeValidator(duration_or_off)] = None
    share: Opt[Number] = None


class GaugePart(Part):
    """Limits of CPU or memory. Only what is given replaces the default."""

    default: ClassVar[plan.GaugeLimits]
    more: Opt[Number] = None
    most: Opt[Number] = None

    def build(self) -> plan.GaugeLimits:
        return replace(self.default, **self.given())


class CpuPart(GaugePart):
    """`most` in cores."""

    default = plan.CPU


class MemoryPart(GaugePart):
    """`most` in bytes."""

    default = plan.MEMORY
    most: Opt[Annotated[float, BeforeValidator(size)]] = None


class JudgePart(Part):
    """Limits of the judge."""

    makes: ClassVar[Callable[..., Any]] = plan.JudgePlan
    alpha: Opt[Number] = None
    beta: Opt[Number] = None
    tick: Opt[Duration] = None
    errors: Opt[Annotated[plan.ErrorLimits, Via(ErrorsPart)]] = None
    slo: Opt[Annotated[plan.SloLimits, Via(SloPart)]] = None
    slower: Annotated[float | None, BeforeValidator(zero_or_number)] = None
    volume: NumberOrOff = None
    traffic_share: NumberOrOff = None
    cpu: Annotated[plan.GaugeLimits | None, OrOff(CpuPart)] = None
    memory: Annotated[plan.GaugeLimits | None, OrOff(MemoryPart)] = None
    block: Opt[Span] = None
    warm_up: Opt[Duration] = None


class SmokePart(Part):
    """smoke_tests as a gate."""

    path: Opt[Text] = None
    deadline: Opt[Span] = None
    min_passed: Opt[Whole] = None
    required: Opt[tuple[Text, ...]] = None
    gate: Opt[Text] = None
    deselect: Opt[Flag] = None

    def build(self) -> plan.Suite:
        return replace(plan.SMOKE, **self.given())


class CanaryPart(SmokePart):
    """canary_checks as a gate, run again and again while traffic is split."""

    every: Opt[Span] = None

    def build(self) -> plan.Suite:
        return replace(plan.CANARY, **self.given())


class ChecksPart(Part):
    """Both suites."""

    smoke: Opt[Annotated[plan.Suite, Via(SmokePart)]] = None
    canary: Opt[Annotated[plan.Suite, Via(CanaryPart)]] = None


class RouterPart(Part):
    """Where users come in, and what keeps a user on one arm."""

    listen: Annotated[Opt[tuple[str, int]], BeforeValidator(address)] = None
    sticky: Opt[tuple[Sticky, ...]] = None


class PlanPart(Part):
    """The whole file."""

    version: Annotated[Whole, AfterValidator(only_version)]
    platform: Name
    target: Opt[Annotated[Literal["embedded", "docker", "kubernetes"], AfterValidator(built_target)]] = None
    router: Opt[RouterPart] = None
    services: dict[Name, Annotated[plan.Service, Via(ServicePart)]]
    steps: Opt[tuple[Annotated[plan.Step, Via(StepPart)], ...]] = None
    patience: Opt[Duration] = None
    on_inconclusive: Opt[plan.OnInconclusive] = None
    accept: Opt[plan.Accept] = None
    watch: Opt[Duration] = None
    lease: Opt[Duration] = None
    checks: Opt[ChecksPart] = None
    judge: Opt[Annotated[plan.JudgePlan, Via(JudgePart)]] = None

    def build(self) -> plan.ReleasePlan:
        options = self.given()
        options.pop("version")
        for part in (options.pop("router", None), options.pop("checks", None)):
            options |= part.given() if part else {}
        options["services"] = tuple(replace(service, name=name) for name, service in self.services.items())
        return plan.ReleasePlan(**options)


# --- faults -------------------------------------------------------------------------------------------------------


def _faults(error: ErrorDetails) -> list[Fault]:
    """What pydantic says, in the reader's words."""
    loc = tuple(part for part in error["loc"] if part != "[key]")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, _Contradiction):
        return [Fault(_resolve(loc, problem.key), problem.message) for problem in cause.error.problems]
    if error["type"] == "extra_forbidden":
        return [Fault(loc, _unknown(loc), at_key=True)]
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
        case "bool_type":
            return "give true or false"
        case _:
            return error["msg"]


def _no_text(value: object) -> str:
    """Numbers come from TOML only; `{port}` without quotes is a mapping in YAML."""
    if isinstance(value, dict) and len(value) == 1 and list(value.values()) == [None]:
        return f'put it in quotes: "{{{_short(next(iter(value)))}}}"'
    if isinstance(value, dict | list):
        return "is not text"
    return f"is not text: put it in quotes ({_short(str(value))!r})"


def _unknown(loc: Loc) -> str:
    name = str(loc[-1])
    if name in NOT_BUILT:
        return f"{name!r} is not built yet: remove it"
    near = get_close_matches(_short(name), _keys_at(PlanPart, loc[:-1]), n=1)
    return f"unknown key {_short(name)!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _keys_at(kind: Any, loc: Loc) -> tuple[str, ...]:
    """The keys of the part that stands at `loc` below the type `kind`."""
    if isinstance(kind, Via):
        return _keys_at(kind.part, loc)
    if isinstance(kind, type) and issubclass(kind, Part):
        parts = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        if not loc:
            return tuple(parts)
        return _keys_at(parts.get(str(loc[0])), loc[1:])
    below = loc[1:] if get_origin(kind) in (dict, tuple) else loc
    return next((keys for arg in get_args(kind) if (keys := _keys_at(arg, below))), ())


def _resolve(loc: Loc, key: str) -> Loc:
    """The place of a key of plan.py, which counts either from the part at `loc` or from the root."""
    words = tuple(key.split(".")) if key else ()
    if loc and words[:1] == loc[:1]:
        return loc if loc[: len(words)] == words else words
    return (*loc, *words)
