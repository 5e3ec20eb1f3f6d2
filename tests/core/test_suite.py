"""What a suite may know: written by the runner's side, read by the suite, with the keys that users' suites rely on."""

from __future__ import annotations

import json
from pathlib import Path

from onlyvips_release.codec import decode, encode
from onlyvips_release.core.model import Arm, Verdict
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.core.suite import Access, InstanceContext, ServiceContext, SuiteContext
from onlyvips_release.suites.context import read_context, write_context
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulation import World

TOKEN = "5f0c1e7a9b3d2468ace013579bdf0246"
ACCESS = Access("http://127.0.0.1:1", "api.local", "/health", {"canary": f"canary-{TOKEN}"}, None, "an-admins-token")
BOT = ServiceContext(
    revisions={"stable": "v1", "canary": "v2"},
    instances=(InstanceContext("stable", "v1", "pid 7", 7, alive=True, log="bot.log"),),
)
CONTEXT = SuiteContext(
    "r0007",
    step=1,
    metrics={"api": {"errors": {"canary": (1, 90), "stable": (2, 900)}}},
    services={"bot": BOT},
    suite="canary",
    arm=Arm.CANARY,
    weight=10,
    gate="critical",
)


def test_file_has_the_keys_that_suites_rely_on(tmp_path: Path) -> None:
    write_context(CONTEXT.reached_by({"api": ACCESS}), tmp_path / "context.json")
    written = json.loads((tmp_path / "context.json").read_text())
    assert set(written) == {"release", "step", "suite", "arm", "weight", "gate", "metrics", "services"}
    facts = {"routed", "revisions", "instances", "url", "host", "health", "pins", "identity", "admin"}
    assert {name: set(service) for name, service in written["services"].items()} == {"bot": facts, "api": facts}
    instance = {"arm", "revision", "identity", "pid", "alive", "log", "port"}
    assert set(written["services"]["bot"]["instances"][0]) == instance
    assert written["metrics"] == {"api": {"errors": {"canary": [1, 90], "stable": [2, 900]}}}


def test_suite_reads_what_the_runner_wrote(tmp_path: Path) -> None:
    context = CONTEXT.reached_by({"api": ACCESS})
    write_context(context, tmp_path / "context.json")
    assert read_context(tmp_path / "context.json") == context
    assert (tmp_path / "context.json").stat().st_mode & 0o777 == 0o600


def test_key_of_a_newer_runner_is_left_out() -> None:
    newer = {**encode(CONTEXT), "zone": "eu", "services": {"bot": {**encode(BOT), "zone": "eu"}}}
    assert decode(SuiteContext, newer) == CONTEXT


def test_the_way_to_a_service_is_added_to_what_is_known_of_it() -> None:
    reached = CONTEXT.reached_by({"bot": ACCESS}).services["bot"]
    assert (reached.url, reached.pins) == (ACCESS.url, ACCESS.pins)
    assert (reached.revisions, reached.instances) == (BOT.revisions, BOT.instances)
    assert CONTEXT.services == {"bot": BOT}, "what is fixed must stay as it is"


def test_pins_and_tokens_appear_in_no_representation() -> None:
    text = repr(CONTEXT.reached_by({"api": ACCESS}))
    assert ACCESS.secrets == [TOKEN, "an-admins-token"]
    assert not [secret for secret in ACCESS.secrets if secret in text]


def test_canary_checks_are_given_what_the_judge_has_counted() -> None:
    requests: list[SuiteRequest] = []

    def suite(request: SuiteRequest) -> Verdict:
        requests.append(request)
        return Verdict.PASS

    carry_out(World(make_plan(), rps=100, smoke=suite))
    smoke = [r.context for r in requests if r.name == "smoke" and r.weight == 0]
    assert smoke[0].metrics == {}, "before the first step nothing is counted"
    last = next(r.context for r in reversed(requests) if r.name == "canary")
    bad, total = last.metrics["backend-api"]["errors"]["canary"]
    assert (bad, total > 0) == (0, True)
