"""backend-api: the flows that earn the money, and what everybody may look at.

Calls that are always 500 on this platform (payments, admin, likes, uploads), and tasks 1 and 5, are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from onlyvips_release.expect import answered, body_of, field, require, same

if TYPE_CHECKING:
    from smoke_tests.conftest import Completed, User

pytestmark = [pytest.mark.service("backend-api"), pytest.mark.severity("critical")]

FEWEST = 8
"""Tasks that a user must be offered."""


def tasks_of(client: httpx.Client, user: User) -> list[dict[str, Any]]:
    """The tasks that are offered."""
    body = body_of(client.get("/api/tasks/list", headers=user.headers))
    return list(field(body, "tasks", list))


def status_of(client: httpx.Client, user: User, number: int) -> str:
    """The status of one of a user's tasks."""
    body = body_of(client.get(f"/api/tasks/user/{user.name}", headers=user.headers))
    return str(next((task["status"] for task in field(body, "tasks", list) if task["id"] == number), "gone"))


@pytest.mark.title("A user is offered tasks")
def test_tasks_are_offered(onlyvips_api: httpx.Client, user: User) -> None:
    found = len(tasks_of(onlyvips_api, user))
    require(found >= FEWEST, "tasks", expected=f"at least {FEWEST}", got=found, limit=str(FEWEST))


@pytest.mark.title("The list of tasks says that it is complete")
def test_list_of_tasks_says_success(onlyvips_api: httpx.Client, user: User) -> None:
    body = body_of(onlyvips_api.get("/api/tasks/list", headers=user.headers))
    same("status", body.get("status"), "success")


FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "number": {"id": int},
    "words": {"title": str, "description": str},
    "reward": {"reward_type": str, "reward_value": (int, str)},
    "verification": {"verification_type": str, "verification_required": bool},
}


@pytest.mark.parametrize("about", FIELDS)
@pytest.mark.title("Every task has its {about}")
def test_every_task_has_its_fields(onlyvips_api: httpx.Client, user: User, about: str) -> None:
    for task in tasks_of(onlyvips_api, user):
        for name, kind in FIELDS[about].items():
            field(task, name, kind)


@pytest.mark.title("A user sees how far he is")
def test_progress_is_the_users_own(onlyvips_api: httpx.Client, user: User) -> None:
    body = body_of(onlyvips_api.get(f"/api/tasks/user/{user.name}", headers=user.headers))
    info = field(body, "user_info", dict)
    same("user_info.user_id", info.get("user_id"), user.name)
    field(info, "xp", (int, float))
    field(info, "badges", list)


@pytest.mark.title("A user's progress names every task that is offered")
def test_progress_names_every_task(onlyvips_api: httpx.Client, user: User) -> None:
    body = body_of(onlyvips_api.get(f"/api/tasks/user/{user.name}", headers=user.headers))
    mine = sorted(str(task.get("id")) for task in field(body, "tasks", list))
    same("tasks of the user", mine, sorted(str(task.get("id")) for task in tasks_of(onlyvips_api, user)))


@pytest.mark.title("A user completes a task, and it waits for verification")
def test_completed_task_waits(
    onlyvips_api: httpx.Client,
    complete: Callable[[str], Completed | None],
    tried: Callable[[str], Completed],
) -> None:
    user, number = complete("do") or tried("do")
    status = status_of(onlyvips_api, user, number)
    known = ("pending", "completed")
    require(status in known, f"task {number} of {user.name}", expected=" or ".join(known), got=status)


@pytest.mark.title("A task is not done twice in a day, and no error is a success")
def test_task_is_not_done_twice(
    onlyvips_api: httpx.Client,
    complete: Callable[[str], Completed | None],
    tried: Callable[[str], Completed],
) -> None:
    user, number = complete("twice") or tried("twice")
    wanted = {"user_id": user.name, "task_id": number}
    body = body_of(onlyvips_api.post("/api/tasks/complete", json=wanted, headers=user.headers))
    same("status", body.get("status"), "error")
    field(body, "error", str)


@pytest.mark.title("A task that does not exist cannot be completed")
def test_unknown_task_is_refused(onlyvips_api: httpx.Client, user: User) -> None:
    wanted = {"user_id": user.name, "task_id": 999}
    answered(onlyvips_api.post("/api/tasks/complete", json=wanted, headers=user.headers), 404)


@pytest.mark.severity("normal")
@pytest.mark.title("The statistics count the tasks that are offered")
def test_statistics_count_the_tasks(onlyvips_api: httpx.Client, user: User) -> None:
    stats = field(body_of(onlyvips_api.get("/api/tasks/stats", headers=user.headers)), "stats", dict)
    same("total_tasks", stats.get("total_tasks"), len(tasks_of(onlyvips_api, user)))
    require(field(stats, "total_users", int) > 0, "total_users", expected="more than 0", got=stats["total_users"])


def decided(client: httpx.Client, admin: dict[str, str], done: Completed, word: str) -> httpx.Response:
    """What an admin's word on a task is answered."""
    wanted: dict[str, object] = {"user_id": done[0].name, "task_id": done[1], "status": word}
    return client.post("/api/tasks/verify", json=wanted, headers=admin)


@pytest.mark.needs("admin")
@pytest.mark.title("An admin sees a task that waits for verification")
def test_admin_sees_the_waiting_task(
    onlyvips_api: httpx.Client,
    admin: dict[str, str],
    complete: Callable[[str], Completed | None],
    tried: Callable[[str], Completed],
) -> None:
    user, number = complete("see") or tried("see")
    waiting = field(body_of(onlyvips_api.get("/api/tasks/pending", headers=admin)), "pending_tasks", list)
    mine = [task for task in waiting if (task.get("user_id"), task.get("task_id")) == (user.name, number)]
    require(mine, f"task {number} of {user.name}", expected="among those that wait", got=waiting)


