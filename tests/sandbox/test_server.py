"""The server under the services: keep-alive, pipelining, draining; and what the fronts answer."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import threading
import time

import pytest

from onlyvips_release.sandbox.http import Malformed, parse
from tests.sandbox.conftest import Start, Started, opens, until


class TestWire:
    def test_a_request_is_read_only_when_it_is_complete(self) -> None:
        data = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /"
        for end in range(data.index(b"GET /")):
            assert parse(data[:end]) is None
        found = parse(data)
        assert found is not None
        request, length = found
        assert (request.method, request.path, request.query, request.body) == ("POST", "/a", "b=c", b"abc")
        assert data[length:] == b"GET /"

    @pytest.mark.parametrize(
        "head",
        [b"nonsense", b"GET / HTTP/1.1\r\nContent-Length: x", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked"],
        ids=["no request", "bad length", "chunked"],
    )
    def test_what_is_not_understood_is_refused(self, head: bytes) -> None:
        with pytest.raises(Malformed):
            parse(head + b"\r\n\r\n")

    def test_pipelined_requests_are_answered_in_order_even_when_one_is_slow(self, start: Start) -> None:
        service = start("backend-api", "--fault", "latency_ms=50", "--fault", "latency_share=0.5")
        paths = [f"/api/auth/check-username/u{number}" for number in range(4)]
        with socket.create_connection(("127.0.0.1", service.port), timeout=3) as connection:
            connection.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))
            data = b""
            while data.count(b"HTTP/1.1 200") < 4 or not data.endswith(b"}"):
                data += connection.recv(65536)
        assert re.findall(rb'"username":"(u\d)"', data) == [b"u0", b"u1", b"u2", b"u3"]

    def test_the_client_may_ask_to_close(self, backend: Started) -> None:
        with socket.create_connection(("127.0.0.1", backend.port), timeout=3) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            data = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b"Connection: close" in data

    def test_a_port_in_use_is_refused_not_shared(self, start: Start, backend: Started) -> None:
        second = start("miniapp", "--start-delay", "0", "--control", str(backend.port), ready=False)
        assert second.process.wait(3) == 1
        assert "cannot listen" in second.log.read_text()


class TestStop:
    def test_sigterm_finishes_the_request_in_flight_and_exits_0(self, start: Start) -> None:
        service = start("backend-api", "--fault", "latency_ms=400")
        answers: list[tuple[int, str | None]] = []

        def slow() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=3)
            connection.request("GET", "/api/badges/list")
            answer = connection.getresponse()
            answers.append((answer.status, answer.getheader("connection")))
            connection.close()

        caller = threading.Thread(target=slow)
        caller.start()
        time.sleep(0.15)
        service.process.send_signal(signal.SIGTERM)
        assert until(lambda: not opens(service.port), 1)
        assert service.process.poll() is None
        caller.join()
        assert answers == [(200, "close")]
        assert service.process.wait(3) == 0
        assert service.log.read_text().splitlines()[-1] == "backend-api: stopped"

    def test_idle_connections_do_not_hold_up_the_stop(self, start: Start) -> None:
        service = start("miniapp")
        idle = http.client.HTTPConnection("127.0.0.1", service.port, timeout=3)
        idle.request("GET", "/")
        idle.getresponse().read()
        begin = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - begin < 1
        idle.close()

    def test_a_stop_during_the_start_delay_is_a_clean_exit(self, start: Start) -> None:
        service = start("miniapp", "--start-delay", "30", ready=False)
        assert until(lambda: opens(service.control))
        assert not opens(service.port)
        assert service.end() == 0

    def test_the_access_log_is_off_unless_asked_for(self, start: Start) -> None:
        quiet, loud = start("miniapp", "--build", "v2"), start("miniapp", "--access-log")
        for service in (quiet, loud):
            service.ask("GET", "/somewhere")
            service.end()
        assert "GET /somewhere 200" in loud.log.read_text()
        assert len(quiet.log.read_text().splitlines()) == 2


class TestFronts:
    @pytest.mark.parametrize(
        ("name", "title"),
        [("miniapp", "OnlyVips MiniApp"), ("showcu-panel", "OnlyVips - İçerik Üretici Platformu")],
    )
    def test_a_front_serves_its_page_and_all_that_the_page_names(self, start: Start, name: str, title: str) -> None:
        front = start(name)
        page = front.ask("GET", "/")
        assert f"<title>{title}</title>" in page.body.decode()
        kinds = {"js": "application/javascript", "css": "text/css"}
        for path in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.body.decode()):
            found = front.ask("GET", path)
            assert (found.status, found.headers["content-type"]) == (200, kinds.pop(path.rpartition(".")[2]))
        assert not kinds
        assert front.ask("GET", "/any/other/path").body == page.body
        assert front.ask("GET", "/assets/missing.js").status == 404
        assert (front.ask("GET", "/healthz").status, front.ask("GET", "/health").body) == (200, b"OK")
        assert front.ask("HEAD", "/").body == b""
        assert front.ask("POST", "/").status == 405
        assert front.ask("GET", "/api/health").status == 502
