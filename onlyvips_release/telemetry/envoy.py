"""Users' first attempts, from the host counters of Envoy's user clusters (envoy.md section 7).

They count per attempt, with connect failures and resets; 4xx is a success. Retries and pinned requests run over
clusters of their own and are not in them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onlyvips_release.clients.envoy_admin import Admin
from onlyvips_release.errors import Unavailable
from onlyvips_release.model import Arm, Counters, Series
from onlyvips_release.plan import ReleasePlan


class EnvoySource:
    """Port Source."""

    def __init__(self, state: Path, plan: ReleasePlan) -> None:
        self.plan = plan
        self.pid_file = state / "live" / "envoy.pid.json"
        self.admin = Admin(state / "live" / "router")

    def sample(self) -> Counters:
        """One question to the admin socket; a restarted Envoy gives its series a new start."""
        start = self._start()
        try:
            found = {row["name"]: row for row in self.admin.json("/clusters?format=json")["cluster_statuses"]}
        except (ValueError, KeyError) as error:
            raise Unavailable(f"the router's counters cannot be read ({error})") from error
        return {
            service.name: {arm: series(found.get(f"{service.name}__{arm}", {}), start) for arm in Arm}
            for service in self.plan.routed
        }

    def _start(self) -> str:
        try:
            record = json.loads(self.pid_file.read_bytes())
        except FileNotFoundError as error:
            raise Unavailable("the router does not run") from error
        return f"{record['pid']}@{record['started']:.2f}"


def series(cluster: dict[str, Any], start: str) -> tuple[Series, ...]:
    """One per endpoint. A counter at zero has no value in Envoy's JSON."""
    found = []
    for host in cluster.get("host_statuses", ()):
        address = host["address"]["socket_address"]
        counts = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
        name = f"{address['address']}:{address['port_value']}"
        found.append(Series(name, start, counts.get("rq_success", 0), counts.get("rq_error", 0)))
    return tuple(found)
