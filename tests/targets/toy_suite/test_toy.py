"""What can be checked of a toy: that the arm under test has a revision."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

CONTEXT: dict[str, Any] = json.loads(Path(os.environ["ONLYVIPS_CONTEXT"]).read_text())


def test_arm_has_a_revision() -> None:
    assert CONTEXT["services"]["web"]["revisions"][CONTEXT["arm"]]
