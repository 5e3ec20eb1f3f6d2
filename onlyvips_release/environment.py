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


def freeze(state: Path, why: str) -> None:
    """No new release of this platform until `unfreeze`; what runs goes on, and the way back stays open."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = state / "freeze.tmp"
    temporary.write_text(why)
    temporary.rename(state / "freeze")


def unfreeze(state: Path) -> None:
    """Nothing to do when it is not frozen."""
    (state / "freeze").unlink(missing_ok=True)


def frozen(state: Path) -> str:
    """Why (and by whom) releases are frozen, "" = they are not."""
    try:
        return (state / "freeze").read_text() or "no reason was given"
    except FileNotFoundError:
        return ""
