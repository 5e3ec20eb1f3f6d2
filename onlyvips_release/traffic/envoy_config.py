"""Envoy's three kinds of files, as pure functions of the plan: no clock, no disk, no state.

    envoy.json                    bootstrap: listener, admin socket, five EDS clusters per service; fixed while Envoy runs
    rds.json                      routes: weights, retries, pins, stickiness; one write = one shift
    eds.<service>.<arm>.json      which instances an arm is; exactly one resource per file, or Envoy refuses it

Five clusters per service keep three kinds of requests apart *by construction*: `__stable` and `__canary` carry
users' first attempts and nothing else (their host counters are what the judge reads), `__retry` their second
attempts, `__pin-*` our own tests. Facts measured with Envoy 1.40 stand beside the line that needs them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from onlyvips_release.model import Arm, Endpoint
from onlyvips_release.plan import ReleasePlan, Service

Json = dict[str, Any]

PIN_HEADER = "x-onlyvips-pin"
TOTAL = 10_000
"""Parts that a weight is counted in: constant, because a user's bucket is `hash mod TOTAL`."""

_TYPE = "type.googleapis.com/envoy."
_LEGS = {"stable": Arm.STABLE, "canary": Arm.CANARY, "retry": Arm.STABLE, "pin-stable": Arm.STABLE, "pin-canary": Arm.CANARY}
_SAFE = "5xx,reset,connect-failure,refused-stream"
_UNSAFE = "connect-failure,refused-stream,reset-before-request"
_VERSION = re.compile(r"(?P<release>.+)\.(?P<serial>\d+)\.w(?P<weight>\d{1,3})\.(?P<digest>[0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class Routing:
    """What the routes express: canary's `weight` in percent, the `release` (seed of the sticky offset), its `token`.

    No release and no token = the route as it is between releases.
    """

    weight: int = 0
    release: str = ""
    token: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 100:
            raise ValueError(f"weight {self.weight} is not a percent in 0..100")


def leg(service: str, name: str) -> str:
    """Name of a cluster. No dots: they would break Envoy's Prometheus labels."""
    return f"{service}__{name}"


def eds_name(service: str, arm: Arm) -> str:
    """File of an arm's endpoints, inside live/router/."""
    return f"eds.{service}.{arm}.json"


# --- bootstrap


def bootstrap(plan: ReleasePlan, folder: Path, admin_socket: Path) -> Json:
    """Everything that stays fixed while Envoy runs. `folder` is live/router/, absolute.

    No `node.id`: it is given on the command line. `enable_reuse_port: false`: with Envoy's default a second process
    starts happily and takes half of the connections.
    """
    clusters = [_cluster(s.name, name, arm, folder) for s in plan.routed for name, arm in _LEGS.items()]
    return {
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "stats_flush_on_admin": True,
        "stats_config": _stats(),
        "overload_manager": {"resource_monitors": [_connection_limit()]},
        "static_resources": {"listeners": [_listener(plan.listen, folder)], "clusters": clusters},
    }


def _stats() -> Json:
    buckets = [5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 5000, 15000]
    return {
        "stats_tags": [
            {"tag_name": "ov_service", "regex": r"^cluster\.((.+?)__[a-z-]+\.)"},
            {"tag_name": "ov_leg", "regex": r"^cluster\.((?:.+?)__([a-z-]+)\.)"},
        ],
        "histogram_bucket_settings": [{"match": {"suffix": "upstream_rq_time"}, "buckets": buckets}],
    }


def _connection_limit() -> Json:
    kind = _TYPE + "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": kind, "max_active_downstream_connections": 10_000}
    return {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": config}


def _listener(listen: tuple[str, int], folder: Path) -> Json:
    router = {"@type": _TYPE + "extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    manager = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "use_remote_address": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "rds": {"route_config_name": "main", "config_source": _source(folder / "rds.json")},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return {
        "name": "ingress",
        "enable_reuse_port": False,
        "address": _address(*listen),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def _source(path: Path) -> Json:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _cluster(service: str, name: str, arm: Arm, folder: Path) -> Json:
    """No outlier detection, no health check: a leg without a usable host answers 503, and that is not retried.

    `idle_timeout` stays below the upstream's keep-alive (uvicorn: 5 s); `max_retries` 3, the default, fails users.
    """
    protocol = _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": protocol,
        "common_http_protocol_options": {"idle_timeout": "4s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    limits = {"max_connections": 10_000, "max_pending_requests": 10_000, "max_requests": 10_000, "max_retries": 1000}
    return {
        "name": leg(service, name),
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": f"{service}.{arm}",
            "eds_config": _source(folder / eds_name(service, arm)),
        },
        "connect_timeout": "0.25s",
        "circuit_breakers": {"thresholds": [limits]},
        "common_lb_config": {"update_merge_window": "0s"},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


# --- endpoints


def endpoints(service: str, arm: Arm, hosts: Iterable[tuple[Endpoint, str]]) -> Json:
    """The one resource of an EDS file. Each host comes with its `since`: a name for when it joined the arm.

    `since` travels as the host's name to `/clusters`, beside the counters: it changes when they begin anew.
    """
    return {
        "resources": [
            {
                "@type": _TYPE + "config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": f"{service}.{arm}",
                "endpoints": [{"lb_endpoints": [_host(arm, endpoint, since) for endpoint, since in hosts]}],
            }
        ]
    }


def _host(arm: Arm, endpoint: Endpoint, since: str) -> Json:
    return {
        "endpoint": {"address": _address(endpoint.host, endpoint.port), "hostname": since},
        "metadata": {"filter_metadata": {"onlyvips": {"arm": str(arm), "revision": endpoint.revision}}},
    }


# --- routes


def routes(plan: ReleasePlan, routing: Routing, empty: Collection[str] = ()) -> Json:
    """The RouteConfiguration. `empty` names the services whose stable arm has no endpoint.

    `validate_clusters`: without it an unknown cluster is accepted and answers 503 to everybody.
    """
    hosts = [_virtual_host(s, plan.sticky, routing, s.name in empty) for s in plan.routed]
    state = {"release": routing.release, "token": routing.token, "weight": routing.weight}
    return {
        "resources": [
            {
                "@type": _TYPE + "config.route.v3.RouteConfiguration",
                "name": "main",
                "validate_clusters": True,
                "ignore_port_in_host_matching": True,
                "metadata": {"filter_metadata": {"onlyvips": state}},
                "virtual_hosts": hosts,
            }
        ]
    }


def _virtual_host(service: Service, sticky: tuple[str, ...], routing: Routing, stable_empty: bool) -> Json:
    users = _users(service, sticky, routing, stable_empty)
    cookie = _cookie_given(sticky)
    strangers = [_with_cookie(route, sticky, cookie) for route in users] if cookie else []
    return {
        "name": service.name,
        "domains": [service.host or "*"],
        "request_headers_to_remove": [PIN_HEADER],
        "response_headers_to_add": [_set_header(f"x-onlyvips-{key}", key) for key in ("arm", "revision")],
        "routes": [*_pins(service, routing.token), *strangers, *users],
    }


def _set_header(name: str, key: str) -> Json:
    """A header from the endpoint that answered: right also after a retry or a fallback."""
    value = f'%UPSTREAM_METADATA(["onlyvips", "{key}"])%'
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _pins(service: Service, token: str) -> list[Json]:
    """First routes, without retry: tests must see the raw arm. A wrong token falls through to the users' routes."""
    if not token:
        return []
    return [
        {
            "name": f"pin-{arm}",
            "match": {"prefix": "/", "headers": [{"name": PIN_HEADER, "string_match": {"exact": f"{arm}-{token}"}}]},
            "route": {"cluster": leg(service.name, f"pin-{arm}"), "timeout": seconds(service.timeout)},
        }
        for arm in Arm
    ]


def _users(service: Service, sticky: tuple[str, ...], routing: Routing, stable_empty: bool) -> list[Json]:
    split: Json = {"timeout": seconds(service.timeout)} | _split(service.name, sticky, routing, stable_empty)
    method = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}
    retry = _retry(_SAFE) | {"per_try_timeout": seconds(service.per_try_timeout)}
    return [
        {"name": "users-safe", "match": {"prefix": "/", "headers": [method]}, "route": split | {"retry_policy": retry}},
        {"name": "users-unsafe", "match": {"prefix": "/"}, "route": split | {"retry_policy": _retry(_UNSAFE)}},
    ]


def _retry(conditions: str) -> Json:
    return {
        "retry_on": conditions,
        "num_retries": 1,
        "refresh_cluster_on_retry": True,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
    }


def _split(service: str, sticky: tuple[str, ...], routing: Routing, stable_empty: bool) -> Json:
    """Group 1 splits first attempts, group 2 takes second ones: to stable's instances, or to canary's if it has none."""
    stable, canary = leg(service, "stable"), leg(service, "canary")
    parts = entries(stable, canary, routing.weight * TOTAL // 100, offset(routing.release))
    fallback = leg(service, "pin-canary" if stable_empty else "retry")
    specifier = {
        "@type": _TYPE + "extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
        "use_hash_policy": bool(sticky),
        "priority_groups": [
            {"name": "users", "clusters": parts},
            {"name": "fallback", "clusters": [{"cluster_name": fallback, "weight": 1}]},
        ],
    }
    plugin = {"inline_cluster_specifier_plugin": {"extension": {"name": "pg", "typed_config": specifier}}}
    return plugin | ({"hash_policy": _hash_policy(sticky)} if sticky else {})


def entries(stable: str, canary: str, weight: int, off: int) -> list[Json]:
    """Group 1: canary holds `weight` buckets of TOTAL beginning at `off`, wrapping round; parts of 0 are left out.

    Growth is monotone: who is in the canary at 5 % is in it at 10 %. `off` is constant within a release, so that
    not the same users go first in every release.
    """
    end = off + weight
    if end <= TOTAL:
        parts = [(stable, off), (canary, weight), (stable, TOTAL - end)]
    else:
        parts = [(canary, end - TOTAL), (stable, TOTAL - weight), (canary, TOTAL - off)]
    return [{"cluster_name": name, "weight": size} for name, size in parts if size]


def offset(release: str) -> int:
    """Where the canary's buckets begin in this release (0 between releases); the same in every process."""
    return int.from_bytes(hashlib.sha256(release.encode()).digest()[:8], "big") % TOTAL if release else 0


# --- stickiness


def _hash_policy(sticky: tuple[str, ...]) -> list[Json]:
    """The first that is present decides; a request with none of them gets a random bucket (its request id)."""
    return [*(_hash(kind) | {"terminal": True} for kind in sticky), {"header": {"header_name": "x-request-id"}}]


def _hash(kind: str) -> Json:
    match kind.partition(":"):
        case ("header", _, name) if name:
            return {"header": {"header_name": name}}
        case ("cookie", _, name) if name:
            return {"cookie": {"name": name}}
        case ("client", _, ""):
            return {"connection_properties": {"source_ip": True}}
    raise ValueError(f"sticky {kind!r} is none of header:NAME, cookie:NAME, client")


def _cookie_given(sticky: tuple[str, ...]) -> str:
    """The cookie that strangers get: the first of the list, unless `client` comes before it and always decides."""
    for kind in sticky:
        if kind == "client":
            return ""
        if kind.startswith("cookie:"):
            return kind.removeprefix("cookie:")
    return ""


def _with_cookie(route: Json, sticky: tuple[str, ...], cookie: str) -> Json:
    """Copy of a users' route for those who bring nothing sticky: hashed by request id, which becomes their cookie."""
    absent = [matcher for kind in sticky for matcher in _absent(kind)]
    headers = [*route["match"].get("headers", []), *absent]
    value = f"{cookie}=%REQ(x-request-id)%; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"
    header = {"header": {"key": "set-cookie", "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
    return route | {
        "name": f"{route['name']}-new",
        "match": {"prefix": "/", "headers": headers},
        "route": route["route"] | {"hash_policy": [{"header": {"header_name": "x-request-id"}}]},
        "response_headers_to_add": [header],
    }


def _absent(kind: str) -> list[Json]:
    """An inverted match never matches an absent header, hence `treat_missing_header_as_empty`."""
    sort, _, name = kind.partition(":")
    if sort == "header":
        return [{"name": name, "present_match": False}]
    if sort == "cookie":
        regex = {"safe_regex": {"regex": rf"(.*;\s*)?{re.escape(name)}=.*"}}
        return [{"name": "cookie", "string_match": regex, "invert_match": True, "treat_missing_header_as_empty": True}]
    return []


# --- versions


@dataclass(frozen=True, slots=True)
class Version:
    """What a `version_info` of ours says. `digest` is of the content, so that a foreign edit shows."""

    release: str
    weight: int
    digest: str


def stamp(document: Json, release: str, serial: int, weight: int) -> tuple[str, bytes]:
    """A version never used before, and the file's bytes under it. `serial` must be new: nanoseconds since 1970."""
    body = json.dumps(document["resources"], separators=(",", ":")).encode()
    version = f"{release or '-'}.{serial}.w{weight}.{_digest(body)}"
    return version, b'{"version_info":%s,\n"resources":%s}\n' % (json.dumps(version).encode(), body)


def parse_version(text: str) -> Version | None:
    """None for a version that is not of our making."""
    found = _VERSION.fullmatch(text)
    if found is None or int(found["weight"]) > 100:
        return None
    release = found["release"]
    return Version("" if release == "-" else release, int(found["weight"]), found["digest"])


def unchanged(data: bytes) -> str:
    """The version of a file that is byte for byte as `stamp` made it, else ""."""
    head, _, tail = data.partition(b',\n"resources":')
    text = head.removeprefix(b'{"version_info":').strip(b'"').decode(errors="replace")
    version = parse_version(text)
    intact = version is not None and tail.endswith(b"}\n") and version.digest == _digest(tail[:-2])
    return text if intact else ""


def routing_of(document: Json) -> Routing:
    """What `routes` was given, read back from its file: a fresh process needs no memory."""
    state = document["resources"][0]["metadata"]["filter_metadata"]["onlyvips"]
    return Routing(int(state["weight"]), state["release"], state["token"])


def hosts_of(document: Json) -> list[tuple[Endpoint, str]]:
    """What `endpoints` was given, read back from its file."""
    found = []
    for host in document["resources"][0]["endpoints"][0]["lb_endpoints"]:
        where = host["endpoint"]["address"]["socket_address"]
        revision = host["metadata"]["filter_metadata"]["onlyvips"]["revision"]
        found.append((Endpoint(where["address"], where["port_value"], revision), host["endpoint"]["hostname"]))
    return found


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:8]


def seconds(duration: timedelta) -> str:
    """A protobuf duration."""
    return f"{duration.total_seconds():.3f}s"
