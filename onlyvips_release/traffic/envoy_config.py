"""Envoy's files as pure functions of the plan: bootstrap, routes (`rds.json`), endpoints (one EDS file per arm).

Per service five clusters, so that counters are apart by construction:

    <service>__stable, __canary          users' first attempts: what the judge counts
    <service>__retry                     stable's endpoints again: where a failed attempt goes
    <service>__pin-stable, __pin-canary  test traffic: no retry, no fallback, never judged
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from onlyvips_release.clients import attempt_log
from onlyvips_release.clients.envoy_admin import SOCKET
from onlyvips_release.core.model import Arm, Endpoint, Percent
from onlyvips_release.core.plan import ReleasePlan, Service
from onlyvips_release.state.layout import ROUTES_FILE

TYPES = "type.googleapis.com/envoy."
TOTAL = 10_000
"""Weights are out of this: a tenth of a percent is 10."""

LEGS = {
    "stable": Arm.STABLE,
    "canary": Arm.CANARY,
    "retry": Arm.STABLE,
    "pin-stable": Arm.STABLE,
    "pin-canary": Arm.CANARY,
}
PIN = "x-onlyvips-pin"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE_AGE = 30 * 24 * 3600

Json = dict[str, Any]


def typed(name: str, **fields: Any) -> Json:
    """A typed_config."""
    return {"@type": TYPES + name, **fields}


def dumped(value: Json) -> bytes:
    """As Envoy reads it."""
    return json.dumps(value, separators=(",", ":")).encode()


# --- bootstrap: never changes while Envoy runs ------------------------------------------------------------------------


def bootstrap(plan: ReleasePlan, folder: Path, socket_folder: Path) -> Json:
    """`folder` holds the files that Envoy watches; `socket_folder` leads to it by a path short enough for a socket."""
    return {
        "node": {"id": "onlyvips-router", "cluster": "onlyvips"},
        "admin": {"address": {"pipe": {"path": str(socket_folder / SOCKET), "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": typed(
                        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        max_active_downstream_connections=TOTAL,
                    ),
                }
            ]
        },
        "static_resources": {
            "listeners": [listener(plan, folder)],
            "clusters": [cluster(service, leg, folder) for service in plan.routed for leg in LEGS],
        },
    }


def listener(plan: ReleasePlan, folder: Path) -> Json:
    """Where users come in."""
    host, port = plan.listen
    manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="ingress",
        use_remote_address=True,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        rds={"route_config_name": "main", "config_source": watched(folder, ROUTES_FILE)},
        http_filters=[
            {
                "name": "envoy.filters.http.router",
                "typed_config": typed(
                    "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True, upstream_log=[attempts()]
                ),
            }
        ],
    )
    return {
        "name": "ingress",
        "enable_reuse_port": False,
        "address": {"socket_address": {"address": host, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def attempts() -> Json:
    """One line per attempt on standard output, from where a log pump takes it."""
    form = {"text_format_source": {"inline_string": attempt_log.FORMAT}}
    return {
        "name": "attempts",
        "typed_config": typed("extensions.access_loggers.stream.v3.StdoutAccessLog", log_format=form),
    }


def cluster(service: Service, leg: str, folder: Path) -> Json:
    """One leg. No outlier detection and no health check: an arm is emptied only at weight 0."""
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": "4s"},
        explicit_http_config={"http_protocol_options": {}},
    )
    limits = {"max_connections": TOTAL, "max_pending_requests": TOTAL, "max_requests": TOTAL, "max_retries": 1000}
    arm = LEGS[leg]
    return {
        "name": f"{service.name}__{leg}",
        "type": "EDS",
        "connect_timeout": "0.25s",
        "eds_cluster_config": {
            "service_name": f"{service.name}.{arm}",
            "eds_config": watched(folder, endpoints_file(service.name, arm)),
        },
        "common_lb_config": {"update_merge_window": "0s"},
        "circuit_breakers": {"thresholds": [limits]},
        "track_cluster_stats": {"per_endpoint_stats": True},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def watched(folder: Path, name: str) -> Json:
    """A file that Envoy reads again after each rename in its folder."""
    source = {"path": str(folder / name), "watched_directory": {"path": str(folder)}}
    return {"resource_api_version": "V3", "path_config_source": source}


# --- endpoints --------------------------------------------------------------------------------------------------------


def endpoints_file(service: str, arm: Arm) -> str:
    """Name of the file of one arm."""
    return f"eds.{service}.{arm}.json"


def endpoints(service: str, arm: Arm, where: Sequence[Endpoint], version: str) -> Json:
    """One arm's instances; the metadata of the one that answers becomes the response headers."""
    found = [
        {
            "endpoint": {"address": {"socket_address": {"address": e.host, "port_value": e.port}}},
            "metadata": {"filter_metadata": {"onlyvips": {"arm": str(arm), "revision": e.revision}}},
        }
        for e in where
    ]
    resource = {
        "@type": TYPES + "config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": f"{service}.{arm}",
        "endpoints": [{"lb_endpoints": found}] if found else [],
    }
    return {"version_info": version, "resources": [resource]}


