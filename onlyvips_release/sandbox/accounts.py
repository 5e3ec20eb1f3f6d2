"""Who asks: sign-in, tokens, users (platform.md section 4), with the bugs that were measured.

Reading a user deletes the stored password, changing one leaks it, a numeric Telegram id gives a token that is 500
everywhere, and the role is read from the store, never from the token.
"""

from __future__ import annotations

import time
from urllib.parse import parse_qs

from onlyvips_release.sandbox.faults import Faults
from onlyvips_release.sandbox.http import BROKEN, Refusal, Request, Response, Router, as_json, read_object
from onlyvips_release.sandbox.store import TOKEN_SECONDS, Store, User, claims_of, fits, hash_password, issue

BEARER = (("WWW-Authenticate", "Bearer"),)
BAD_LOGIN = "Kullanıcı adı veya şifre hatalı"
BAD_TOKEN = "Kimlik doğrulama bilgileri geçersiz"
DISABLED = "Hesap devre dışı bırakılmış"


class Accounts:
    """Sign-in and users of one process."""

    def __init__(self, store: Store, faults: Faults, secret: str) -> None:
        self._store = store
        self._faults = faults
        self._secret = secret

    def routes(self, router: Router) -> None:
        """Add the calls of this module."""
        add = router.add
        add("POST", "/api/auth/register", self._register)
        add("POST", "/api/auth/login", self._login)
        add("POST", "/api/auth/telegram", self._telegram)
        add("GET", "/api/auth/me", self._me)
        add("POST", "/api/auth/refresh", lambda request: self._token(self.user(request)))
        add("POST", "/api/auth/logout", self._logout)
        add("GET", "/api/auth/check-username/{}", self._check_username)
        add("GET", "/api/users/list", self._user_list)
        add("GET", "/api/users/{}", self._show_user)
        add("PUT", "/api/users/{}", self._change_user)

    def user(self, request: Request, *roles: str) -> User:
        """Who asks, by the token. The role is read from the store; with `roles`, others are refused."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            if not self._faults.on("auth_open"):
                raise Refusal(401, "Not authenticated", BEARER)
            return self._store.users["demo"]
        claims = claims_of(token, self._secret) or {}
        user = self._store.users.get(str(claims.get("sub")))
        if user is None:
            raise Refusal(401, BAD_TOKEN, BEARER)
        if not isinstance(claims.get("telegram_id", ""), str):
            raise Refusal(500, BROKEN)  # a token from a numeric Telegram id is useless everywhere
        if not user.active:
            raise Refusal(403, DISABLED)
        if roles and user.role not in roles:
            raise Refusal(403, "Bu işlem için yetkiniz yok")
        return user

    def _token(self, user: User, telegram_id: object = None) -> Response:
        expires = int(time.time()) + TOKEN_SECONDS
        claims: dict[str, object] = {"sub": user.name, "role": user.role, "exp": expires}
        if telegram_id or user.telegram_id:
            claims["telegram_id"] = telegram_id or user.telegram_id
        token = issue(claims, self._secret)
        return as_json({"access_token": token, "token_type": "bearer", "expires_at": expires})

    def _sign_in_works(self) -> None:
        if self._faults.on("no_signin"):
            raise Refusal(500, BROKEN)

    def _register(self, request: Request) -> Response:
        self._sign_in_works()
        wanted = read_object(request, "username", "password")
        name, password = str(wanted["username"]), str(wanted["password"])
        if not 3 <= len(name) <= 50 or len(password) < 6:
            raise Refusal(422, [{"type": "length", "loc": ["body"], "msg": "username 3..50, password >= 6"}])
        if name in self._store.users:
            raise Refusal(400, "Bu kullanıcı adı zaten kullanılıyor")
        telegram = wanted.get("telegram_id")
        user = User(name, hash_password(password), telegram_id=str(telegram) if telegram else None)
        self._store.users[name] = user
        return self._token(user)

    def _login(self, request: Request) -> Response:
        self._sign_in_works()
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if "urlencoded" not in request.headers.get("content-type", "") or not {"username", "password"} <= form.keys():
            raise Refusal(422, [{"type": "missing", "loc": ["body", "username"], "msg": "Field required"}])
        user = self._store.users.get(form["username"][0])
        if user is None or not fits(form["password"][0], user.password):
            raise Refusal(401, BAD_LOGIN, BEARER)
        if not user.active:
            raise Refusal(403, DISABLED)
        return self._token(user)

    def _telegram(self, request: Request) -> Response:
        self._sign_in_works()
        data = read_object(request)
        made = data.get("auth_date")
        if not isinstance(made, int) or "id" not in data or time.time() - made > 24 * 3600:
            raise Refusal(401, "Telegram doğrulama başarısız")
        name = str(data.get("username") or f"user_{data['id']}")
        user = self._store.users.setdefault(name, User(name, telegram_id=str(data["id"])))
        return self._token(user, data["id"])

    def _me(self, request: Request) -> Response:
        user = self.user(request)
        shown = {"id": user.name, "username": user.name, "role": user.role, "is_active": user.active}
        return as_json(shown | {"telegram_id": user.telegram_id, "permissions": []})

    def _logout(self, request: Request) -> Response:
        self.user(request)
        return as_json({"message": "Başarıyla çıkış yapıldı"})

    def _check_username(self, request: Request, name: str) -> Response:
        return as_json({"username": name, "available": name not in self._store.users})

    def _user_list(self, request: Request) -> Response:
        self.user(request, "admin")
        raise Refusal(500, "Kullanıcı listesi alınamadı")

    def _show_user(self, request: Request, name: str) -> Response:
        me = self.user(request)
        if name != me.name and me.role not in ("admin", "moderator", "showcu"):
            raise Refusal(403, "Başka bir kullanıcının bilgilerini görüntüleme yetkiniz yok")
        user = self._known(name)
        user.password = None  # the platform's own bug: reading a user deletes the stored password
        return as_json(user.public())

    def _change_user(self, request: Request, name: str) -> Response:
        self.user(request, "admin")
        user, changes = self._known(name), read_object(request)
        user.active = bool(changes.get("is_active", user.active))
        user.role = str(changes.get("role", user.role))
        return as_json(user.public() | {"password_hash": user.password.hex() if user.password else None})

    def _known(self, name: str) -> User:
        user = self._store.users.get(name)
        if user is None:
            raise Refusal(404, "Kullanıcı bulunamadı")
        return user
