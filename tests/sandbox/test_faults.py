"""Each fault does what its line in the table says, and nothing to health; mistakes are one clear line."""

from __future__ import annotations

import http.client
import time

import psutil
import pytest

from onlyvips_release.sandbox.__main__ import main
from onlyvips_release.sandbox.faults import TABLE, BadFault, Faults
from tests.sandbox.conftest import Start, Started, ask, opens, until
from tests.sandbox.test_backend import bearer, clean_token


def asset(service: Started) -> str:
    """The script that index.html names."""
    return service.ask("GET", "/").body.decode().partition('src="')[2].partition('"')[0]


class TestShares:
    @pytest.mark.parametrize(("share", "hits"), [(0.3, 30), (0.1, 10), (0.01, 1), (1.0, 100), (0.0, 0)])
    def test_a_share_is_dealt_out_exactly(self, share: float, hits: int) -> None:
        faults = Faults("backend-api", {"errors": share})
        assert sum(faults.hits("errors") for _ in range(100)) == hits

    def test_errors_hit_their_share_of_work_and_never_health(self, service: Started) -> None:
        service.fault(errors=0.3)
        assert service.statuses(20).count(500) == 6
        assert set(service.statuses(10, path="/api/health/health")) == {200}

    def test_errors_may_be_restricted_to_methods(self, service: Started) -> None:
        service.fault(errors=1, error_methods="GET")
        assert service.statuses(2) == [500, 500]
        assert service.statuses(2, "POST", "/api/content/content_1/view") == [200, 200]

    def test_latency_delays_its_share_of_answers(self, service: Started) -> None:
        service.fault(latency_ms=80, latency_share=0.5)
        took = []
        for _ in range(4):
            begin = time.monotonic()
            service.ask("GET", "/api/badges/list")
            took.append(time.monotonic() - begin)
        assert sorted(each > 0.08 for each in took) == [False, False, True, True]

    def test_reset_ends_the_connection_without_an_answer(self, service: Started) -> None:
        service.fault(reset=1)
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            service.ask("GET", "/api/badges/list")

    def test_hang_never_answers(self, service: Started) -> None:
        service.fault(hang=1)
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=0.3)
        connection.request("GET", "/api/badges/list")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()

    def test_error_as_200_is_an_error_body_with_a_good_status(self, service: Started) -> None:
        service.fault(error_as_200=1)
        found = service.ask("GET", "/api/badges/list")
        assert (found.status, found.json()["status"]) == (200, "error")

    def test_business_refused_answers_409_and_does_nothing(self, service: Started) -> None:
        views = service.ask("GET", "/api/content/content_1").json()["views"]
        service.fault(business_refused=0.5)
        assert service.statuses(4, "POST", "/api/content/content_1/view").count(409) == 2
        service.fault(business_refused=1)
        done = {"user_id": "demo", "task_id": 2}
        assert service.ask("POST", "/api/tasks/complete", done, bearer(clean_token("demo"))).status == 409
        assert service.ask("GET", "/api/content/content_1").json()["views"] == views + 2

    def test_business_loss_answers_200_and_does_nothing(self, service: Started) -> None:
        service.fault(business_loss=1)
        token = bearer(clean_token("demo"))
        lost = service.ask("POST", "/api/tasks/complete", {"user_id": "demo", "task_id": 4}, token)
        assert (lost.status, lost.json()["status"]) == (200, "error")
        tasks = service.ask("GET", "/api/tasks/user/demo", headers=token).json()["tasks"]
        assert tasks[3]["status"] == "available"


class TestContract:
    def test_no_signin_breaks_every_way_in(self, service: Started) -> None:
        service.fault(no_signin=True)
        body = {"username": "never", "password": "secret1"}
        assert service.ask("POST", "/api/auth/register", body).status == 500
        assert service.ask("POST", "/api/auth/login", "username=a&password=b").status == 500
        assert service.ask("POST", "/api/auth/telegram", {"id": "1"}).status == 500

    def test_auth_open_refuses_nobody(self, service: Started) -> None:
        service.fault(auth_open=True)
        assert service.ask("GET", "/api/tasks/list").status == 200

    def test_lost_field_and_changed_type_break_the_list_of_tasks(self, service: Started) -> None:
        service.fault(lost_field=True, changed_type=True)
        found = service.ask("GET", "/api/tasks/list", headers=bearer(clean_token("demo"))).json()
        assert "status" not in found
        assert found["tasks"][0]["id"] == "1"

    def test_lost_header_drops_the_content_type(self, service: Started) -> None:
        service.fault(lost_header=True)
        assert "content-type" not in service.ask("GET", "/api/badges/list").headers

    def test_asset_404_loses_what_index_html_names(self, start: Start) -> None:
        front = start("miniapp", "--fault", "asset_404")
        assert front.ask("GET", asset(front)).status == 404
        ask(front.control, "DELETE", "/faults")
        assert front.ask("GET", asset(front)).status == 200


