"""A plan file (YAML or TOML) becomes a `ReleasePlan`; all its faults at once, each with file, line, column and key.

YAML is read without its surprises: only `true`, `false`, null and merge keys have a meaning of their own, everything
else is text until a field asks for a number. pydantic describes the keys; contradictions are refused by `plan.py`.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from onlyvips_release import plan as core
from onlyvips_release.errors import PlanError, Problem

LARGEST = 1_000_000
"""Bytes; a plan is written by people."""

LATER = ("launch", "notify", "docker", "kubernetes", "compose", "deployment", "image")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

T = TypeVar("T")
Key = tuple[str | int, ...]
Positions = dict[Key, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plan came from."""

    path: Path
    text_sha256: str


# --- fields -----------------------------------------------------------------------------------------------------------


def duration(value: object) -> timedelta:
    """`250ms`, `30s`, `5m`, `1h30m`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError("give a duration such as 30s, 5m or 1h30m")
    return timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))


def text(value: object) -> str:
    """TOML knows numbers: 2.10 would become 2.1."""
    if not isinstance(value, str):
        raise ValueError(f"is not text: put it in quotes ({str(value)!r})")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def share(value: object) -> float | None:
    """A share, or `off`."""
    return None if value in (None, "off", False) else float(str(value))


def address(value: object) -> tuple[str, int]:
    """`127.0.0.1:18000`."""
    match = re.fullmatch(r"(localhost|\d+\.\d+\.\d+\.\d+):(\d+)", value if isinstance(value, str) else "")
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError('give an IPv4 address and a port, such as "127.0.0.1:18000"')
    return ("127.0.0.1" if match[1] == "localhost" else match[1], int(match[2]))


Duration = Annotated[timedelta, BeforeValidator(duration, json_schema_input_type=str)]
Text = Annotated[str, BeforeValidator(text, json_schema_input_type=str)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Percent = Annotated[int, Field(ge=1, le=99)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class RouterModel(Model):
    """`router`."""

    listen: Annotated[tuple[str, int], BeforeValidator(address, json_schema_input_type=str)] = ("127.0.0.1", 18000)
    sticky: list[Annotated[Text, Field(pattern=r"^(header:[\w-]+|cookie:\w+|client)$")]] = []


class HealthModel(Model):
    """`health`."""

    path: Annotated[Text, Field(pattern=r"^/")]
    within: Duration = 30 * core.SECOND


class IdentityModel(Model):
    """`identity`."""

    header: Text = ""
    json_path: Annotated[Text, Field(alias="json")] = ""


class ProcessModel(Model):
    """`process`."""

    ports: list[Port] = []
    drain: Duration = 10 * core.SECOND
    env_from: list[Text] = []
    cwd: Text = ""


class RevisionModel(Model):
    """`stable` and `canary`."""

    revision: Annotated[Text, Field(min_length=1)]
    command: list[Text] = []
    env: dict[str, Text] | None = None
    url: Annotated[Text, Field(pattern=r"^(http://[^/]+/?)?$")] = ""


class ServiceModel(Model):
    """One entry of `services`."""

    host: Text = ""
    timeout: Duration = 15 * core.SECOND
    per_try_timeout: Duration | None = None
    health: HealthModel | None = None
    identity: IdentityModel | None = None
    process: ProcessModel | None = None
    external: bool = False
    routed: bool = True
    stable: RevisionModel | None = None
    canary: RevisionModel


class StepModel(Model):
    """One entry of `steps`."""

    weight: Percent
    bake: Duration
    approve: bool = False


class SuiteModel(Model):
    """`checks.smoke` and `checks.canary`; what is left out keeps its default."""

    path: Text | None = None
    deadline: Duration | None = None
    every: Duration | None = None
    min_passed: int | None = None
    required: list[Text] | None = None
    gate: Text | None = None
    deselect: bool | None = None


class ChecksModel(Model):
    """`checks`."""

    smoke: SuiteModel = SuiteModel()
    canary: SuiteModel = SuiteModel()


class LineModel(Model):
    """One line of the judge."""

    factor: Number
    plus: Number


class ErrorsModel(Model):
    """`judge.errors`."""

    tolerated: LineModel | None = None
    never_accept: LineModel | None = None


class SloModel(Model):
    """`judge.slo`."""

    errors: Annotated[Number | None, BeforeValidator(share)] = 0.05


class JudgeModel(Model):
    """`judge`."""

    alpha: Number = 0.01
    beta: Number = 0.05
    tick: Duration = 2 * core.SECOND
    errors: ErrorsModel = ErrorsModel()
    slo: SloModel = SloModel()


class PlanModel(Model):
    """A whole plan."""

    version: Literal["1", 1]
    platform: Annotated[Text, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    target: Literal["embedded"] = "embedded"
    router: RouterModel = RouterModel()
    services: dict[str, ServiceModel]
    steps: list[StepModel] | None = None
    patience: Duration = timedelta(0)
    on_inconclusive: Literal["rollback", "pause"] = "rollback"
    accept: Literal["proof", "no_evidence_of_harm"] = "proof"
    watch: Duration = 5 * core.MINUTE
    checks: ChecksModel = ChecksModel()
    judge: JudgeModel = JudgeModel()


# --- reading ----------------------------------------------------------------------------------------------------------


def load(path: Path) -> tuple[core.ReleasePlan, Source]:
    """The plan of a file. Raises PlanError with every fault found; nothing else."""
    data = read_bytes(path)
    raw, positions = read_toml(path, data) if path.suffix == ".toml" else read_yaml(path, data)
    try:
        model = PlanModel.model_validate(raw)
    except ValidationError as error:
        raise PlanError(tuple(problems(error, positions)), file=str(path)) from None
    return build(model, path, positions), Source(path.absolute(), hashlib.sha256(data).hexdigest())


def read_bytes(path: Path) -> bytes:
    """The file, if it can be a plan."""
    try:
        data = path.read_bytes()
        data.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise PlanError((Problem(0, 0, "", f"cannot be read: {why}"),), file=str(path)) from None
    if len(data) > LARGEST:
        raise PlanError((Problem(0, 0, "", f"has {len(data):,} bytes: that is no plan"),), file=str(path))
    return data


def read_toml(path: Path, data: bytes) -> tuple[Any, Positions]:
    """TOML has no positions for good files; its own errors name line and column."""
    try:
        return tomllib.loads(data.decode()), {}
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(where[1]), int(where[2])) if where else (0, 0)
        problem = Problem(line, column, "", re.sub(r" \(at .*\)$", "", str(error)))
        raise PlanError((problem,), file=str(path)) from None


class PlanLoader(yaml.SafeLoader):
    """YAML in which `1:30`, `012`, `off` and `2026-01-02` are text."""


PlanLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.endswith((":null", ":merge"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PlanLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)$"), list("tf"))


def read_yaml(path: Path, data: bytes) -> tuple[Any, Positions]:
    """Values, and where each key stands. Duplicate keys are faults."""
    positions: Positions = {}
    twice: list[Problem] = []
    try:
        node = yaml.compose(data.decode(), PlanLoader)
        if node is not None:
            walk(node, (), positions, twice)
        raw = yaml.load(data.decode(), PlanLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise PlanError((Problem(*where, "", error.problem or "is not YAML"),), file=str(path)) from None
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        what = (
            "is nested too deeply, or contains itself" if isinstance(error, RecursionError) else f"is not YAML: {error}"
        )
        raise PlanError((Problem(0, 0, "", what.splitlines()[0]),), file=str(path)) from None
    if twice:
        raise PlanError(tuple(twice), file=str(path))
    if not isinstance(raw, dict):
        raise PlanError((Problem(1, 1, "", "is empty, or no mapping of keys"),), file=str(path))
    return raw, positions


def walk(node: Any, key: Key, positions: Positions, twice: list[Problem]) -> None:
    """Remember where values stand; `(*key, "@name")` is the place of a key itself."""
    positions[key] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for name, value in node.value:
            line, column = name.start_mark.line + 1, name.start_mark.column + 1
            word = str(name.value)
            if word in seen:
                what = f"'{word}' is given twice (first on line {seen[word]})"
                twice.append(Problem(line, column, dotted(key), what))
            seen.setdefault(word, line)
            positions[(*key, f"@{word}")] = (line, column)
            walk(value, (*key, word), positions, twice)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            walk(value, (*key, number), positions, twice)


def dotted(key: Key) -> str:
    """`steps.1.weight`."""
    return ".".join(str(part) for part in key)


def place(key: Key, positions: Positions) -> tuple[int, int]:
    """Of a key's value, else of the nearest parent that is there."""
    while key and key not in positions:
        key = key[:-1]
    return positions.get(key, (0, 0))