def written(file: Json) -> list[Endpoint]:
    """The instances that an endpoints file names; the opposite of `endpoints`."""
    found = []
    for group in (file.get("resources") or [{}])[0].get("endpoints", ()):
        for one in group["lb_endpoints"]:
            address = one["endpoint"]["address"]["socket_address"]
            revision = one["metadata"]["filter_metadata"]["onlyvips"]["revision"]
            found.append(Endpoint(address["address"], address["port_value"], revision))
    return found


# --- routes -----------------------------------------------------------------------------------------------------------


def routes(plan: ReleasePlan, weight: Percent, version: str, release: str = "", token: str = "") -> Json:
    """Who goes where. `token` "" = no pins; `release` turns the ring, so that not the same users go first each time."""
    hosts = [virtual_host(plan, service, weight, release, token) for service in plan.routed]
    resource = {
        "@type": TYPES + "config.route.v3.RouteConfiguration",
        "name": "main",
        "validate_clusters": True,
        "ignore_port_in_host_matching": True,
        "virtual_hosts": hosts,
    }
    return {"version_info": version, "resources": [resource]}


def routed(file: Json) -> set[str]:
    """The services that a routes file names."""
    return {host["name"] for resource in file.get("resources", ()) for host in resource.get("virtual_hosts", ())}


def virtual_host(plan: ReleasePlan, service: Service, weight: Percent, release: str, token: str) -> Json:
    """One service: pins first, then users without a cookie yet, then all others."""
    pins = [pin_route(service, arm, token) for arm in Arm] if token else []
    kinds = [*(call.split(" ") for call in service.business_calls), ("GET|HEAD|OPTIONS", ""), ("", "")]
    users = [user_route(plan, service, weight, release, methods, path) for methods, path in kinds]
    cookie = next((rule.removeprefix("cookie:") for rule in plan.sticky if rule.startswith("cookie:")), "")
    fresh = [with_new_cookie(route, cookie, plan.sticky) for route in users] if cookie else []
    headers = [("x-onlyvips-arm", "arm"), ("x-onlyvips-revision", "revision")]
    return {
        "name": service.name,
        "domains": [service.host or "*"],
        "request_headers_to_remove": [PIN],
        "response_headers_to_add": [
            added(name, f"%UPSTREAM_METADATA(onlyvips:{key})%", "OVERWRITE_IF_EXISTS_OR_ADD") for name, key in headers
        ],
        "routes": [*pins, *fresh, *users],
    }


def added(name: str, value: str, action: str) -> Json:
    """A response header."""
    return {"header": {"key": name, "value": value}, "append_action": action}


def pin_route(service: Service, arm: Arm, token: str) -> Json:
    """Test traffic sees the raw arm: no retry, no fallback, counters of its own."""
    exact = {"name": PIN, "string_match": {"exact": f"{arm}-{token}"}}
    return {
        "name": f"pin-{arm}",
        "match": {"prefix": "/", "headers": [exact]},
        "route": {"cluster": f"{service.name}__pin-{arm}", "timeout": seconds(service.timeout)},
    }


