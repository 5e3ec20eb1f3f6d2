"""Fills the templates of a report. Every value is cleaned and escaped, wherever it stands in a template.

Jinja2 is imported when the first template is filled: commands that write no report start without it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlyvips_release.reporting import wording

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """The text of this template with these values."""
    return environment().get_template(template).render(values)


@cache
def environment() -> Environment:
    """The templates; a misspelt name in one is an error, not an empty text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=harmless,
    )
    filters = (wording.clock, wording.span, wording.failures_of, wording.clean)
    made.filters.update({function.__name__: function for function in filters})
    return made


def harmless(value: Any) -> Any:
    """A value as cleaned text; markup, which holds only cleaned values, as it is."""
    return value if hasattr(value, "__html__") else wording.clean(value)
