"""Where every platform of this machine stands, from journals and leases alone; `live` measures at the router."""

from __future__ import annotations

from typing import Any

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.target import Live, Target
from onlyvips_release.environment import Environment
from onlyvips_release.errors import JournalError
from onlyvips_release.state.journal import Reading, read_release, read_started
from onlyvips_release.state.layout import Layout, platforms
from onlyvips_release.state.requests import frozen
from onlyvips_release.targets import open_target


def overview(environment: Environment) -> list[dict[str, Any]]:
    """One entry per platform of this machine, by name."""
    return [platform(layout, environment) for layout in platforms(environment.state)]


def platform(layout: Layout, environment: Environment) -> dict[str, Any]:
    """One platform: its newest release, who holds the lease, and what of the journal could not be read."""
    row: dict[str, Any] = {"platform": layout.platform, "held_by": None, "frozen": frozen(layout)}
    journals = layout.journals()
    try:
        reading = read_release(journals[-1], samples=False) if journals else Reading(Release(), ())
    except JournalError as error:
        return {**row, "release": None, "error": str(error)}
    if reading.damage:
        first, count = reading.damage[0], len(reading.damage)
        row["error"] = f"{journals[-1]}:{first.line}: {first.problem}; {count} of its lines are left out"
    if not reading.release.id:
        return {**row, "release": None}
    row["held_by"] = holder(open_target(reading.release.plan, environment, SystemClock()))
    return {**row, **standing(reading.release)}


def holder(target: Target) -> str | None:
    """Who holds the lease, None = nobody."""
    claim = target.lease.look()
    return claim.who if claim and not (claim.released or claim.expired) else None


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


def idle(layout: Layout, environment: Environment) -> bool:
    """Whether `recover` has nothing to do: nothing was ever installed, `down` came last, or all users are served."""
    journals = layout.journals()
    if not journals:
        return True
    from onlyvips_release.between import at_rest  # noqa: PLC0415 - `status` does not need it

    reading = read_release(journals[-1], samples=False)
    if reading.unfinished or not reading.release.id:
        return False
    plan = reading.release.plan
    target = open_target(plan, environment, SystemClock())
    if (claim := target.lease.look()) and not claim.released:
        return False
    return (claim is not None and claim.what == "down") or at_rest(target, plan)


def live(layout: Layout, environment: Environment, seconds: float = 1.0) -> dict[str, Any]:
    """Where users are now, measured at the data plane for `seconds`: nothing of it comes from a record of ours."""
    started = next(filter(None, map(read_started, reversed(layout.journals()))), None)
    measured = Live(trouble="is not known: no release ever began")
    if started:
        measured = open_target(started.plan, environment, SystemClock()).live(seconds)
    if measured.trouble:
        return {"router": measured.trouble}
    return {
        "router": "answers",
        "weight_in_force": measured.weight,
        "answered": dict(measured.answered),
        "seconds": measured.seconds,
    }


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
