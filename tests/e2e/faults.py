"""What finds each fault of the sandbox, and after how long: the rows of docs/faults.md.

`python -m tests.e2e.faults` (`make long`, two minutes) measures all of them and writes the table, three ways: the smoke
suite against the faulty service; the judge on simulated time; a real release. `--checks` prints the first kind alone.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Series, Verdict
from onlyvips_release.sandbox import backend, front
from onlyvips_release.sandbox.demo import free_ports
from onlyvips_release.sandbox.faults import TABLE, Faults, spoil
from onlyvips_release.sandbox.mix import API, default_mix
from tests.core.judge.test_kinds import Arms, release
from tests.suites.mutations import Mutation, run
from tests.testing.platform_rig import ROOT, Rig
from tests.testing.suite_box import SECRET, Box, box

DOC = ROOT / "docs" / "faults.md"
BACKEND, FRONT, BOT = "backend-api", "miniapp", "flirt-bot"

CHECKED = (
    (BACKEND, "error_as_200=1", "entry_is_found_by_its_id[backend-api-content]"),
    (BACKEND, "lost_header=1", "badges_are_shown[backend-api]"),
    (BACKEND, "no_signin=1", "user_is_who_he_is[backend-api]"),
    (BACKEND, "auth_open=1", "without_token_it_is_refused[backend-api-me]"),
    (BACKEND, "lost_field=1", "list_of_tasks_says_success[backend-api]"),
    (BACKEND, "changed_type=1", "every_task_has_its_fields[backend-api-number]"),
    (BACKEND, "business_loss=1", "completed_task_waits[backend-api]"),
    (FRONT, "asset_404=1", "named_files_are_there[miniapp-js]"),
)
"""Faults that a check sees before any user does, and the check that says it best: it must turn red."""
SIMULATED = (
    "errors=0.02", "error_methods=POST errors=0.1", "errors_after=60 errors=0.02", "hang=0.02", "reset=0.02",
    "latency_ms=40", "latency_share=0.05 latency_ms=600", "business_refused=0.5",
)  # fmt: skip
"""Faults of backend-api that only counting finds."""
REAL = (
    (BACKEND, "exit_at_start=1"), (BACKEND, "never_ready=1"), (BACKEND, "not_listening=1"),
    (BACKEND, "close_listener=1"), (BACKEND, "crash_after=1"), (BACKEND, "crash_after_requests=20"),
    (BACKEND, "leak_mb_per_s=40"), (BACKEND, "cpu_burn=0.9"), (BOT, "bot_exit_after=3"), (BOT, "bot_silent=1"),
)  # fmt: skip
"""Faults of a process."""
LATER = ("close_listener", "crash_after")
"""Switched on when the canary gets its users."""
TIMEOUT = 15.0
"""The plan's default for a request: the router counts one that hangs when it gives it up, here or earlier."""
WITHIN = 3
"""Seconds in which a service must be ready in the real releases (the plan's default: 30)."""


@dataclass(frozen=True)
class Row:
    """`faults` as `name=value ...`, the first is the row's own; `by` is empty when nothing found it."""

    faults: str
    by: str = ""
    when: str = ""
    sentence: str = ""

    @property
    def name(self) -> str:
        """Of the fault."""
        return self.faults.partition("=")[0]


def switched(service: str, faults: str) -> Faults:
    """As the service itself reads them."""
    return Faults(service, dict(fault.split("=") for fault in faults.split()))


# --- by a check -------------------------------------------------------------------------------------------------------


def by_checks() -> list[Row]:
    """The smoke suite, pinned to a canary with the fault; in a process that runs no pytest of its own."""
    with tempfile.TemporaryDirectory(prefix="onlyvips-faults-") as folder, box(Path(folder)) as found:
        assert not run(found, None, "smoke_tests").red
        rows = []
        for service, faults, check in CHECKED:
            title = run(found, faulty(service, faults), "smoke_tests").titles.get(check)
            rows.append(Row(faults, f"smoke check `{check}`", "before any traffic", title) if title else Row(faults))
        return rows


def faulty(service: str, faults: str) -> Mutation:
    """The box with this canary."""
    return Mutation(faults, service, around=lambda found, _: put(found, service, faults))


def put(found: Box, service: str, faults: str) -> None:
    """The real application with the fault, as the canary of the box."""
    on = switched(service, faults)
    if service == BACKEND:
        answer, is_health = backend.Backend(on, SECRET, "test").answer, backend.is_health
    else:
        answer, is_health = front.Front(service, on).answer, front.is_health
    found.arms[service, "canary"] = SimpleNamespace(answer=spoil(answer, on, is_health))  # type: ignore[assignment]


# --- by the judge, on simulated time ----------------------------------------------------------------------------------


