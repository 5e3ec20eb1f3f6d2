"""What backend-api remembers: users, and tasks that wait for verification. One memory per process, as the platform's:
two arms share no user. A token of one arm is understood by the other (same SECRET_KEY), but its user is unknown there.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from dataclasses import dataclass, field

TOKEN_SECONDS = 7 * 24 * 3600
ROUNDS = 100
"""PBKDF2 rounds: the platform's 100 000 cost 31 ms a login, these well under 1 ms."""


@dataclass(slots=True)
class User:
    """One user. `password` is salt and hash, or None when signing in with one is impossible."""

    name: str
    password: bytes | None = None
    role: str = "user"
    active: bool = True
    telegram_id: str | None = None
    xp: int = 0
    badges: list[str] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=dict)

    def public(self) -> dict[str, object]:
        """The user as `/api/users/{u}` shows it."""
        shown: dict[str, object] = {"username": self.name, "role": self.role, "is_active": self.active}
        return shown | {"xp": self.xp, "badges": self.badges, "completed_tasks": sorted(self.done)}


class Store:
    """All users of one process, and the pending verifications as `user_task` -> (user, task)."""

    def __init__(self) -> None:
        self.users = {"demo": User("demo"), "admin": User("admin", role="admin")}
        self.pending: dict[str, tuple[str, int]] = {}


def hash_password(password: str, salt: bytes | None = None) -> bytes:
    """Salt and hash of `password`."""
    salt = os.urandom(8) if salt is None else salt
    return salt + hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)


def fits(password: str, stored: bytes | None) -> bool:
    """Whether `password` is the one that was stored."""
    return stored is not None and hmac.compare_digest(hash_password(password, stored[:8]), stored)


def _pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _signature(signed: str, secret: str) -> str:
    return _pack(hmac.digest(secret.encode(), signed.encode(), "sha256"))


_HEADER = _pack(b'{"alg":"HS256","typ":"JWT"}')


def issue(claims: dict[str, object], secret: str) -> str:
    """A JSON Web Token, HS256. One in a hundred contains `--`, which the platform's input filter hates."""
    signed = f"{_HEADER}.{_pack(json.dumps(claims).encode())}"
    return f"{signed}.{_signature(signed, secret)}"


def claims_of(token: str, secret: str) -> dict[str, object] | None:
    """The claims of a token that is genuine and has not expired, else None."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(signed, secret).encode(), signature.encode()):
        return None
    try:
        claims = json.loads(_unpack(signed.partition(".")[2]))
    except ValueError:
        return None
    alive = isinstance(claims, dict) and float(claims.get("exp", 0)) > time.time()
    return claims if alive else None