DECISIONS = {"approved": ("success", {"completed"}), "rejected": ("rejected", {"available", "rejected"})}


@pytest.mark.needs("admin")
@pytest.mark.parametrize("word", DECISIONS)
@pytest.mark.title("An admin's word on a task counts: {word}")
def test_word_of_an_admin_counts(
    onlyvips_api: httpx.Client,
    admin: dict[str, str],
    user: User,
    complete: Callable[[str], Completed | None],
    word: str,
) -> None:
    says, becomes = DECISIONS[word]
    if done := complete(word):
        same("status", body_of(decided(onlyvips_api, admin, done, word)).get("status"), says)
        status = status_of(onlyvips_api, *done)
        require(status in becomes, f"task {done[1]} of {done[0].name}", expected=" or ".join(becomes), got=status)
    else:  # all of its accounts' tasks are used up: then only what does not wait can be asked for
        answered(decided(onlyvips_api, admin, (user, 10), word), 404)


# --- what everybody may look at ---------------------------------------------------------------------------------------


@pytest.mark.title("Everybody sees the badges")
def test_badges_are_shown(onlyvips_api: httpx.Client) -> None:
    badges = field(body_of(onlyvips_api.get("/api/badges/list")), "badges", list)
    require(len(badges) >= 3, "badges", expected="at least 3", got=len(badges), limit="3")
    for badge in badges:
        for name in ("id", "name", "description", "icon"):
            field(badge, name, str)


LISTS = {"content": ("/api/content/", "contents", 20), "showcus": ("/api/showcus/", "showcus", 20)}


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.title("Everybody sees a page of {what}")
def test_page_has_entries(onlyvips_api: httpx.Client, what: str) -> None:
    path, key, size = LISTS[what]
    found = field(body_of(onlyvips_api.get(path, params={"page": 1, "per_page": size})), key, list)
    require(0 < len(found) <= size, key, expected=f"1 to {size} entries", got=len(found), limit=str(size))


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.title("The pages of {what} are counted in numbers")
def test_page_counts_in_numbers(onlyvips_api: httpx.Client, what: str) -> None:
    path, _, size = LISTS[what]
    body = body_of(onlyvips_api.get(path, params={"page": 1, "per_page": size}))
    for name, kind in (("total", int), ("page", int), ("per_page", int), ("has_next", bool)):
        field(body, name, kind)


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.title("The second page of {what} is another one")
def test_second_page_is_another(onlyvips_api: httpx.Client, what: str) -> None:
    path, key, _ = LISTS[what]
    pages = [body_of(onlyvips_api.get(path, params={"page": page, "per_page": 5})) for page in (1, 2)]
    first, second = ([entry.get("id") for entry in field(page, key, list)] for page in pages)
    both = sorted(str(entry) for entry in set(first) & set(second))
    require(not both, "entries of page 2", expected="none of page 1", got=both)


@pytest.mark.severity("normal")
@pytest.mark.parametrize("what", LISTS)
@pytest.mark.title("A page of {what} that is too large is refused")
def test_too_large_page_is_refused(onlyvips_api: httpx.Client, what: str) -> None:
    answered(onlyvips_api.get(LISTS[what][0], params={"page": 1, "per_page": 101}), 422)


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.title("One of the {what} is found by its id")
def test_entry_is_found_by_its_id(onlyvips_api: httpx.Client, what: str) -> None:
    path, key, _ = LISTS[what]
    first = field(body_of(onlyvips_api.get(path, params={"page": 1, "per_page": 1})), key, list)[0]
    same("id", body_of(onlyvips_api.get(f"{path}{first['id']}")).get("id"), first["id"])


@pytest.mark.severity("normal")
@pytest.mark.parametrize("what", LISTS)
@pytest.mark.title("One of the {what} that does not exist is not found")
def test_unknown_entry_is_not_found(onlyvips_api: httpx.Client, what: str) -> None:
    answered(onlyvips_api.get(f"{LISTS[what][0]}never-made"), 404)


@pytest.mark.title("A piece of content has all that its page shows")
def test_content_has_what_its_page_shows(onlyvips_api: httpx.Client) -> None:
    body = body_of(onlyvips_api.get("/api/content/content_1"))
    for name in ("title", "type", "url", "thumbnail_url", "creator_id", "creator_username"):
        field(body, name, str)
    field(body, "is_premium", bool)


@pytest.mark.severity("normal")
@pytest.mark.title("A look at a piece of content is counted, where the platform has its Redis")
def test_look_is_counted(onlyvips_api: httpx.Client) -> None:
    onlyvips_api.get("/api/content/content_1")
    answer = onlyvips_api.post("/api/content/content_1/view")
    if answer.status_code != 404:  # what it answers without Redis
        views = field(body_of(answer), "views", int)
        require(views > 0, "views", expected="more than 0", got=views)


@pytest.mark.title("A creator has a name to be shown by")
def test_creator_has_a_name(onlyvips_api: httpx.Client) -> None:
    first = field(body_of(onlyvips_api.get("/api/showcus/", params={"per_page": 1})), "showcus", list)[0]
    for name in ("username", "display_name"):
        field(first, name, str)


@pytest.mark.title("The content of a creator is shown")
def test_content_of_a_creator_is_shown(onlyvips_api: httpx.Client) -> None:
    field(body_of(onlyvips_api.get("/api/showcus/showcu_1/contents")), "contents", list)
