"""A plan in words: what a release would do, step by step. Pure."""

from __future__ import annotations

from onlyvips_release.core.plan import JudgePlan, ReleasePlan, Service, Suite


def describe(plan: ReleasePlan) -> str:
    """What `onlyvips-release plan` shows."""
    steps = [
        f"  {n}. {step.weight} % of users for {step.bake}" + (", then a person must approve" * step.approve)
        for n, step in enumerate(plan.steps, 1)
    ]
    host, port = plan.listen
    return "\n".join(
        [
            f"platform {plan.platform}, target {plan.target}, router on {host}:{port}, "
            + (f"users stick by {', '.join(plan.sticky)}" if plan.sticky else "users do not stick to a side"),
            *([plan.engine.text()] if plan.engine else []),
            "services:",
            *(f"  {service_text(service)}" for service in plan.services),
            f"before any traffic: {suite_text(plan.smoke)} on canary and stable, both must pass",
            "steps:",
            *steps,
            f"  during each: {suite_text(plan.canary)}"
            + (f", every {plan.canary.every}" if plan.canary.every else "")
            + f"; a look every {plan.judge.tick.total_seconds():g} s",
            f"  undecided at the end: wait {plan.patience} more, then {plan.on_inconclusive}",
            f"then: 100 %, replace stable, watch {plan.watch}",
            *judge_text(plan.judge),
        ]
    )


def service_text(service: Service) -> str:
    """One service and its two revisions."""
    stable = service.stable.name if service.stable else "(what runs)"
    way = f"Host {service.host or 'any'}" if service.routed else "no traffic, replaced last"
    calls = f"; business calls: {', '.join(service.business_calls)}" if service.business_calls else ""
    return f"{service.name}: {stable} -> {service.canary.name} ({service.runs.text()}, {way}){calls}"


def suite_text(suite: Suite) -> str:
    """One suite as a gate."""
    return f"{suite.path} (deadline {suite.deadline}, at least {suite.min_passed} passed)"


def judge_text(judge: JudgePlan) -> list[str]:
    """The limits in words."""
    inner, outer = judge.errors.tolerated, judge.errors.never_accept
    lines = [
        "limits (share of users' first attempts that fail):",
        f"  stopped when worse than {inner.factor:g} x stable + {inner.plus:.2%} (wrongly in < {judge.alpha:.1%})",
        f"  promoted when proven better than {outer.factor:g} x stable + {outer.plus:.2%} "
        f"(wrongly in < {judge.beta:.0%})",
    ]
    if judge.slo.errors is not None:
        lines.append(f"  never above {judge.slo.errors:.0%}, whatever stable does")
    return lines
