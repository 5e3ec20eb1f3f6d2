"""Users' first attempts: counts from the host counters of Envoy's user clusters, latency and business from its log.

The counters count per attempt, with connect failures and resets; 4xx is a success (envoy.md section 7). Retries and
pinned requests run over clusters of their own and are in neither. Processor time and memory are those of the process
that listens at the endpoint's address.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from onlyvips_release.clients.envoy_admin import Admin
from onlyvips_release.clients.envoy_process import PID_FILE
from onlyvips_release.core.model import Arm, Instance, Sample, Series
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.errors import Unavailable
from onlyvips_release.state.layout import Layout
from onlyvips_release.telemetry.attempts import Attempts
from onlyvips_release.telemetry.proc import Usage

Counts = dict[str, dict[str, tuple[int, int]]]
"""cluster -> `<host>:<port>` -> (good, bad)."""


class EnvoySource:
    """Port Source. `instances`: the processes that run here, asked every ten seconds; those of others are not seen."""

    def __init__(
        self, layout: Layout, plan: ReleasePlan, instances: Callable[[], Iterable[Instance]] = lambda: ()
    ) -> None:
        self.plan = plan
        self.pid_file = layout.live / PID_FILE
        self.admin = Admin(layout.router)
        self.log = layout.attempts_log
        self.attempts, self.start = Attempts(self.log), ""
        self.usage = Usage(instances)

    lag = 0.0

    def sample(self) -> Sample:
        """One question to the admin socket; a restarted Envoy gives its series a new start.

        Without its counters Unavailable is raised; without its log only latency and business are None.
        """
        start = self._start()
        if start != self.start:
            self.attempts, self.start = Attempts(self.log), start
        counts = self._counts()
        logged = self._logged(counts)
        used = self.usage.read()

        def series(cluster: str, address: str, good: int, bad: int) -> Series:
            tally = self.attempts.of(f"{cluster} {address}", good + bad) if logged else None
            latency, business = (tuple(sorted(tally.latency.items())), tally.business) if tally else (None, None)
            return Series(address, start, good, bad, latency, business, *used.get(address, (None, None)))

        def arm_of(service: str, arm: Arm) -> tuple[Series, ...]:
            cluster = f"{service}__{arm}"
            return tuple(series(cluster, address, *both) for address, both in counts[cluster].items())

        return Sample({s.name: {arm: arm_of(s.name, arm) for arm in Arm} for s in self.plan.routed})

    def _counts(self) -> Counts:
        try:
            found = {row["name"]: row for row in self.admin.json("/clusters?format=json")["cluster_statuses"]}
        except (ValueError, KeyError) as error:
            raise Unavailable(f"the router's counters cannot be read ({error})") from error
        names = [f"{service.name}__{arm}" for service in self.plan.routed for arm in Arm]
        return {name: hosts(found.get(name, {})) for name in names}

    def _logged(self, counts: Counts) -> bool:
        try:
            self.attempts.read(f"{cluster} {address}" for cluster, found in counts.items() for address in found)
        except Unavailable:
            return False
        return True

    def _start(self) -> str:
        try:
            record = json.loads(self.pid_file.read_bytes())
        except FileNotFoundError as error:
            raise Unavailable("the router does not run") from error
        return f"{record['pid']}@{record['started']:.2f}"


def hosts(cluster: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(good, bad) of each endpoint. A counter at zero has no value in Envoy's JSON."""
    found = {}
    for host in cluster.get("host_statuses", ()):
        address = host["address"]["socket_address"]
        counts = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
        name = f"{address['address']}:{address['port_value']}"
        found[name] = counts.get("rq_success", 0), counts.get("rq_error", 0)
    return found
