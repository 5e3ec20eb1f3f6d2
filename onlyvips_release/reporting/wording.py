"""Texts from anywhere made harmless and readable: for pages, for CI logs, for tables. Pure."""

from __future__ import annotations

import re

INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
"""Control characters, half surrogates, and what hides text or turns it round."""

LONGEST = 8_000
"""Characters of one text; what is longer is cut, and says so."""


def clean(text: object, longest: int = LONGEST) -> str:
    """Text without control characters (they are spelled out), at most `longest` characters of it."""
    whole = str(text)
    kept = INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", whole[:longest])
    return kept if len(whole) <= longest else f"{kept} … ({len(whole):,} characters, cut)"


def one_line(text: object, longest: int = 2000) -> str:
    """The same without line breaks: a CI system takes lines that begin with `::` for commands."""
    return " ".join(clean(text, longest).split())


def span(seconds: float) -> str:
    """`4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def clock(seconds: float) -> str:
    """Time since the start: `+0:07`, `+31:00`, `+1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"+{minutes}:{rest:02}" if minutes < 60 else f"+{minutes // 60}:{minutes % 60:02}:{rest:02}"


def percent(share: float) -> str:
    """Two digits that count."""
    shown = 100 * share
    return f"{shown:.0f} %" if shown >= 10 or shown == 0 else f"{shown:.2g} %"


def failures_of(failures: int, requests: int) -> str:
    """`41 of 980 (4.2 %)`."""
    return f"{failures:,} of {requests:,} ({percent(failures / requests)})" if requests else "no requests"
