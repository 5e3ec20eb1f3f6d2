"""Fills the templates of a report. Every value is cleaned and escaped, wherever it stands in a template.

Jinja2 is imported when the first template is filled: commands that write no report start without it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlyvips_release.reporting import wording

if TYPE_CHECKING:
    from jinja2 import Environment

MARKDOWN = re.compile(r"[\\`*_\[\]|]")
"""What Markdown takes for more than text; HTML is escaped like anywhere else."""


def render(template: str, **values: object) -> str:
    """The text of this template with these values."""
    return environment(template.endswith(".md")).get_template(template).render(values)


@cache
def environment(markdown: bool) -> Environment:
    """The templates; a misspelt name in one is an error, not an empty text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.keep_trailing_newline = True
    made.loader = FileSystemLoader(Path(__file__).parent / "templates")
    made.finalize = in_markdown if markdown else in_html
    filters = (wording.clock, wording.span, wording.failures_of, wording.clean)
    made.filters.update({function.__name__: function for function in filters})
    return made


def in_html(value: Any) -> Any:
    """A value as cleaned text, which is escaped behind this; markup, which holds only such texts, as it is."""
    return value if hasattr(value, "__html__") else wording.clean(value)


def in_markdown(value: Any) -> Any:
    """The same on one line, where no character means anything to Markdown."""
    return value if hasattr(value, "__html__") else MARKDOWN.sub(r"\\\g<0>", wording.one_line(value))
