"""Where every platform of this machine stands, from journals and leases alone; `live` measures at the router."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import percent
from onlyvips_release.errors import JournalError, Unavailable
from onlyvips_release.state.freeze import frozen
from onlyvips_release.state.journal import Reading, read_release
from onlyvips_release.state.layout import Layout, platforms, stages
from onlyvips_release.state.lease import current_claim, held_by

if TYPE_CHECKING:
    from onlyvips_release.clients.envoy_admin import Admin


def overview(state: Path) -> list[dict[str, Any]]:
    """One entry per platform below the state folder, by name."""
    return [platform(layout) for layout in platforms(state)]


def platform(layout: Layout) -> dict[str, Any]:
    """One platform: its newest release, who holds the lease, and what of the journal could not be read."""
    row: dict[str, Any] = {"platform": layout.platform, "held_by": held_by(layout.live) or None}
    row["frozen"] = frozen(layout)
    journals = layout.journals()
    try:
        reading = read_release(journals[-1], samples=False) if journals else Reading(Release(), ())
    except JournalError as error:
        return {**row, "release": None, "error": str(error)}
    if reading.damage:
        first, count = reading.damage[0], len(reading.damage)
        row["error"] = f"{journals[-1]}:{first.line}: {first.problem}; {count} of its lines are left out"
    return {**row, **standing(reading.release)} if reading.release.id else {**row, "release": None}


def standing(release: Release) -> dict[str, Any]:
    """A release as its journal records it."""
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


def idle(layout: Layout) -> bool:
    """Whether `recover` has nothing to do here: no release is open, nobody holds a claim, no canary has a weight."""
    routes, claim, journals = layout.routes, current_claim(layout.live), layout.journals()
    weighed = routes.exists() and not re.search(rb'"version_info":"[^"]*\.w0"', routes.read_bytes())
    claimed = bool(stages(layout.live)) or (claim is not None and not claim.released)
    return not (weighed or claimed or (journals and read_release(journals[-1], samples=False).unfinished))


def live(layout: Layout, seconds: float = 1.0) -> dict[str, Any]:
    """Where users are now, measured at the router: the weight in force, and who answered users for `seconds`.

    Nothing of it comes from a journal or a file of ours.
    """
    from onlyvips_release.clients.envoy_admin import Admin  # noqa: PLC0415 - `status` and `recover` need no HTTP

    admin = Admin(layout.router)
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


def text(row: dict[str, Any]) -> str:
    """One platform, for people."""
    lines = [f"platform {row['platform']}: " + (f"held by {row['held_by']}" if row["held_by"] else "free")]
    lines += [f"  FROZEN: {row['frozen']}"] if row["frozen"] else []
    lines += live_text(row["live"]) if "live" in row else []
    if row["release"] is None:
        return "\n".join([*lines, f"  {row.get('error', 'no release yet')}"])
    weight = "not confirmed" if row["weight"] is None else f"{row['weight']} %"
    lines.append(f"  {row['release']} {row['phase']}, canary weight {weight} (as the journal says)")
    if row["open"]:
        steps = (f"{s['weight']} % for {s['bake_s']:g} s" for s in row["steps"])
        lines.append(f"  step {row['step']} of: {', '.join(steps)}")
    lines += [f"  {service}: {revision}" for service, revision in row["serving"].items()]
    lines += [f"  DAMAGED: {row['error']}"] if "error" in row else []
    if row["sentence"]:
        lines.append(f"  {row['sentence']}")
    if row["open"] and not row["held_by"]:
        lines.append("  unfinished, and nobody works on it: onlyvips-release resume PLAN, or recover PLAN")
    return "\n".join(lines)


def live_text(measured: dict[str, Any]) -> list[str]:
    """Where users are now, for people."""
    if "answered" not in measured:
        return [f"  MEASURED: the router {measured['router']}"]
    weight = measured["weight_in_force"]
    routes = "routes that are not ours" if weight is None else f"canary weight {weight} %"
    counts = ", ".join(f"{name} {count}" for name, count in measured["answered"].items() if count) or "no request"
    return [f"  MEASURED: {routes} in force; answered in {measured['seconds']:g} s: {counts}"]