# --- faults -----------------------------------------------------------------------------------------------------------


def problems(error: ValidationError, positions: Positions) -> Iterator[Problem]:
    """pydantic's findings in our words, at their places."""
    for found in error.errors():
        key: Key = tuple(found["loc"])
        if found["type"] == "extra_forbidden":
            yield unknown(key, positions)
            continue
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "string_pattern_mismatch":
            message = f"{found['input']!r} is not allowed here (pattern {found['ctx']['pattern']})"
        yield Problem(*place(key, positions), dotted(key), message)


def unknown(key: Key, positions: Positions) -> Problem:
    """An unknown key, at the key itself, with the nearest known one."""
    name = str(key[-1])
    where = positions.get((*key[:-1], f"@{name}"), place(key, positions))
    if name in LATER:
        return Problem(*where, dotted(key), f"'{name}' is not built yet: remove it")
    close = difflib.get_close_matches(name, known_keys(key[:-1]), 1)
    return Problem(*where, dotted(key), f"unknown key '{name}'" + (f", did you mean '{close[0]}'?" if close else ""))


def known_keys(key: Key) -> list[str]:
    """The keys that a mapping may have."""
    model: Any = PlanModel
    for part in key:
        if isinstance(part, int) or (model is ServiceModel and part not in ServiceModel.model_fields):
            continue
        if model is PlanModel and part == "services":
            model = ServiceModel
            continue
        field = getattr(model, "model_fields", {}).get(str(part))
        inner = list(classes(field.annotation if field else None))
        model = inner[0] if inner else model
    return [field.alias or name for name, field in model.model_fields.items()]


