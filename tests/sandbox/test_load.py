"""The load generator tells the truth: what it counts is what the services did."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.sandbox.load import Generator, Load, Order, loopback, main
from onlyvips_release.sandbox.load_client import read_reply
from onlyvips_release.sandbox.mix import Call, default_mix, read_mix, shuffled, template
from onlyvips_release.sandbox.tally import Result, Tally, percentiles
from tests.sandbox.conftest import SECRET, Start, Started, free_ports

GET = {"weight": 3, "method": "GET", "host": "api.onlyvips.local", "path": "/api/content/content_{n}"}
POST = {"weight": 1, "method": "POST", "host": "api.onlyvips.local", "path": "/api/content/content_{n}/view"}


def mix_file(folder: Path, *calls: dict[str, Any]) -> str:
    path = folder / "mix.json"
    path.write_text(json.dumps(calls))
    return str(path)


def load(service: Started, folder: Path, *calls: dict[str, Any], rate: float = 800, seconds: float = 0.5) -> Load:
    options = ("--mix", mix_file(folder, *(calls or (GET, POST))))
    return Load(f"http://127.0.0.1:{service.port}", rate=rate, seconds=seconds, folder=folder, options=options)


class TestTruth:
    def test_errors_are_counted_exactly(self, start: Start, tmp_path: Path) -> None:
        service = start("backend-api", "--fault", "errors=0.3", "--fault", "error_methods=GET")
        found = load(service, tmp_path).wait()
        assert (found["sent"], found["answered"], found["failed"]) == (400, 400, 90)
        assert found["reasons"] == {"500": 90}
        cells = {cell["method"]: (cell["sent"], cell["failed"]) for cell in found["cells"]}
        assert cells == {"GET": (300, 90), "POST": (100, 0)}
        assert sum(second["failed"] for second in found["series"]) == 90
        assert len(found["failures"]) == 20
        assert {"time", "service", "method", "path", "status", "error", "arm"} <= found["failures"][0].keys()

    def test_a_healthy_service_fails_nobody(self, backend: Started, tmp_path: Path) -> None:
        found = load(backend, tmp_path, rate=2000).wait()
        assert (found["answered"], found["failed"], found["unexpected"]) == (1000, 0, 0)
        assert 0 < found["latency_ms"][""]["p50"] <= found["latency_ms"][""]["p99"] < 1000
        assert found["max_gap_s"] < 0.5

    def test_resets_are_failures_and_are_not_sent_again(self, start: Start, tmp_path: Path) -> None:
        service = start("backend-api", "--fault", "reset=0.1")
        found = load(service, tmp_path, GET, rate=400).wait()
        assert (found["sent"], found["answered"], found["failed"]) == (200, 180, 20)
        assert found["reasons"] == {"reset": 20}

    def test_nobody_listening_is_a_failure_of_each_request(self, tmp_path: Path) -> None:
        found = Load(f"http://127.0.0.1:{free_ports(1)[0]}", rate=200, seconds=0.25, folder=tmp_path).wait()
        assert (found["sent"], found["failed"], found["reasons"]) == (50, 50, {"refused": 50})
        assert found["max_gap_s"] > 0.2

    def test_refusals_are_counted_apart_unless_they_are_expected(self, backend: Started, tmp_path: Path) -> None:
        lost = {**GET, "weight": 1, "path": "/nowhere"}
        found = load(backend, tmp_path, lost, {**lost, "expect": [404]}, rate=200).wait()
        assert (found["answered"], found["failed"], found["unexpected"]) == (100, 0, 50)

    def test_a_crash_is_seen_from_outside(self, start: Start, tmp_path: Path) -> None:
        service = start("backend-api", "--fault", "crash_after_requests=50")
        found = load(service, tmp_path, GET, rate=400, seconds=0.25).wait()
        assert (found["sent"], found["answered"], found["failed"]) == (100, 50, 50)


class TestStop:
    def test_a_signal_ends_it_with_its_result(self, backend: Started, tmp_path: Path) -> None:
        begun = Load(f"http://127.0.0.1:{backend.port}", rate=200, folder=tmp_path, options=("--sticky-report",))
        time.sleep(0.2)
        found = begun.stop()
        assert begun.totals()["answered"] == found["answered"] > 0
        assert found["stopped_by"] == "signal"
        assert found["sent"] == found["answered"] + found["unfinished"]
        assert found["sticky"] == {}

    @pytest.mark.parametrize(
        ("limits", "failed", "unfinished"),
        [({"TIMEOUT": 0.2}, 20, 0), ({"LAST_WAIT": 0.1}, 0, 20)],
        ids=["overdue", "in flight when it was stopped"],
    )
    def test_what_hangs_is_a_failure_once_it_is_overdue(
        self, service: Started, monkeypatch: pytest.MonkeyPatch, limits: dict[str, float], failed: int, unfinished: int
    ) -> None:
        service.fault(hang=1)
        for name, seconds in limits.items():
            monkeypatch.setattr(f"onlyvips_release.sandbox.load.{name}", seconds)
        calls = tuple(shuffled([Call("GET", "api.x", "/")]))

        async def run() -> dict[str, object]:
            generator = Generator(Order("127.0.0.1", service.port, 200, 0.1 if failed else 60, 10, 64, calls))
            asyncio.get_running_loop().call_later(0.1, lambda: None if failed else generator.stop())
            return await generator.run()

        found = asyncio.run(run())
        assert found["reasons"] == ({"timeout": failed} if failed else {})
        assert found["unfinished"] == pytest.approx(unfinished, abs=2)

    def test_leaving_the_context_leaves_no_process(self, backend: Started) -> None:
        with Load(f"http://127.0.0.1:{backend.port}", rate=10) as begun:
            process = begun._process
        assert process.poll() is not None

    @pytest.mark.parametrize("url", ["http://192.0.2.1:80", "https://127.0.0.1", "http://onlyvips.example"])
    def test_only_loopback_is_ever_loaded(self, url: str) -> None:
        with pytest.raises(ValueError, match="loopback"):
            loopback(url)

    @pytest.mark.parametrize(
        "words", [["--rate", "0"], ["--rate", "1", "--seconds", "3601"], ["--rate", "1", "--mix", "missing.json"]]
    )
    def test_a_mistake_on_the_command_line_is_exit_2(
        self, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = ["--url", "http://127.0.0.1:1", "--out", str(tmp_path / "out.json")]
        monkeypatch.setattr("sys.argv", ["load", *known, *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2


class TestTally:
    def result(self, at: float, status: int = 200, **changes: Any) -> Result:
        values = {
            "took": 0.01,
            "service": "s",
            "method": "GET",
            "path": "/",
            "user": "u1",
            "error": "",
            "arm": "stable",
        }
        return Result(at=at, status=status, **{**values, **changes})

    def test_a_user_that_meets_two_arms_has_changed(self) -> None:
        tally = Tally(0.0, sticky=True)
        for user, arm in (("u1", "stable"), ("u1", "canary"), ("u2", "stable"), ("u2", "stable"), ("u3", "")):
            tally.add(self.result(0.1, user=user, arm=arm))
        assert tally.report(1.0)["sticky"] == {"s": {"users": 2, "changed": 1}}

    def test_the_gap_is_the_longest_time_without_a_good_answer(self) -> None:
        tally = Tally(0.0)
        for at, status in ((0.5, 200), (1.0, 500), (2.5, 200)):
            tally.add(self.result(at, status))
        assert tally.report(3.0)["max_gap_s"] == 2.0

    def test_arms_are_counted_apart(self) -> None:
        tally = Tally(0.0)
        tally.add(self.result(0.1, arm="canary", status=503))
        tally.add(self.result(0.2))
        cells = tally.report(1.0)["cells"]
        assert isinstance(cells, list)
        assert [(cell["arm"], cell["failed"]) for cell in cells] == [("canary", 1), ("stable", 0)]

    def test_percentiles_are_nearest_rank_in_milliseconds(self) -> None:
        times = [number / 1000 for number in range(1, 101)]
        assert percentiles(times) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


class TestMix:
    def test_the_default_mix_is_answered_2xx(self, start: Start) -> None:
        """By each service for its own hosts, in a process that never saw the users before."""
        services = {name: start(name) for name in ("backend-api", "miniapp", "showcu-panel")}
        for call in default_mix(SECRET):
            request = template(call).render("u0001", 7)
            head, _, body = request.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")[1:]
            headers = dict(line.split(": ", 1) for line in lines)
            path = request.split(b" ")[1].decode()
            form = json.loads(body) if body else None
            found = services[call.service].ask(call.method, path, form, headers)
            assert found.status == 200, (call, found.body)

    def test_about_one_request_in_ten_is_a_post(self) -> None:
        dealt = shuffled(default_mix(SECRET))
        assert 0.08 < sum(each.call.method == "POST" for each in dealt) / len(dealt) < 0.15

    def test_a_form_is_sent_as_a_form(self) -> None:
        call = Call("POST", "api.x", "/login", form={"username": "{user}", "password": "a b"})
        request = template(call).render("u0042", 1)
        assert b"Content-Type: application/x-www-form-urlencoded" in request
        assert request.endswith(b"Content-Length: 27\r\n\r\nusername=u0042&password=a+b")

    @pytest.mark.parametrize("text", ["[]", '[{"method": "GET"}]', '{"a": 1}', "nonsense"])
    def test_a_mix_that_is_none_is_refused(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "mix.json"
        path.write_text(text)
        with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error has no text of ours
            read_mix(path)


class TestReply:
    @pytest.mark.parametrize(
        ("data", "ended", "status"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", False, None),
            (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", False, 200),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", True, None),
            (b"HTTP/1.1 200 OK\r\n\r\nok", True, 200),
            (b"HTTP/1.1 200 OK\r\nContent-Le", True, None),
        ],
        ids=["whole", "half", "no body", "chunked", "chunked half", "until the end", "half a head"],
    )
    def test_only_a_complete_answer_counts(self, data: bytes, ended: bool, status: int | None) -> None:
        found = read_reply(data, "GET", ended=ended)
        assert (found and found.status) == status

    def test_the_arm_is_read_from_the_router_s_header(self) -> None:
        found = read_reply(b"HTTP/1.1 200 OK\r\nX-OnlyVips-Arm: canary\r\ncontent-length: 0\r\n\r\n", "GET")
        assert found is not None
        assert found.arm == "canary"
