"""Where things are kept: the environment, read once (contract.md sections 1 and 3)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """`state`: a folder per platform; `reports`: a folder per release, of which `keep` stay (0 = all); `envoy`: a
    binary of one's own."""

    state: Path
    reports: Path
    env: Mapping[str, str]
    envoy: Path | None = None
    keep: int = 0


def find_place(env: Mapping[str, str] | None = None) -> Place:
    """ONLYVIPS_STATE, ONLYVIPS_REPORTS, ONLYVIPS_KEEP_REPORTS and ONLYVIPS_ENVOY, with their defaults."""
    env = os.environ if env is None else env
    home = Path(env.get("XDG_STATE_HOME") or Path(env.get("HOME", "/")) / ".local" / "state") / "onlyvips-release"
    envoy = env.get("ONLYVIPS_ENVOY")
    return Place(
        state=Path(env.get("ONLYVIPS_STATE") or home).absolute(),
        reports=Path(env.get("ONLYVIPS_REPORTS") or "reports").absolute(),
        env=dict(env),
        envoy=Path(envoy) if envoy else None,
        keep=int(keep) if (keep := env.get("ONLYVIPS_KEEP_REPORTS", "")).isdigit() else 0,
    )
