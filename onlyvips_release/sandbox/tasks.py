"""Tasks: what users do for their rewards. Some errors are 200, and two successes are 500, as on the platform."""

from __future__ import annotations

from onlyvips_release.sandbox.accounts import Accounts
from onlyvips_release.sandbox.catalogue import BADGES
from onlyvips_release.sandbox.faults import Faults
from onlyvips_release.sandbox.http import BROKEN, REFUSED, Refusal, Request, Response, Router, as_json, read_object
from onlyvips_release.sandbox.store import Store, User

_TASKS = [  # title, reward type and value, verification type
    ("Telegram botunu başlat", "xp", 5, "automatic"),
    ("Kanala katıl", "xp", 10, "join_channel"),
    ("Emoji tepkisi gönder", "xp", 5, "emoji_reaction"),
    ("Gruba katıl", "badge", "Sosyal Kelebek", "group_join_message"),
    ("Butona tıkla", "xp", 5, "inline_button"),
    ("Mesaj ilet", "xp", 5, "forward_message"),
    ("Profil fotoğrafı ekle", "badge", "Stilist", "profile_photo"),
    ("Cüzdan bağla", "badge", "Kripto Uzmanı", "wallet_link"),
    ("Arkadaş davet et", "xp", 20, "referral"),
    ("Asistana soru sor", "xp", 3, "ai_chat"),
]
TASKS: dict[int, dict[str, object]] = {
    number: {
        "id": number,
        "title": title,
        "description": title,
        "reward_type": reward,
        "reward_value": value,
        "verification_type": verification,
        "verification_required": True,
        "max_daily_attempts": 1,
        "task_type": verification,
        "cooldown": 86400,
        "tags": ["onlyvips"],
    }
    for number, (title, reward, value, verification) in enumerate(_TASKS, 1)
}


class Tasks:
    """The tasks of one process's users."""

    def __init__(self, accounts: Accounts, store: Store, faults: Faults) -> None:
        self._user = accounts.user
        self._store = store
        self._faults = faults

    def routes(self, router: Router) -> None:
        """Add the calls of this module."""
        add = router.add
        add("GET", "/api/tasks/list", self._task_list)
        add("GET", "/api/tasks/user/{}", self._task_progress)
        add("POST", "/api/tasks/complete", self._complete)
        add("POST", "/api/tasks/verify", self._verify)
        add("GET", "/api/tasks/pending", self._pending)
        add("GET", "/api/tasks/reset-daily", self._reset_daily)
        add("GET", "/api/tasks/stats", self._stats)
        add("POST", "/api/tasks/assign-badge", self._assign_badge)

    def _task_list(self, request: Request) -> Response:
        self._user(request)
        tasks = list(TASKS.values())
        if self._faults.on("changed_type"):
            tasks = [{**task, "id": str(task["id"])} for task in tasks]
        answer: dict[str, object] = {"tasks": tasks, "status": "success"}
        if self._faults.on("lost_field"):
            del answer["status"]
        return as_json(answer)

    def _task_progress(self, request: Request, name: str) -> Response:
        me = self._user(request)
        if name != me.name and me.role not in ("admin", "moderator", "showcu", "system"):
            raise Refusal(403, "Başka bir kullanıcının görevlerini görüntüleme yetkiniz yok")
        user = self._store.users.setdefault(name, User(name))
        tasks = []
        for number, task in TASKS.items():
            status = "completed" if number in user.done else "pending" if number in user.pending else "available"
            tried = user.attempts.get(number, 0)
            tasks.append({**task, "status": status, "daily_attempts": tried, "max_attempts_reached": tried >= 1})
        info = {"user_id": name, "xp": user.xp, "badges": user.badges, "completed_tasks_count": len(user.done)}
        info["pending_tasks_count"] = len(user.pending)
        return as_json({"user_info": info, "tasks": tasks, "status": "success"})

    def _complete(self, request: Request) -> Response:
        me = self._user(request)
        data = read_object(request)
        if data.get("user_id") != me.name and me.role not in ("admin", "system"):
            raise Refusal(403, "Başka bir kullanıcı için görev tamamlama yetkiniz yok")
        if self._faults.hits("business_refused"):
            raise Refusal(409, REFUSED)
        number = data.get("task_id")
        if not isinstance(number, int) or number not in TASKS:
            raise Refusal(404, "Geçersiz task_id")
        user = self._store.users.setdefault(str(data["user_id"]), User(str(data["user_id"])))
        if number in user.done:
            return as_json({"message": "Bu görev zaten tamamlandı", "status": "success"})
        if user.attempts.get(number) or self._faults.hits("business_loss"):
            return as_json({"error": "Bu görev için günlük deneme limitine ulaştınız", "status": "error"})
        user.attempts[number] = 1
        return self._completed(user, number)

    def _completed(self, user: User, number: int) -> Response:
        kind = str(TASKS[number]["verification_type"])
        if kind in ("automatic", "inline_button"):
            _reward(user, number)
            raise Refusal(500, BROKEN)  # done and rewarded, yet answered 500: the platform's own quirk
        key = f"{user.name}_{number}"
        user.pending.add(number)
        self._store.pending[key] = (user.name, number)
        message = f"Görev doğrulanıyor. '{kind}' türünde doğrulama gerekiyor."
        answer = {"message": message, "status": "pending", "verification_type": kind, "pending_verification_id": key}
        return as_json(answer)

    def _verify(self, request: Request) -> Response:
        self._user(request, "admin", "moderator")
        data = read_object(request, "user_id", "task_id")
        user, number = self._store.users.get(str(data["user_id"])), data["task_id"]
        if user is None or not isinstance(number, int) or number not in user.pending:
            raise Refusal(404, "Bekleyen doğrulama bulunamadı")
        user.pending.discard(number)
        del self._store.pending[f"{user.name}_{number}"]
        if data.get("status", "approved") != "approved":
            return as_json({"message": "Görev doğrulanamadı.", "status": "rejected"})
        _reward(user, number)
        shown = {"message": "Görev doğrulandı!", "status": "success", "user_xp": user.xp, "badges": user.badges}
        return as_json(shown)

    def _pending(self, request: Request) -> Response:
        self._user(request, "admin")
        waiting = [
            {"user_id": name, "task_id": task, "status": "pending"} for name, task in self._store.pending.values()
        ]
        return as_json({"pending_tasks": waiting, "status": "success"})

    def _reset_daily(self, request: Request) -> Response:
        self._user(request, "admin")
        for user in self._store.users.values():
            user.attempts.clear()
        return as_json({"message": "Günlük denemeler sıfırlandı", "status": "success"})

    def _stats(self, request: Request) -> Response:
        self._user(request)
        users = self._store.users.values()
        done = {str(number): sum(number in user.done for user in users) for number in TASKS}
        stats = {"total_users": len(users), "total_tasks": len(TASKS), "task_completions": done}
        return as_json({"stats": stats, "status": "success"})

    def _assign_badge(self, request: Request) -> Response:
        self._user(request, "admin")
        data = read_object(request, "user_id", "badge_id")
        user, badge = self._store.users.get(str(data["user_id"])), str(data["badge_id"])
        if user is None or badge not in {each["id"] for each in BADGES}:
            raise Refusal(404, "Kullanıcı bulunamadı")
        user.badges.append(badge)
        return as_json({"message": f"'{badge}' rozeti atandı", "status": "success"})


def _reward(user: User, number: int) -> None:
    task = TASKS[number]
    user.done.add(number)
    if task["reward_type"] == "xp":
        user.xp += int(str(task["reward_value"]))
    else:
        user.badges.append(str(task["reward_value"]))
