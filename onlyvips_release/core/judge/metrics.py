"""The table of the metrics: what each weighs, and which of them a plan asks for."""

from __future__ import annotations

from onlyvips_release.core.judge.gauge_metrics import Cpu, Memory
from onlyvips_release.core.judge.metric import Kind, Setting
from onlyvips_release.core.judge.request_metrics import Business, Errors, SloErrors, SloLatency, Slower, TrafficShare

WEIGHTS = {
    "errors": 0.30,
    "latency": 0.20,
    "slo_errors": 0.15,
    "slo_latency": 0.10,
    "volume": 0.10,
    "share": 0.05,
    "cpu": 0.05,
    "memory": 0.05,
}
"""Of a metric within its service."""


def kinds(setting: Setting, *, business: bool, sticky: bool) -> list[Kind]:
    """The metrics that the plan asks for. With sticky users requests do not follow the weight."""
    plan = setting.plan
    found: list[Kind] = [Errors(setting)]
    if plan.slower != 0:
        found.append(Slower(setting))
    if plan.slo.errors is not None:
        found.append(SloErrors(setting, plan.slo.errors))
    if plan.slo.slower_than is not None:
        found.append(SloLatency(setting, plan.slo.slower_than.total_seconds() * 1000, plan.slo.share))
    if plan.volume is not None and business:
        found.append(Business(setting))
    if plan.traffic_share is not None and not sticky:
        found.append(TrafficShare(setting))
    if plan.cpu is not None:
        found.append(Cpu(setting, plan.cpu))
    if plan.memory is not None:
        found.append(Memory(setting, plan.memory))
    return found
