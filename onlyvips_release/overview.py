"""Where every platform of this machine stands, from journals and leases alone; `live` asks the router itself."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onlyvips_release.core.lifecycle import Release
from onlyvips_release.errors import JournalError, Unavailable
from onlyvips_release.state.freeze import frozen
from onlyvips_release.state.journal import Reading, read_release, unfinished
from onlyvips_release.state.layout import Layout, platforms, stages
from onlyvips_release.state.lease import current_claim, held_by

if TYPE_CHECKING:
    from onlyvips_release.clients.envoy_admin import Admin


def overview(state: Path) -> list[dict[str, Any]]:
    """One entry per platform below the state folder, by name."""
    return [platform(layout) for layout in platforms(state)]


def platform(layout: Layout) -> dict[str, Any]:
    """One platform: its newest release, and who holds the lease."""
    found: dict[str, Any] = {"platform": layout.platform, "held_by": held_by(layout.live) or None}
    found["frozen"] = frozen(layout)
    known = layout.journals()
    try:
        reading = read_release(known[-1], samples=False) if known else Reading(Release(), ())
    except JournalError as error:
        return {**found, "release": None, "error": str(error)}
    if reading.damage:
        first = reading.damage[0]
        found["error"] = f"{known[-1]}:{first.line}: {first.problem}; {len(reading.damage)} of its lines are left out"
    return {**found, **standing(reading.release)} if reading.release.id else {**found, "release": None}


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


def idle(layout: Layout) -> bool:
    """Whether `recover` has nothing to do here: no release is open, nobody holds a claim, no canary has a weight."""
    routes, claim = layout.routes, current_claim(layout.live)
    weighed = routes.exists() and not re.search(rb'"version_info":"[^"]*\.w0"', routes.read_bytes())
    claimed = bool(stages(layout.live)) or (claim is not None and not claim.released)
    known = layout.journals()
    return not (weighed or claimed or (known and unfinished(known[-1])))


def live(layout: Layout, seconds: float = 1.0) -> dict[str, Any]:
    """Where users are now, asked of the router itself: the weight in force, and who answered users for `seconds`.

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
    weight = re.search(r"\.w(\d+)\"$", version)
    return {
        "router": "answers",
        "weight_in_force": int(weight[1]) if weight else None,
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
    lines += [f"  DAMAGED: {found['error']}"] if "error" in found else []
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
