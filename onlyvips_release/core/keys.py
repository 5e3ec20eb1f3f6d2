"""How the keys of a plan file are described: beside the fields of the values that they become, each key once.

`bake: Annotated[Duration, Key("How long the weight is held.")]` gives a key its text and its type. `Reads` and `Checks`
name the functions that turn what stands in a file into the field's value and refuse (ValueError) what they cannot use;
the file's reader runs them, this module reads nothing. A field without `Key` does not stand in a plan file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, NamedTuple

from onlyvips_release.core.model import LARGEST_STEP, SMALLEST_STEP, Percent, percent


class Key(NamedTuple):
    """One key of a plan file.

    `text` says what it means. `name` is its name in the file where the field has another, `group` the mapping
    that it stands in where the field stands on its own. `by`: the file maps a name to each part; the name goes into
    that field of the part. `without` (a suite): keys that the part does not have here; of the others it replaces only
    those that the file gives, all others stay as in the field's default.
    """

    text: str
    name: str = ""
    group: str = ""
    by: str = ""
    without: tuple[str, ...] | None = None


class Reads(NamedTuple):
    """The value of a key is `function` of what stands in the file; `written` is the type that a schema shows."""

    function: Callable[[Any], Any]
    written: Any = str


class Checks(NamedTuple):
    """`function` returns the value, or refuses it."""

    function: Callable[[Any], Any]


class Off(NamedTuple):
    """The key may hold `off`, which becomes None."""


class Weighs(NamedTuple):
    """The key holds a percentage of users' traffic; whether it may have a tenth depends on the target."""


def matching(pattern: str, advice: str) -> Checks:
    """Text that must match `pattern` as a whole. The advice never repeats the value: it might be a secret."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(advice)
        return text

    return Checks(check)


# --- readers ------------------------------------------------------------------------------------------------------

LONGEST = timedelta(days=31)


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
    """A whole number, in digits only: `true`, `1_0` and `2.0` are refused."""
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


def weight(value: object, *, tenths: bool, target: str) -> Percent:
    """A percentage of users' traffic. A target that sets whole percents refuses tenths."""
    text, (smallest, largest) = str(value), (SMALLEST_STEP, LARGEST_STEP) if tenths else (1, 99)
    has_tenth = re.fullmatch(r"[0-9]{0,3}\.[0-9]", text)
    if not re.fullmatch(r"-?[0-9]{1,18}", text) and not (has_tenth and tenths):
        why = f": tenths of a percent are not built yet for target {target}" if has_tenth else ""
        raise ValueError("give a whole number" + (", or one with one decimal" if tenths else why))
    if float(text) < smallest:
        raise ValueError(f"Input should be greater than or equal to {smallest}")
    if float(text) > largest:
        raise ValueError(f"Input should be less than or equal to {largest}")
    return percent(float(text))


def or_off(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What `reader` reads, or None for `off` (also null): a guard that is not wanted."""
    return lambda value: None if value is None or value == "off" else reader(value)


def number_or_zero(value: object) -> float:
    """A number; `off` is 0."""
    return 0.0 if value == "off" else number(value)


def size(value: object) -> float:
    """Bytes: a number, or one with kB, MB, GB."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(kB|MB|GB)", value) if isinstance(value, str) else None
    if match:
        return float(match[1]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[match[2]]
    try:
        return number(value)
    except ValueError:
        raise ValueError("give a size such as 512MB") from None


def flag(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise ValueError("give true or false")  # noqa: TRY004 - readers refuse by ValueError
    return value


def address(value: object) -> tuple[str, int]:
    """`IPv4:PORT`. `localhost` becomes 127.0.0.1, so that nobody listens where a resolver happens to point."""
    from ipaddress import AddressValueError, IPv4Address  # noqa: PLC0415 - slow to import; only plan files need it

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


# --- types of keys ------------------------------------------------------------------------------------------------

TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
CALL = r"[A-Z]{1,10} (?:/(?:\*|\{\w*\}|[\w.~%!$&'()+,;=:@-]*))+"
"""`METHOD /path`; a whole segment may be `*` or `{name}`."""

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
Call = Annotated[str, matching(CALL, "give METHOD /path without query; a whole segment may be * or {name}")]
Upstream = Annotated[str, Checks(upstream)]
Address = Annotated[tuple[str, int], Reads(address)]
Duration = Annotated[timedelta, Reads(duration)]
Span = Annotated[Duration, Checks(longer_than_nothing)]
DurationOrOff = Annotated[timedelta | None, Reads(or_off(duration))]
Whole = Annotated[int, Reads(whole, int)]
Port = Annotated[Whole, Checks(in_range)]
Number = Annotated[float, Reads(number, float)]
NUMBER_OR_OFF = float | Literal["off"]
NumberOrOff = Annotated[float | None, Reads(or_off(number), NUMBER_OR_OFF)]
NumberOrZero = Annotated[float | None, Reads(number_or_zero, NUMBER_OR_OFF)]
Environment = Mapping[Variable, Word]
Bytes = Annotated[float, Reads(size, float | str)]
Flag = Annotated[bool, Reads(flag, bool)]
Weight = Annotated[Percent, Weighs()]
