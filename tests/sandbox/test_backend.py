"""What backend-api answers: the platform's contract, with its quirks (platform.md sections 3 to 6)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from onlyvips_release.sandbox.store import issue
from tests.sandbox.conftest import SECRET, Reply, Start, Started

Check = Callable[[Any], bool]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def clean_token(name: str) -> str:
    """A token that the input filter lets pass."""
    tokens = (issue({"sub": name, "exp": int(time.time()) + 600 + i}, SECRET) for i in range(99))
    return next(token for token in tokens if "--" not in token)


DEMO, ADMIN, ANYONE = "demo", "admin", ""


def register(service: Started, name: str, password: str = "secret1") -> str:
    """A new user's token; another one when the first is one of the platform's bad ones."""
    assert service.ask("POST", "/api/auth/register", {"username": name, "password": password}).status == 200
    return clean_token(name)


def same(wanted: Any) -> Check:
    return lambda found: bool(found == wanted)


def has(*names: str, **values: Any) -> Check:
    return lambda found: set(names) <= set(found) and all(found[name] == value for name, value in values.items())


NOT_FOUND = same({"detail": "Bu endpoint bulunamadı. Lütfen API belgelerine bakın."})
BROKEN = same({"detail": "Sunucu hatası"})
ABOUT = {"service": "OnlyVips API", "version": "1.0.0", "status": "active", "docs_url": "/api/docs"}

TABLE: list[tuple[str, str, str, int, Check]] = [
    (ANYONE, "GET", "/", 200, same(ABOUT)),
    (ANYONE, "GET", "/health", 404, NOT_FOUND),
    (ANYONE, "GET", "/metrics", 404, NOT_FOUND),
    (ANYONE, "GET", "/docs", 404, NOT_FOUND),
    (ANYONE, "GET", "/api/health/liveness", 404, NOT_FOUND),
    (ANYONE, "GET", "/api/v1/users", 404, NOT_FOUND),
    (ANYONE, "GET", "/api/health", 200, has("timestamp", "environment", status="healthy", db_status="memory_only")),
    (ANYONE, "GET", "/api/health/health", 200, has(status="healthy", service="OnlyVips API", version="1.0.0")),
    (ANYONE, "GET", "/api/health/health/detailed", 200, has("checks", "total_check_time_ms", status="degraded")),
    (ANYONE, "GET", "/api/health/health/readiness", 200, has("timestamp", "message", status="ready")),
    (ANYONE, "GET", "/api/health/health/liveness", 200, has("uptime_seconds", status="alive")),
    (ANYONE, "GET", "/api/openapi.json", 200, has("paths", "info", openapi="3.1.0")),
    (ANYONE, "POST", "/api/health", 405, has("detail")),
    (ANYONE, "GET", "/api/badges/list", 200, lambda found: len(found["badges"]) == 3),
    (ANYONE, "GET", "/api/content/?page=2&per_page=3", 200, lambda found: found["contents"][0]["id"] == "content_3"),
    (ANYONE, "GET", "/api/content/", 200, has("contents", "has_next", total=100, page=1, per_page=20)),
    (ANYONE, "GET", "/api/content/?per_page=101", 422, has("detail")),
    (ANYONE, "GET", "/api/content/content_7", 200, has("title", "creator_id", id="content_7")),
    (ANYONE, "GET", "/api/content/other", 404, has("detail")),
    (ANYONE, "POST", "/api/content/content_7/view", 200, has("views", message="View recorded")),
    (ANYONE, "POST", "/api/content/content_unseen/view", 404, has("detail")),
    (ANYONE, "GET", "/api/showcus/", 200, has("showcus", total=150)),
    (ANYONE, "GET", "/api/showcus/showcu_1", 200, has(id="showcu_1")),
    (ANYONE, "GET", "/api/showcus/showcu_1/contents", 200, has("contents", total=50)),
    (ANYONE, "GET", "/api/payments/wallet", 500, same({"detail": "Failed to fetch wallet info"})),
    (ANYONE, "GET", "/api/admin/stats", 500, BROKEN),
    (ANYONE, "POST", "/api/content/content_7/like", 500, BROKEN),
    (ANYONE, "POST", "/api/badges/create", 500, BROKEN),
    (ANYONE, "GET", "/api/auth/me", 401, same({"detail": "Not authenticated"})),
    (ANYONE, "GET", "/api/tasks/list", 401, same({"detail": "Not authenticated"})),
    (ANYONE, "GET", "/api/auth/check-username/demo", 200, same({"username": "demo", "available": False})),
    (ANYONE, "GET", "/api/auth/check-username/no-one", 200, has(available=True)),
    ("no-one", "GET", "/api/auth/me", 401, same({"detail": "Kimlik doğrulama bilgileri geçersiz"})),
    (DEMO, "GET", "/api/auth/me", 200, has(id="demo", username="demo", role="user", is_active=True, permissions=[])),
    (DEMO, "POST", "/api/auth/refresh", 200, has("access_token", "expires_at", token_type="bearer")),
    (DEMO, "POST", "/api/auth/logout", 200, same({"message": "Başarıyla çıkış yapıldı"})),
    (DEMO, "GET", "/api/tasks/list", 200, lambda found: len(found["tasks"]) == 10 and found["status"] == "success"),
    (DEMO, "GET", "/api/tasks/user/demo", 200, has("user_info", "tasks", status="success")),
    (DEMO, "GET", "/api/tasks/user/admin", 403, has("detail")),
    (DEMO, "GET", "/api/tasks/stats", 200, has("stats", status="success")),
    (DEMO, "GET", "/api/tasks/pending", 403, has("detail")),
    (ADMIN, "GET", "/api/tasks/pending", 200, has("pending_tasks", status="success")),
    (ADMIN, "GET", "/api/tasks/reset-daily", 200, has(status="success")),
    (DEMO, "GET", "/api/users/list", 403, has("detail")),
    (ADMIN, "GET", "/api/users/list", 500, has("detail")),
    (DEMO, "GET", "/api/users/me", 403, has("detail")),
]


@pytest.mark.parametrize(
    ("who", "method", "path", "status", "fits"), TABLE, ids=[" ".join(row[:3]).strip() for row in TABLE]
)
def test_a_call_answers_as_measured(
    backend: Started, who: str, method: str, path: str, status: int, fits: Check
) -> None:
    found = backend.ask(method, path, headers=bearer(clean_token(who)) if who else {})
    assert found.status == status
    assert found.headers["content-type"] == "application/json"
    assert fits(found.json()), found.body


@pytest.mark.parametrize(
    ("path", "location"),
    [("/api/content", "/api/content/"), ("/api/health/", "/api/health"), ("/api/showcus?a=1", "/api/showcus/?a=1")],
)
def test_a_slash_too_few_or_many_is_a_redirect(backend: Started, path: str, location: str) -> None:
    found = backend.ask("GET", path)
    assert (found.status, found.headers["location"]) == (307, f"http://127.0.0.1:{backend.port}{location}")


def test_head_is_refused_even_on_health(backend: Started) -> None:
    found = backend.ask("HEAD", "/api/health")
    assert (found.status, found.body) == (405, b"")


def test_metrics_count_what_was_routed_but_not_what_the_filter_refused(start: Start) -> None:
    service = start("backend-api")
    service.ask("GET", "/api/badges/list")
    service.ask("GET", "/api/badges/list", headers={"User-Agent": "Mozilla/5.0 (X11; Linux)"})
    text = service.ask("GET", "/api/health/metrics").body.decode()
    assert 'http_requests_total{method="GET",endpoint="/badges/list",status_code="200"} 1' in text
    assert 'status_code="500"' not in text


class TestSignIn:
    def test_a_registered_user_signs_in_by_form_and_not_by_json(self, backend: Started) -> None:
        register(backend, "form-user", "secret1")
        assert backend.ask("POST", "/api/auth/login", "username=form-user&password=secret1").status == 200
        assert backend.ask("POST", "/api/auth/login", {"username": "form-user", "password": "secret1"}).status == 422
        wrong = backend.ask("POST", "/api/auth/login", "username=form-user&password=wrong-1")
        assert (wrong.status, wrong.json()) == (401, {"detail": "Kullanıcı adı veya şifre hatalı"})

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"username": "demo", "password": "secret1"}, 400),
            ({"username": "ab", "password": "secret1"}, 422),
            ({}, 422),
        ],
        ids=["taken", "too short", "empty"],
    )
    def test_a_bad_registration_is_refused(self, backend: Started, body: object, status: int) -> None:
        assert backend.ask("POST", "/api/auth/register", body).status == status

    def test_seed_users_have_no_password(self, backend: Started) -> None:
        assert backend.ask("POST", "/api/auth/login", "username=demo&password=").status == 422
        assert backend.ask("POST", "/api/auth/login", "username=admin&password=secret1").status == 401

    def test_telegram_creates_the_user_on_the_spot(self, backend: Started) -> None:
        signed = backend.ask(
            "POST", "/api/auth/telegram", {"id": "77", "username": "tg-user", "auth_date": int(time.time())}
        )
        assert signed.status == 200
        me = backend.ask("GET", "/api/auth/me", headers=bearer(clean_token("tg-user")))
        assert (me.json()["username"], me.json()["telegram_id"]) == ("tg-user", "77")

    def test_an_old_telegram_signature_is_refused(self, backend: Started) -> None:
        assert (
            backend.ask("POST", "/api/auth/telegram", {"id": "7", "auth_date": int(time.time()) - 90_000}).status == 401
        )

    def test_a_numeric_telegram_id_gives_a_token_that_breaks_every_call(self, backend: Started) -> None:
        token = backend.ask("POST", "/api/auth/telegram", {"id": 78, "auth_date": int(time.time())}).json()[
            "access_token"
        ]
        assert backend.ask("GET", "/api/auth/me", headers=bearer(token)).status == 500

    def test_reading_a_user_destroys_the_password(self, backend: Started) -> None:
        token = register(backend, "victim", "secret1")
        shown = backend.ask("GET", "/api/users/victim", headers=bearer(token))
        assert (shown.status, shown.json()["username"]) == (200, "victim")
        assert backend.ask("POST", "/api/auth/login", "username=victim&password=secret1").status == 401

    def test_an_admin_may_disable_a_user(self, backend: Started) -> None:
        token = register(backend, "disabled")
        changed = backend.ask("PUT", "/api/users/disabled", {"is_active": False}, bearer(clean_token("admin")))
        assert (changed.status, bool(changed.json()["password_hash"])) == (200, True)
        assert backend.ask("GET", "/api/auth/me", headers=bearer(token)).status == 403

    def test_a_token_with_two_dashes_breaks_every_call(self, backend: Started) -> None:
        tokens = (issue({"sub": "demo", "exp": int(time.time()) + 600 + i}, SECRET) for i in range(2000))
        bad = next(token for token in tokens if "--" in token)
        assert backend.ask("GET", "/api/auth/me", headers=bearer(bad)).status == 500


class TestTasks:
    def complete(self, service: Started, name: str, token: str, task: object) -> Reply:
        return service.ask("POST", "/api/tasks/complete", {"user_id": name, "task_id": task}, bearer(token))

    def test_a_task_is_pending_and_the_second_try_is_an_error_with_200(self, backend: Started) -> None:
        token = register(backend, "worker")
        first, second = (self.complete(backend, "worker", token, 2) for _ in range(2))
        assert first.json()["status"] == "pending"
        assert first.json()["pending_verification_id"] == "worker_2"
        assert (second.status, second.json()["status"]) == (200, "error")

    @pytest.mark.parametrize("task", [1, 5])
    def test_tasks_1_and_5_are_done_although_they_answer_500(self, backend: Started, task: int) -> None:
        name = f"worker-{task}"
        token = register(backend, name)
        assert self.complete(backend, name, token, task).status == 500
        assert backend.ask("GET", f"/api/tasks/user/{name}", headers=bearer(token)).json()["user_info"]["xp"] == 5

    def test_an_admin_verifies_a_pending_task_and_its_reward_arrives(self, backend: Started) -> None:
        token = register(backend, "rewarded")
        self.complete(backend, "rewarded", token, 2)
        decision = {"user_id": "rewarded", "task_id": 2, "status": "approved"}
        assert backend.ask("POST", "/api/tasks/verify", decision, bearer(token)).status == 403
        verified = backend.ask("POST", "/api/tasks/verify", decision, bearer(clean_token("admin")))
        assert (verified.json()["status"], verified.json()["user_xp"]) == ("success", 10)
        assert self.complete(backend, "rewarded", token, 2).json()["status"] == "success"

    def test_unknown_tasks_and_other_users_are_refused(self, backend: Started) -> None:
        token = register(backend, "refused")
        assert self.complete(backend, "refused", token, 99).status == 404
        assert self.complete(backend, "demo", token, 2).status == 403

    def test_an_admin_assigns_a_badge(self, backend: Started) -> None:
        body = {"user_id": "demo", "badge_id": "vip"}
        assert backend.ask("POST", "/api/tasks/assign-badge", body, bearer(clean_token("admin"))).status == 200
        assert backend.ask("POST", "/api/tasks/assign-badge", body, bearer(clean_token("demo"))).status == 403


@pytest.mark.parametrize(
    ("path", "body", "agent"),
    [
        ("/api/badges/list;a", None, "tests"),
        ("/api/showcus/?search=select%20all", None, "tests"),
        ("/api/badges/list", None, "Mozilla/5.0 (X11; Linux x86_64)"),
        ("/api/auth/register", {"username": "someone", "password": "secret$1"}, "tests"),
    ],
    ids=["path", "query", "user agent", "json body"],
)
def test_the_input_filter_answers_500(backend: Started, path: str, body: object, agent: str) -> None:
    found = backend.ask("POST" if body else "GET", path, body, {"User-Agent": agent})
    assert (found.status, found.json()) == (500, {"detail": "Sunucu hatası"})


def test_health_is_exempt_from_the_input_filter(backend: Started) -> None:
    assert backend.ask("GET", "/api/health", headers={"User-Agent": "Mozilla/5.0 (X11; Linux)"}).status == 200


def test_two_processes_share_no_user_but_understand_each_other_s_tokens(start: Start, backend: Started) -> None:
    other = start("backend-api")
    token = register(other, "only-there")
    assert other.ask("GET", "/api/auth/me", headers=bearer(token)).status == 200
    assert backend.ask("GET", "/api/auth/me", headers=bearer(token)).status == 401
    assert backend.ask("GET", "/api/auth/me", headers=bearer(clean_token("demo"))).status == 200
