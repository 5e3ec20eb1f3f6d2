"""Reads a plan file, YAML or TOML, and says of every fault where it stands.

bytes -> text -> tree (dicts, lists, text) with places -> `planmodel` -> `plan.ReleasePlan`. Whatever the file holds,
the outcome is a plan or one PlanError with all faults found. YAML is read by its nodes, never by its constructors:
only null, `true` and `false` are told apart from text, so that `2.10` stays an image tag, `0123456` a commit, `1:30`
no number and `off` a word; and no file can make PyYAML build anything.
"""

from __future__ import annotations

import hashlib
import re
import stat
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from onlyvips_release.errors import PlanError, Problem, shortened

if TYPE_CHECKING:
    from onlyvips_release.core.plan import ReleasePlan
    from onlyvips_release.planmodel import Loc

LARGEST = 1_000_000
"""Bytes. PyYAML takes seconds for a megabyte; a plan has a few kilobytes."""
MOST_VALUES = 5_000
"""Aliases may multiply a small file without end."""
YAML = "tag:yaml.org,2002:"
MERGE = f"{YAML}merge"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plan was read, and the digest of exactly what was read there."""

    path: Path
    text_sha256: str


def load(path: Path) -> tuple[ReleasePlan, Source]:
    """The plan in `path` (`.toml` is TOML, all else YAML) and its source.

    Working folders become absolute: they count from the plan file's folder, which is also their default. Suite paths
    stay as written. Raises PlanError with every fault.
    """
    document, data = _parsed(path)
    plan = _validated(document, str(path))
    folder = str(path.absolute().parent)
    services = tuple(replace(service, runs=service.runs.absolute(folder)) for service in plan.services)
    return replace(plan, services=services), Source(path.absolute(), hashlib.sha256(data).hexdigest())


def platform_of(path: Path) -> str:
    """Only the platform's name, without judging the rest of the file (quick); "" = it has none. Raises PlanError."""
    tree = _parsed(path)[0].tree
    return str(tree.get("platform") or "") if isinstance(tree, dict) else ""


def _parsed(path: Path) -> tuple[_Toml | _Yaml, bytes]:
    try:
        data = _bytes(path)
        return (_Toml if path.suffix.lower() == ".toml" else _Yaml)(_text(data)), data
    except PlanError as error:
        raise PlanError(error.problems, file=str(path)) from None


def _validated(document: _Toml | _Yaml, file: str) -> ReleasePlan:
    from onlyvips_release import planmodel  # noqa: PLC0415  # pydantic takes long to import; only plan files need it

    problems = list(document.problems)
    try:
        plan = planmodel.read(document.tree)
    except planmodel.Faults as found:
        for fault in found.faults:
            line, column = document.place(fault.loc, at_key=fault.at_key)
            problems.append(Problem(line, column, _dotted(fault.loc), fault.message))
    if problems:
        raise PlanError(tuple(dict.fromkeys(problems)), file=file)
    return plan


def _dotted(loc: Loc) -> str:
    parts = (shortened(str(part)) for part in loc)
    return ".".join(part if part.isprintable() else repr(part) for part in parts)


def _fail(message: str, line: int = 0, column: int = 0, key: str = "") -> NoReturn:
    raise PlanError((Problem(line, column, key, message),))


# --- bytes and text -----------------------------------------------------------------------------------------------


