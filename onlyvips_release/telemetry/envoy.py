"""Users' first attempts, each by its end: from the host counters of Envoy's user clusters, and from its log.

The counters count per attempt, with connect failures and resets, by the head of its answer; 4xx is a success. The log
tells of answers that were cut behind their head, latency and business. Retries and pinned requests run over clusters of
their own and are in neither.
"""

from __future__ import annotations

from typing import Any

from onlyvips_release.clients.envoy_admin import Admin
from onlyvips_release.clients.envoy_process import RECORD, recorded
from onlyvips_release.core.model import Arm, Sample, Series
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.errors import Unavailable
from onlyvips_release.state.layout import Layout
from onlyvips_release.telemetry.attempts import Attempts

Counts = dict[str, dict[str, tuple[int, int, int]]]
"""cluster -> `<host>:<port>` -> (good, bad, under way)."""

NO_INSTANCE = "upstream_cx_none_healthy"
"""The counter of a cluster for requests that found no instance in it: the router answers them with 503."""

NO_ROUTE = "http.ingress.no_route"
"""The counter of requests that belong to no service: the router answers them with 404."""


class EnvoySource:
    """Port Source, over the admin socket and the attempt log of one platform's Envoy."""

    lag = 0.0

    def __init__(self, layout: Layout, plan: ReleasePlan) -> None:
        self.plan, self.record = plan, layout.live / RECORD
        self.admin = Admin(layout.router)
        self.log, self.start = layout.attempts_log, ""
        self.timeouts = {f"{service.name}__{arm}": service.timeout for service in plan.routed for arm in Arm}
        self.attempts = Attempts(self.log, self.timeouts)

    def sample(self) -> Sample:
        """Two questions to the admin socket; a restarted Envoy gives its series a new start.

        Without its counters Unavailable is raised; without its log latency and business are None, and answers that are
        cut behind their head count as good. `lost`: the requests that the router answered itself, because an arm had no
        instance; "" counts those of no service.
        """
        start = self._start()
        if start != self.start:
            self.attempts, self.start = Attempts(self.log, self.timeouts), start
        counts, lost = self._counts(), self._lost()
        logged = self._logged(counts)

        def series(cluster: str, address: str, good: int, bad: int, under_way: int) -> Series:
            endpoint = f"{cluster} {address}"
            tally = self.attempts.of(endpoint, good + bad, under_way)  # also without a log: it knows when counts fell
            tally = tally if logged else None
            latency, business = (tuple(sorted(tally.latency.items())), tally.business) if tally else (None, None)
            good, bad = self.attempts.tallies[endpoint.encode()].ended(good, bad)
            return Series(address, start, good, bad, latency, business)

        def arm_of(service: str, arm: Arm) -> tuple[Series, ...]:
            cluster = f"{service}__{arm}"
            return tuple(series(cluster, address, *counted) for address, counted in counts[cluster].items())

        return Sample({s.name: {arm: arm_of(s.name, arm) for arm in Arm} for s in self.plan.routed}, lost)

    def _counts(self) -> Counts:
        try:
            statuses = {row["name"]: row for row in self.admin.json("/clusters?format=json")["cluster_statuses"]}
        except (ValueError, KeyError) as error:
            raise Unavailable(f"the router's counters cannot be read ({error})") from error
        names = [f"{service.name}__{arm}" for service in self.plan.routed for arm in Arm]
        return {name: hosts(statuses.get(name, {})) for name in names}

    def _lost(self) -> dict[str, int]:
        """Of users' clusters only: a retry that finds no instance is an attempt that an arm has failed already."""
        stats = self.admin.stats(f"^(cluster\\.[^.]+__({'|'.join(Arm)})\\.{NO_INSTANCE}|{NO_ROUTE})$")
        clusters = {s.name: [f"cluster.{s.name}__{arm}.{NO_INSTANCE}" for arm in Arm] for s in self.plan.routed}
        lost = {name: sum(int(stats.get(key, 0)) for key in keys) for name, keys in clusters.items()}
        return {**lost, "": int(stats.get(NO_ROUTE, 0))}

    def _logged(self, counts: Counts) -> bool:
        try:
            self.attempts.read(f"{cluster} {address}" for cluster, found in counts.items() for address in found)
        except Unavailable:
            return False
        return True

    def _start(self) -> str:
        envoy = recorded(self.record)
        if not envoy.pid:
            raise Unavailable("the router does not run")
        return f"{envoy.pid}@{envoy.started:.2f}"


def hosts(cluster: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """(good, bad, under way) of each endpoint. A counter at zero has no value in Envoy's JSON."""
    found = {}
    for host in cluster.get("host_statuses", ()):
        address = host["address"]["socket_address"]
        counts = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
        name = f"{address['address']}:{address['port_value']}"
        found[name] = counts.get("rq_success", 0), counts.get("rq_error", 0), counts.get("rq_active", 0)
    return found
