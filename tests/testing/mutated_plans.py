"""Plans that were damaged by chance, and what reading them gives. The same seed gives the same plan in every version.

    python tests/testing/mutated_plans.py FIRST COUNT > outcomes.jsonl

prints one line for each seed: the plan that was read, or the place of every fault. Run it with two versions
of the library on the path: `diff` shows the plans that they read differently.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections.abc import Callable
from typing import Any

import yaml

from onlyvips_release import planmodel
from onlyvips_release.codec import encode


class _Loader(yaml.SafeLoader):
    """Tells only booleans from text, as the reader of plans does."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), ["t", "f"])

BASE = """\
version: 1
platform: shop
target: embedded
router: {listen: "127.0.0.1:18000", sticky: ["header:x-user-id", "cookie:ov_uid"]}
services:
  api:
    timeout: 10s
    per_try_timeout: 3s
    traffic: 40
    business: ["POST /api/tasks/complete"]
    health: {path: /h, within: 20s}
    identity: {header: x-app-revision}
    process: {ports: [18110, 18111], drain: 5s, env_from: [KEY], cwd: app}
    stable: {revision: v1, command: [python, -m, app, "{port}"], env: {A: b}}
    canary: {revision: v2, command: [python, -m, app2, "{port}"]}
  web:
    host: "web.*"
    external: true
    stable: {revision: "41", url: "http://127.0.0.1:9001"}
    canary: {revision: "42", url: "http://127.0.0.1:9002"}
  bot:
    routed: false
    process: {env_from: [TOKEN]}
    canary: {revision: v2, command: [python, -m, bot], env: {B: c}}
steps: [{weight: 10, bake: 5m}, {weight: 50, bake: 1h30m, approve: true}]
patience: 1m
on_inconclusive: pause
accept: proof
watch: 5m
lease: 15s
checks:
  smoke: {path: smoke, deadline: 2m, min_passed: 3, required: [a, b], gate: minor, deselect: false}
  canary: {path: canary, every: 1m, deadline: 30s}
judge:
  alpha: 0.01
  beta: 0.1
  tick: 1s
  errors: {tolerated: {factor: 1.2, plus: 0.001}, never_accept: {factor: 1.5, plus: 0.01}}
  slo: {errors: 0.05, slower_than: off, share: 0.02}
  slower: 0.2
  volume: off
  traffic_share: 0.7
  cpu: {more: 0.3, most: 2}
  memory: {most: 512MB}
  block: 30s
  warm_up: 1m
"""
TREE = json.dumps(yaml.load(BASE, _Loader))
WORDS: tuple[Any, ...] = (
    None, True, False, "", " ", "off", "on", "0", "1", "-1", "2", "99", "100", "101", "10.5", "0.05", ".5", "1e3",
    "nan", "1_0", "18110", "70000", "0s", "1s", "5m", "32d", "1h30m", "5", "v1", "v2", "41", "a b", "A", "é", "x" *
    200, "{port}", "/x", "x/", "GET /", "GET x", "http://a:1", "http://a/x", "web.*", "*.web", "header:x",
    "cookie:", "client", "embedded", "docker", "proof", "rollback", "continue", "blocker", "1GB", "127.0.0.1:18110",
    "localhost:80", "PATH", "A=b", [], {}, ["x"], ["x", "{port}"], {"a": "b"}, [None], {"port": None}, [[1]],
    {"path": "/"}, {"more": "0.5"},
)  # fmt: skip
KEYS = (
    "version", "platform", "target", "router", "listen", "sticky", "services", "api", "web", "host", "timeout",
    "health", "path", "within", "identity", "header", "json", "process", "ports", "drain", "env_from", "cwd",
    "external", "routed", "traffic", "business", "stable", "canary", "revision", "command", "env", "url", "image",
    "steps", "weight", "bake", "approve", "patience", "accept", "watch", "lease", "checks", "smoke", "every",
    "gate", "judge", "slo", "share", "cpu", "memory", "more", "most", "notify", "docker", "deployment", "wieght",
    "helth", "x",
)  # fmt: skip


def mutated(seed: int) -> Any:
    """The tree of a plan with one to four changes."""
    chance, tree = random.Random(seed), json.loads(TREE)
    for _ in range(chance.randint(1, 4)):
        found = places(tree)
        if found:
            chance.choice(CHANGES)(chance, tree, *chance.choice(found))
    return tree


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Each mapping or list with each of its keys."""
    if not isinstance(tree, dict | list):
        return []
    here = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    return [(tree, key) for key in here] + [place for key in here for place in places(tree[key])]


def _remove(chance: random.Random, tree: Any, holder: Any, key: Any) -> None:
    del holder[key]


def _replace(chance: random.Random, tree: Any, holder: Any, key: Any) -> None:
    holder[key] = json.loads(json.dumps(chance.choice(WORDS)))


def _move(chance: random.Random, tree: Any, holder: Any, key: Any) -> None:
    """A copy of another part of the plan."""
    other, there = chance.choice(places(tree))
    holder[key] = json.loads(json.dumps(other[there]))


def _add(chance: random.Random, tree: Any, holder: Any, key: Any) -> None:
    """One more key, with a value that stands somewhere else or makes no sense."""
    if isinstance(holder, dict):
        _replace(chance, tree, holder, chance.choice(KEYS))
    else:
        holder.append(json.loads(json.dumps(chance.choice(WORDS))))


def _rename(chance: random.Random, tree: Any, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[chance.choice(KEYS)] = holder.pop(key)


CHANGES: tuple[Callable[[random.Random, Any, Any, Any], None], ...] = (
    _remove,
    _replace,
    _replace,
    _move,
    _add,
    _rename,
)


def outcome(tree: Any) -> dict[str, Any]:
    """What reading the tree gives, in a form that no version changes: a digest of the plan, or the place of each fault.

    Where a place stands in a file, its line and column, follows from it alone.
    """
    try:
        plan = encode(planmodel.read(tree))
    except planmodel.Faults as error:
        return {"faults": sorted({json.dumps([fault.loc, fault.at_key]) for fault in error.faults})}
    for service in plan["services"]:
        runs = service.pop("runs", None)
        if runs:
            service["process"] = {name: value for name, value in runs.items() if name != "kind"} or None
        for revision in (service["stable"], service["canary"]):
            for name in ("image", "health"):
                (revision or {}).pop(name, None)
    plan.pop("engine", None)
    return {"plan": hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]}


def main(first: int, count: int) -> None:
    """Print the outcomes."""
    for seed in range(first, first + count):
        print(json.dumps({"seed": seed, **outcome(mutated(seed))}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