class Faulty(Arms):
    """Two equal arms, until the canary differs as the router would count these faults."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(1)
        of_api = [call for call in default_mix() if call.host == API]
        posts = sum(c.weight for c in of_api if c.method == "POST") / sum(c.weight for c in of_api)
        part = posts if faults.on("error_methods") else 1.0
        healthy, number = self.now[Arm.STABLE], faults.number
        self.then = {
            "errors": healthy["errors"] + part * number("errors") + number("hang") + number("reset"),
            "business": healthy["business"] * (1 - number("business_refused")),
            "late": number("latency_ms"),
            "late_share": number("latency_share") or 1.0,
        }
        self.since = number("errors_after") + (TIMEOUT if faults.on("hang") else 0)

    def tick(self, dt: float) -> dict[str, dict[Arm, tuple[Series, ...]]]:
        """Counters after another tick."""
        if self.time >= self.since:
            self.now[Arm.CANARY].update(self.then)
        return super().tick(dt)


def by_judge(faults: str) -> Row:
    """100 requests a second, a tenth on the canary, a tick of 2 s, no history."""
    _, word, after = release(Faulty(switched(BACKEND, faults)))
    said = word.sentence.partition(" Were it")[0]
    found = Row(faults, f"judge `{word.reason}`", f"after {after:g} s of simulated bake", said)
    return found if word.verdict is Verdict.FAIL else Row(faults)


# --- in a real release ------------------------------------------------------------------------------------------------


def by_release(rig: Rig, revision: str, service: str, faults: str) -> Row:
    """A release to `revision` with the fault, half of 200 requests a second, absolute limits for the gauges."""
    name, (control,) = faults.partition("=")[0], free_ports(["control"]).values()
    words = (f"--control {control}",) if name in LATER else tuple(faults.split())
    plan = rig.plan(
        revision, {service: words}, steps=[{"weight": 50, "bake": "2s" if service == BOT else "30s"}],
        accept="no_evidence_of_harm", patience="0s", watch="8s",
        judge={"block": "4s", "warm_up": "2s", "cpu": {"most": 0.4}, "memory": {"most": "150MB"}},
    )  # fmt: skip
    if name == "bot_silent":
        plan["checks"]["smoke"]["path"] = str(ROOT / "smoke_tests")
    plan["services"][BACKEND]["health"]["within"] = f"{WITHIN}s"
    plan["services"][BACKEND]["process"]["drain"] = "1s"
    journal: list[events.Event] = []
    begun, when, ended = time.monotonic(), "before any traffic, after {:.0f} s", 0.0

    def heard(event: events.Event, _: Release) -> None:
        nonlocal begun, when, ended
        journal.append(event)
        if isinstance(event, events.Shifted) and event.weight and not ended:
            begun, when = time.monotonic(), f"after {{:.0f}} s at {event.weight} %"
            if name in LATER and event.weight == 50:
                body = json.dumps(switched(service, faults).values).encode()
                url = f"http://127.0.0.1:{control}/faults"
                urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=5).close()
        elif isinstance(event, events.RollbackStarted) and not ended:
            ended = time.monotonic()

    rig.platform(plan).run(heard)
    by, sentence = finder(journal)
    return Row(faults, by, when.format(ended - begun), sentence)


def finder(journal: list[events.Event]) -> tuple[str, str]:
    """Who made the release turn back, and its sentence; empty when nobody did."""
    cause = next((e.cause for e in journal if isinstance(e, events.RollbackStarted)), "")
    judged = [e for e in journal if isinstance(e, events.Judged) and e.final and e.verdict is Verdict.FAIL]
    failed = [name for e in journal if isinstance(e, events.SuiteRan) for name in e.result.failed]
    told = re.sub(r" \(pid [^)]*\)| on port \d+|; its last words.*", "", judged[-1].sentence if judged else cause)
    if judged:
        return "hard gate" if judged[-1].reason == "hard_gate" else f"judge `{judged[-1].reason}`", told
    if failed:
        return f"smoke check `{failed[0].rpartition('::')[2].removeprefix('test_')}`", told
    if any(isinstance(e, events.Promoted) for e in journal) and cause:
        return "hard gate after promotion", told
    return ("readiness", told) if "ready" in cause or "exited" in cause else ("", told)


def by_releases() -> list[Row]:
    """All of REAL, one after the other on one platform."""
    with Rig((BACKEND, BOT)) as rig:
        rig.up()
        with rig.load(200):
            return [by_release(rig, f"v{number}", *one) for number, one in enumerate(REAL, 2)]


# --- the table --------------------------------------------------------------------------------------------------------


HEAD = f"""# What finds each fault of the sandbox

Made by `python -m tests.e2e.faults` (`make long`). `before any traffic` and a check: the smoke suite on the canary,
pinned. Simulated bake: the judge alone, at 100 requests/s, 10 % on the canary, a tick of 2 s, no history, with the
faults as the router counts them (a hang after {TIMEOUT:g} s, the longest attempt); the smoke suite would meet some of
these shares sooner (2 of its checks turn red at `errors=0.02`). The rest are real releases: 200 requests/s, 50 %,
`health.within: {WITHIN}s`, `memory.most: 150MB`, `cpu.most: 0.4`; their seconds are those of the last run.

| Fault | Values | Found by | When | What is said |
|---|---|---|---|---|
"""


def table(rows: list[Row]) -> str:
    """docs/faults.md."""
    order = list(TABLE)
    lines = [
        f"| {row.name} | `{row.faults}` | {row.by} | {row.when} | {row.sentence.replace('|', '/')} |\n"
        for row in sorted(rows, key=lambda row: order.index(row.name))
    ]
    return HEAD + "".join(lines)


def committed(text: str) -> list[Row]:
    """The rows of the table."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return [Row(cell[1].strip("`"), *cell[2:]) for cell in cells[1:]]


def main(words: list[str]) -> int:
    """The exit code: 1 when a fault was not found."""
    if words == ["--checks"]:
        sys.stdout.write(table(by_checks()))
        return 0
    rows = [*by_checks(), *map(by_judge, SIMULATED), *by_releases()]
    DOC.write_text(table(rows))
    lost = [row.faults for row in rows if not row.by] + sorted(set(TABLE) - {row.name for row in rows})
    sys.stdout.write(f"{len(rows)} faults, not found: {', '.join(lost) or 'none'}\n")
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