def classes(annotation: Any) -> Iterator[type[Model]]:
    """The models inside of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from classes(inner)


# --- building ---------------------------------------------------------------------------------------------------------


class Faults:
    """Collects the refusals of plan.py, each at the place of its key."""

    def __init__(self, positions: Positions) -> None:
        self.positions, self.found = positions, list[Problem]()

    def attempt(self, key: Key, make: Callable[[], T]) -> T | None:
        """The value, or None and its faults kept."""
        try:
            return make()
        except PlanError as error:
            for problem in error.problems:
                inner = tuple(part for part in problem.key.split(".") if part)
                whole = inner if inner[: len(key)] == key else (*key, *inner)
                self.found.append(Problem(*place(whole, self.positions), dotted(whole), problem.message))
            return None


def build(model: PlanModel, path: Path, positions: Positions) -> core.ReleasePlan:
    """Dataclasses of the core; its refusals are mapped to the file."""
    faults = Faults(positions)
    services = [
        faults.attempt(("services", name), partial(service, name, item, path.absolute().parent))
        for name, item in model.services.items()
    ]
    steps = [
        faults.attempt(("steps", n), partial(core.Step, step.weight, step.bake, step.approve))
        for n, step in enumerate(model.steps or ())
    ]
    smoke = faults.attempt(("checks", "smoke"), lambda: suite(core.SMOKE, model.checks.smoke))
    canary = faults.attempt(("checks", "canary"), lambda: suite(core.CANARY, model.checks.canary))
    judged = faults.attempt(("judge",), lambda: judge(model.judge))
    if faults.found or smoke is None or canary is None or judged is None:
        raise PlanError(tuple(faults.found), file=str(path))
    plan = faults.attempt(
        (),
        lambda: core.ReleasePlan(
            platform=model.platform,
            services=tuple(item for item in services if item),
            target=model.target,
            listen=model.router.listen,
            sticky=tuple(model.router.sticky),
            steps=tuple(step for step in steps if step) if model.steps is not None else core.DEFAULT_STEPS,
            patience=model.patience,
            on_inconclusive=core.OnInconclusive(model.on_inconclusive),
            accept=core.Accept(model.accept),
            watch=model.watch,
            smoke=smoke,
            canary=canary,
            judge=judged,
        ),
    )
    if plan is None:
        raise PlanError(tuple(faults.found), file=str(path))
    return plan


def service(name: str, item: ServiceModel, folder: Path) -> core.Service:
    """One service."""
    if item.external and item.process:
        core.refuse("external", "a service is external or has a process, not both")
    if not item.external and item.process is None:
        core.refuse("", "give it a process, or external: true")
    kept = item.process
    process = None
    if kept is not None:
        process = core.Process(tuple(kept.ports), kept.drain, tuple(kept.env_from), str(folder / kept.cwd))
    stable_env = (item.stable.env if item.stable else None) or {}
    return core.Service(
        name=name,
        canary=revision(item.canary, stable_env),
        stable=revision(item.stable, {}) if item.stable else None,
        routed=item.routed,
        host=item.host,
        timeout=item.timeout,
        per_try_timeout=item.per_try_timeout or min(7 * core.SECOND, item.timeout / 2),
        health=core.Health(item.health.path, item.health.within) if item.health else None,
        identity=core.Identity(item.identity.header, item.identity.json_path) if item.identity else None,
        process=process,
    )


def revision(item: RevisionModel, env: Mapping[str, str]) -> core.Revision:
    """One revision; the canary's environment is stable's unless it is given."""
    return core.Revision(item.revision, tuple(item.command), dict(env if item.env is None else item.env), item.url)


def suite(default: core.Suite, item: SuiteModel) -> core.Suite:
    """One suite over its defaults."""
    given = item.model_dump(exclude_none=True)
    fields = {field: getattr(default, field) for field in core.Suite.__dataclass_fields__}
    return core.Suite(**{**fields, **given, "required": tuple(given.get("required", ()))})


def judge(item: JudgeModel) -> core.JudgePlan:
    """The limits over their defaults."""
    default = core.ErrorLimits()
    inner, outer = item.errors.tolerated, item.errors.never_accept
    limits = core.ErrorLimits(
        core.Line(inner.factor, inner.plus) if inner else default.tolerated,
        core.Line(outer.factor, outer.plus) if outer else default.never_accept,
    )
    return core.JudgePlan(item.alpha, item.beta, item.tick, limits, core.SloLimits(item.slo.errors))
