"""Where every platform of this machine stands, from journals and leases alone; `live` asks the router itself."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlyvips_release.core.lifecycle import Release, replay
from onlyvips_release.core.model import percent
from onlyvips_release.environment import frozen
from onlyvips_release.errors import ReleaseError, Unavailable
from onlyvips_release.state.journal import FileJournal, journals, unfinished
from onlyvips_release.state.lease import describe, held, read_lease, stages

if TYPE_CHECKING:
    from onlyvips_release.clients.envoy_admin import Admin


def overview(state: Path) -> list[dict[str, Any]]:
    """One entry per platform below the state folder, by name."""
    if not state.is_dir():
        return []
    return [platform(folder) for folder in sorted(state.iterdir()) if (folder / "live").is_dir()]


def platform(folder: Path) -> dict[str, Any]:
    """One platform: its newest release, and who holds the lease."""
    holder = held(folder / "live")
    found: dict[str, Any] = {"platform": folder.name, "held_by": describe(holder) if holder else None}
    found["frozen"] = frozen(folder)
    known = journals(folder)
    try:
        release = replay(FileJournal(known[-1]).read(samples=False)) if known else Release()
    except ReleaseError as error:
        return {**found, "release": None, "error": str(error)}
    if not release.id:
        return {**found, "release": None}
    return {**found, **standing(release)}


def standing(release: Release) -> dict[str, Any]:
    """What a journal says of a release."""
    over = release.over
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


def idle(folder: Path) -> bool:
    """Whether `recover` has nothing to do here: no release is open, nobody holds a claim, no canary has a weight."""
    live = folder / "live"
    routes = live / "router" / "rds.json"
    weighed = routes.exists() and not re.search(rb'"version_info":"[^"]*\.w0"', routes.read_bytes())
    claimed = bool(stages(live)) or not read_lease(live).get("released", True)
    known = journals(folder)
    return not (weighed or claimed or (known and unfinished(known[-1])))


def live(folder: Path, seconds: float = 1.0) -> dict[str, Any]:
    """Where users are now, asked of the router itself: the weight in force, and who answered users for `seconds`.

    Nothing of it comes from a journal or a file of ours.
    """
    from onlyvips_release.clients.envoy_admin import Admin  # noqa: PLC0415 - `status` and `recover` need no HTTP

    admin = Admin(folder / "live" / "router")
    try:
        version = admin.stats("^http.ingress.rds.main.version_text$").popitem()[1]
        before = answers(admin)
        time.sleep(seconds)
        after = answers(admin)
    except (Unavailable, KeyError) as error:
        return {"router": f"does not answer: {error}"}
    weight = re.search(r"\.w([\d.]+)\"$", version)
    return {
        "router": "answers",
        "weight_in_force": percent(float(weight[1])) if weight else None,
        "answered": {name: count - before.get(name, 0) for name, count in sorted(after.items())},
        "seconds": seconds,
    }


def answers(admin: Admin) -> dict[str, int]:
    """Users' requests by service and arm, as the router has counted them; pinned ones are not among them."""
    counts = admin.stats("^cluster\\.[^.]*__(stable|canary|retry)\\.upstream_rq_completed$")
    return {name.split(".")[1].replace("__", " "): int(value) for name, value in counts.items()}


def text(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"platform {found['platform']}: " + (f"held by {found['held_by']}" if found["held_by"] else "free")]
    lines += [f"  FROZEN: {found['frozen']}"] if found["frozen"] else []
    lines += live_text(found["live"]) if "live" in found else []
    if found["release"] is None:
        return "\n".join([*lines, f"  {found.get('error', 'no release yet')}"])
    weight = "not confirmed" if found["weight"] is None else f"{found['weight']} %"
    lines.append(f"  {found['release']} {found['phase']}, canary weight {weight} (as the journal says)")
    if found["open"]:
        steps = (f"{s['weight']} % for {s['bake_s']:g} s" for s in found["steps"])
        lines.append(f"  step {found['step']} of: {', '.join(steps)}")
    lines += [f"  {service}: {revision}" for service, revision in found["serving"].items()]
    if found["sentence"]:
        lines.append(f"  {found['sentence']}")
    if found["open"] and not found["held_by"]:
        lines.append("  unfinished, and nobody works on it: onlyvips-release resume PLAN, or recover PLAN")
    return "\n".join(lines)


def live_text(found: dict[str, Any]) -> list[str]:
    """What was measured, for people."""
    if "answered" not in found:
        return [f"  MEASURED: the router {found['router']}"]
    weight = found["weight_in_force"]
    told = "routes that are not ours" if weight is None else f"canary weight {weight} %"
    counts = ", ".join(f"{name} {count}" for name, count in found["answered"].items() if count) or "no request"
    return [f"  MEASURED: {told} in force; answered in {found['seconds']:g} s: {counts}"]
