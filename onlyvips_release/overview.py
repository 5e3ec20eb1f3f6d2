"""Where every platform of this machine stands, from journals and leases alone. Nothing is asked, nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onlyvips_release.journal import FileJournal
from onlyvips_release.lease import describe, held
from onlyvips_release.lifecycle import FINAL, Release, replay


def overview(state: Path) -> list[dict[str, Any]]:
    """One entry per platform below the state folder, by name."""
    if not state.is_dir():
        return []
    return [platform(folder) for folder in sorted(state.iterdir()) if (folder / "live").is_dir()]


def platform(folder: Path) -> dict[str, Any]:
    """One platform: its newest release, and who holds the lease."""
    holder = held(folder / "live")
    found: dict[str, Any] = {"platform": folder.name, "held_by": describe(holder) if holder else None}
    journals = sorted(folder.glob("releases/r*/journal.jsonl"), key=lambda path: int(path.parent.name[1:]))
    if not journals:
        return {**found, "release": None}
    release = replay(FileJournal(journals[-1]).read(samples=False))
    return {**found, **standing(release)}


def standing(release: Release) -> dict[str, Any]:
    """What a journal says of a release."""
    over = release.finished is not None and release.phase in FINAL
    return {
        "release": release.id,
        "phase": str(release.phase),
        "open": not over,
        "step": None if over else release.step + 1,
        "steps": [{"weight": s.weight, "bake_s": s.bake.total_seconds()} for s in release.plan.steps],
        "weight": release.weight,
        "serving": release.serving,
        "verdict": str(release.outcome.verdict) if release.outcome else None,
        "sentence": release.finished.sentence
        if release.finished
        else release.outcome.sentence
        if release.outcome
        else "",
        "exit": release.finished.exit if release.finished else None,
    }


def text(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"platform {found['platform']}: " + (f"held by {found['held_by']}" if found["held_by"] else "free")]
    if found["release"] is None:
        return lines[0] + "\n  no release yet"
    weight = "not confirmed" if found["weight"] is None else f"{found['weight']} %"
    lines.append(f"  {found['release']} {found['phase']}, canary weight {weight} (as the journal says)")
    if found["open"]:
        steps = (f"{s['weight']} % for {s['bake_s']:g} s" for s in found["steps"])
        lines.append(f"  step {found['step']} of: {', '.join(steps)}")
    lines += [f"  {service}: {revision}" for service, revision in found["serving"].items()]
    if found["sentence"]:
        lines.append(f"  {found['sentence']}")
    if found["open"] and not found["held_by"]:
        lines.append("  unfinished, and nobody works on it: onlyvips-release recover PLAN")
    return "\n".join(lines)