def user_route(plan: ReleasePlan, service: Service, weight: Percent, release: str, methods: str, path: str) -> Json:
    """Users: the weighted arms, then the fallback. What may be repeated is; a POST only when nothing was sent.

    `methods`: GET|HEAD, "" = any. `path` "" = any, else of business calls, which are counted by their route.
    """
    safe = bool(methods) and SAFE.issuperset(methods.split("|"))
    retry = {
        "retry_on": "5xx,reset,connect-failure,refused-stream"
        if safe
        else "connect-failure,refused-stream,reset-before-request",
        "num_retries": 1,
        "refresh_cluster_on_retry": True,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
    }
    if safe:
        retry["per_try_timeout"] = seconds(service.per_try_timeout)
    groups = [
        {"name": "users", "clusters": entries(service.name, weight, offset(release) if plan.sticky else 0)},
        {"name": "fallback", "clusters": [{"cluster_name": f"{service.name}__retry", "weight": 1}]},
    ]
    specifier = typed(
        "extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
        use_hash_policy=bool(plan.sticky),
        priority_groups=groups,
    )
    action: Json = {
        "timeout": seconds(service.timeout),
        "retry_policy": retry,
        "inline_cluster_specifier_plugin": {"extension": {"name": "priority-group", "typed_config": specifier}},
    }
    if plan.sticky:
        action["hash_policy"] = [
            *(hash_rule(rule) for rule in plan.sticky),
            {"header": {"header_name": "x-request-id"}},
        ]
    headers = [{"name": ":method", "string_match": {"safe_regex": {"regex": methods}}}] if methods else []
    where = {"safe_regex": {"regex": pattern(path)}} if path else {"prefix": "/"}
    name = attempt_log.BUSINESS.decode() if path else "users-safe" if safe else "users-unsafe"
    return {"name": name, "match": {**where, "headers": headers}, "route": action}


def pattern(path: str) -> str:
    """A path of the plan as a regular expression over the path without its query: `*` and `{name}` are one segment."""
    return "/".join("[^/]+" if part[:1] in ("*", "{") else re.escape(part) for part in path.split("/"))


def hash_rule(rule: str) -> Json:
    """One way to know a user again; the first that applies counts."""
    kind, _, name = rule.partition(":")
    match kind:
        case "header":
            return {"header": {"header_name": name}, "terminal": True}
        case "cookie":
            return {"cookie": {"name": name}, "terminal": True}
        case _:
            return {"connection_properties": {"source_ip": True}, "terminal": True}


def with_new_cookie(route: Json, cookie: str, sticky: Sequence[str]) -> Json:
    """The same for users that cannot be known again yet: they are given the cookie."""
    absent = [
        {"name": rule.removeprefix("header:"), "present_match": False} for rule in sticky if rule.startswith("header:")
    ]
    no_cookie = {
        "name": "cookie",
        "string_match": {"contains": f"{cookie}="},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }
    headers = [*route["match"]["headers"], no_cookie, *absent]
    value = f"{cookie}=%REQ(x-request-id)%; Path=/; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax"
    return {
        **route,
        "name": route["name"] + "-new",
        "match": {**route["match"], "headers": headers},
        "response_headers_to_add": [added("set-cookie", value, "APPEND_IF_EXISTS_OR_ADD")],
    }


def entries(service: str, weight: Percent, start: int) -> list[Json]:
    """The canary's arc of the ring begins at `start` and only grows with the weight: nobody leaves it on a step up."""
    stable, canary, arc = f"{service}__stable", f"{service}__canary", round(weight * TOTAL / 100)
    end = start + arc
    if end <= TOTAL:
        parts = [(stable, start), (canary, arc), (stable, TOTAL - end)]
    else:
        parts = [(canary, end - TOTAL), (stable, TOTAL - arc), (canary, TOTAL - start)]
    return [{"cluster_name": name, "weight": share} for name, share in parts if share]


def offset(release: str) -> int:
    """0 <= offset < TOTAL, the same for all steps of a release."""
    return int.from_bytes(hashlib.sha256(release.encode()).digest()[:4]) % TOTAL


def seconds(span: timedelta) -> str:
    """A protobuf duration."""
    return f"{span.total_seconds():g}s"