def _bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            _fail("cannot be read: it is a folder")
        if not stat.S_ISREG(mode):
            _fail("cannot be read: it is no ordinary file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        _fail("cannot be read: no such file")
    except (OSError, ValueError) as error:
        _fail(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(data) > LARGEST:
        _fail(f"is larger than {LARGEST // 1_000_000} MB: this is no plan")
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - before.rfind(b"\n")
        _fail("cannot be read: is not UTF-8 text", before.count(b"\n") + 1, column)


# --- TOML ---------------------------------------------------------------------------------------------------------


class _Toml:
    """A TOML document. `tomllib` keeps no positions: faults name the key path alone."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        try:
            self.tree = tomllib.loads(text)
        except RecursionError:
            _fail("is nested too deeply")
        except ValueError as error:
            place = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
            line, column = (int(place[1]), int(place[2])) if place else (0, 0)
            said = str(error).removesuffix(place[0] if place else "")
            _fail(said if isinstance(error, tomllib.TOMLDecodeError) else f"is no TOML: {said}", line, column)

    def place(self, loc: Loc, *, at_key: bool) -> tuple[int, int]:
        """Unknown."""
        return 0, 0


# --- YAML ---------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Tells only null, `<<`, true and false apart from text (cli.md section 7)."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{YAML}bool", re.compile(r"(?:true|false)$"), ["t", "f"])


class _Yaml:
    """A YAML document: its tree, where each value of it and its key stand, and the keys that are given twice.

    A value stands where it begins, if that is on the line of its key, else at the key.
    """

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self.places: dict[Loc, tuple[tuple[int, int], tuple[int, int]]] = {}
        self._open: set[int] = set()
        self._values = 0
        try:
            self.tree = self._value(_composed(text), ())
        except RecursionError:
            _fail("is nested too deeply")

    def place(self, loc: Loc, *, at_key: bool) -> tuple[int, int]:
        """Line and column, from 1, of a value (or its key); of the nearest parent if there is no such value."""
        for length in range(len(loc), -1, -1):
            if found := self.places.get(loc[:length]):
                value, key = found
                return key if at_key else value
        return 0, 0

    def _value(self, node: yaml.Node, loc: Loc, key: yaml.Node | None = None) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            _fail(f"holds more than {MOST_VALUES} values, aliases counted each time: this is no plan")
        at_key, at_value = _mark(key or node), _mark(node)
        self.places[loc] = (at_value if at_value[0] == at_key[0] else at_key, at_key)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, loc)
        if id(node) in self._open:
            _fail("contains itself", *_mark(node), _dotted(loc))
        self._open.add(id(node))
        value = self._mapping(node, loc) if isinstance(node, yaml.MappingNode) else self._sequence(node, loc)
        self._open.remove(id(node))
        return value

    def _sequence(self, node: yaml.Node, loc: Loc) -> list[Any]:
        _known_tag(node, "seq", loc)
        return [self._value(item, (*loc, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        _known_tag(node, "map", loc)
        result = self._merged(node, loc)
        first: dict[str, int] = {}
        for key, value in node.value:
            name = _key(key, loc)
            if name in first:
                message = f"{shortened(name)!r} is given twice (first on line {first[name]})"
                self.problems.append(Problem(*_mark(key), _dotted(loc), message))
                continue
            first[name] = _mark(key)[0]
            if key.tag != MERGE:
                result[name] = self._value(value, (*loc, name), key)
        return result

    def _merged(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        """What `<<: *other` or `<<: [*one, *other]` brings in: the first wins, and keys given here win over both."""
        result: dict[str, Any] = {}
        here = self.places[loc]
        for value in (value for key, value in node.value if key.tag == MERGE):
            for other in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(other, yaml.MappingNode):
                    _fail("`<<` takes the keys of another mapping: give *name", *_mark(other), _dotted(loc))
                result |= self._value(other, loc)
        self.places[loc] = here
        return result


def _composed(text: str) -> yaml.Node:
    try:
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _fail(_complaint(error), *((mark.line + 1, mark.column + 1) if mark else ()))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        _fail(f"the control character #x{ord(text[error.position]):02x} is not allowed", line, column)
    except (OverflowError, ValueError) as error:
        _fail(f"is no YAML: {error}")
    if root is None:
        _fail("is empty")
    return root


def _complaint(error: yaml.MarkedYAMLError) -> str:
    """What PyYAML says, on one line."""
    if "'\\t'" in str(error.problem):
        return "a tab: indent with spaces"
    if "single document" in str(error.context):
        return "a second document: a file holds one plan"
    said = f"{error.problem or error.context}"
    if error.problem and error.context and error.context_mark:
        said += f" ({error.context} that begins on line {error.context_mark.line + 1})"
    return " ".join(said.split())


def _key(node: yaml.Node, loc: Loc) -> str:
    """A key as it is written, whatever YAML would make of it."""
    if not isinstance(node, yaml.ScalarNode):
        _fail("a key must be one word", *_mark(node), _dotted(loc))
    value = _scalar(node, loc)
    return value if isinstance(value, str) else str(node.value)


def _scalar(node: yaml.ScalarNode, loc: Loc) -> str | bool | None:
    text = str(node.value)
    if node.tag == f"{YAML}null":
        return None
    if node.tag == f"{YAML}bool" and text in ("true", "false"):
        return text == "true"
    if node.tag != MERGE:
        _known_tag(node, "str", loc)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        _fail("holds half a character (a surrogate)", *_mark(node), _dotted(loc))
    return text


def _known_tag(node: yaml.Node, name: str, loc: Loc) -> None:
    if node.tag != YAML + name:
        tag = str(node.tag).replace(YAML, "!!")
        _fail(f"the tag {shortened(tag)!r} is not understood here: leave it out", *_mark(node), _dotted(loc))


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