class TestLife:
    def test_never_ready_fails_health_while_work_goes_on(self, service: Started) -> None:
        service.fault(never_ready=True)
        assert service.ask("GET", "/api/health/health").status == 503
        assert service.ask("GET", "/api/badges/list").status == 200

    def test_not_listening_lives_without_a_port(self, start: Start) -> None:
        dead = start("miniapp", "--fault", "not_listening", ready=False)
        assert until(lambda: "started" in dead.log.read_text())
        assert not opens(dead.port)
        assert dead.process.poll() is None

    def test_close_listener_closes_the_port_and_its_connections_until_it_is_switched_off(
        self, service: Started
    ) -> None:
        kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=2)
        kept.request("GET", "/")
        kept.getresponse().read()
        service.fault(close_listener=True)
        assert until(lambda: not opens(service.port))
        assert kept.sock is not None
        assert kept.sock.recv(1) == b""
        kept.close()
        ask(service.control, "DELETE", "/faults")
        assert until(lambda: opens(service.port))

    def test_crash_after_dies_by_the_clock(self, start: Start) -> None:
        dying = start("backend-api", "--fault", "crash_after=0.3")
        assert dying.process.wait(3) == 1
        assert "crash: crash_after" in dying.log.read_text()

    def test_crash_after_requests_answers_so_many_and_dies(self, start: Start) -> None:
        dying = start("backend-api", "--fault", "crash_after_requests=2")
        assert dying.ask("GET", "/api/health").status == 200
        assert dying.statuses(2) == [200, 200]
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            dying.ask("GET", "/")
        assert dying.process.wait(3) == 1

    def test_exit_at_start_exits_with_1(self, start: Start) -> None:
        assert start("backend-api", "--fault", "exit_at_start").process.wait(3) == 1

    def test_a_leak_grows_and_burnt_time_is_burnt(self, start: Start) -> None:
        sick = start("miniapp", "--fault", "leak_mb_per_s=100", "--fault", "cpu_burn=0.5")
        process = psutil.Process(sick.process.pid)
        memory, busy = process.memory_info().rss, sum(process.cpu_times()[:2])
        assert until(lambda: process.memory_info().rss - memory > 30e6)
        assert until(lambda: sum(process.cpu_times()[:2]) - busy > 0.15)


class TestBot:
    def updates(self, bot: Started) -> int:
        return bot.log.read_text().count("handled update")

    def test_the_bot_handles_updates_until_it_falls_silent(self, start: Start) -> None:
        bot = start("flirt-bot")
        assert until(lambda: self.updates(bot) >= 2)
        bot.fault(bot_silent=True)
        before = self.updates(bot)
        time.sleep(0.45)
        assert self.updates(bot) <= before + 1
        assert bot.end() == 0

    def test_the_bot_needs_its_token(self, start: Start) -> None:
        bot = start("flirt-bot", env={"BOT_TOKEN": ""})
        assert bot.process.wait(3) == 2
        assert "BOT_TOKEN" in bot.log.read_text()

    def test_bot_exit_after_ends_it_with_1(self, start: Start) -> None:
        assert start("flirt-bot", "--fault", "bot_exit_after=0.2").process.wait(3) == 1


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["backend-api", "1", "--fault", "eror=1"], "unknown fault 'eror'"),
            (["backend-api", "1", "--fault", "errors=2"], "expected a share"),
            (["backend-api", "1", "--fault", "bot_silent"], "has no fault"),
            (["backend-api"], "needs a port"),
            (["flirt-bot", "80"], "takes no port"),
        ],
        ids=["unknown", "bad value", "other service", "no port", "bot with port"],
    )
    def test_a_mistake_on_the_command_line_is_one_line_and_exit_2(
        self, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.argv", ["sandbox", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        line = capsys.readouterr().err
        assert stopped.value.code == 2
        assert message in line
        assert line.count("\n") == 1

    def test_a_mistake_at_run_time_is_400_and_changes_nothing(self, service: Started) -> None:
        service.fault(errors=1)
        assert service.fault(errors=0.5, nonsense=1).status == 400
        assert ask(service.control, "PUT", "/faults", ["errors"]).status == 400
        assert ask(service.control, "GET", "/faults").json() == {"errors": 1.0}

    def test_put_replaces_all_faults_and_delete_clears_them(self, service: Started) -> None:
        assert service.fault(errors=0.5, never_ready=True).json() == {"errors": 0.5, "never_ready": True}
        assert service.fault(latency_ms=5).json() == {"latency_ms": 5.0}
        assert ask(service.control, "DELETE", "/faults").json() == {}

    def test_every_fault_belongs_to_a_service_and_has_a_meaning(self) -> None:
        assert all(fault.services and fault.meaning for fault in TABLE.values())

    @pytest.mark.parametrize("value", ["nan", "-1", "", "inf"])
    def test_a_number_that_makes_no_sense_is_refused(self, value: str) -> None:
        with pytest.raises(BadFault):
            Faults("backend-api", {"latency_ms": value})
