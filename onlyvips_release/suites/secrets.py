"""Keeps secrets out of what people read: given values in every form they may take, and texts that look like one."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL", "WEBHOOK")
"""A variable whose name holds one of these words holds a secret."""

SHORTEST = 6
"""Characters of a secret; hiding shorter ones would hide half of every text."""

HEADERS = r"(?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token|x-onlyvips-pin"
FIELDS = (
    r"(?:access_|refresh_|id_|bot_|api_)?token|(?:new_|old_)?passw(?:or)?d(?:_hash)?|(?:client_)?secret(?:_key)?|"
    r"(?:api|private)_?key|session_string|admin_key"
)
_NAME = re.compile(rf"(?:{HEADERS}|{FIELDS})", re.IGNORECASE)
_QUOTE = r"\\*[\"']?"
_LOOKS = re.compile(
    "|".join(
        (
            r"eyJ[\w-]{5,}\.[\w.-]+",  # a JSON web token, also with its middle cut out
            rf"(?i:(?P<field>\b(?:{HEADERS}|{FIELDS}){_QUOTE}\s*[:=]\s*{_QUOTE}))"
            rf"(?:(?:Bearer|Basic) )?[^\s\"'\\&,;}}\])]+",
            r"(?i:(?P<scheme>\b(?:Bearer|Basic) ))[\w.+/=~-]{6,}",
            r"(?P<url>\w+://)[^/\s:@\"']*:[^/\s@\"']+(?=@)",
            r"(?P<hook>hooks\.slack\.com/services/)[\w/]+",
            r"\b\d{6,12}:[\w-]{30,}",  # of a Telegram bot
            r"\b(?:AKIA[A-Z0-9]{12,}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|sk-[\w-]{16,})",
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        )
    ),
    re.DOTALL,
)
HIDDEN = "***"


def is_secret(variable: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return any(word in variable.upper() for word in SECRET_WORDS)


def secrets_in(env: Mapping[str, str]) -> list[str]:
    """The values of variables that are secret by their name."""
    return [value for name, value in env.items() if is_secret(name)]


def forms_of(secret: str) -> set[str]:
    """Every way in which `secret` may be written: plain, quoted, in a URL, in JSON, HTML, Python or base64."""
    plain = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    plain |= {html.escape(secret), html.escape(secret, quote=False), unquote(secret)}
    forms = plain | {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    for offset in range(3):  # within a longer text it may begin at any of three places of a group
        data = b"\0" * offset + secret.encode()
        core = base64.b64encode(data).decode()[(0, 2, 3)[offset] : len(data) * 8 // 6]
        forms |= {core, core.replace("+", "-").replace("/", "_"), quote(core, safe="")}
    return {form for form in forms if len(form) >= SHORTEST}


class Mask:
    """`mask(text)` is the text without secrets. It learns values while a suite runs, and forgets none."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets: set[str] = set()
        self._forms: list[str] = []
        self.learn(*secrets)

    def learn(self, *values: object) -> None:
        """Secrets from now on; what is too short to be one, or no text, is left out."""
        new = {value for value in values if isinstance(value, str) and len(value) >= SHORTEST} - self.secrets
        if new:
            self.secrets |= new
            more = {form for value in new for form in forms_of(value)}
            self._forms = sorted({*self._forms, *more}, key=len, reverse=True)  # a secret may hold another one

    def learn_from(self, value: object) -> None:
        """Every field of parsed JSON (or of headers) that is secret by its name."""
        if isinstance(value, Mapping):
            for name, inner in value.items():
                if isinstance(inner, str) and _NAME.fullmatch(str(name)):
                    self.learn(inner, inner.rpartition(" ")[2], inner.partition(";")[0].partition("=")[2])
                else:
                    self.learn_from(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                self.learn_from(inner)

    def __call__(self, text: str) -> str:
        """The text with `***` where a secret stood."""
        return _LOOKS.sub(_hidden, self._without_known(text))

    def _without_known(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text

    def tree(self, value: Any) -> Any:
        """The same for all texts of a JSON value."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self(key): self.tree(inner) for key, inner in value.items()}
        return [self.tree(inner) for inner in value] if isinstance(value, list | tuple) else value

    def scrub(self, path: Path) -> None:
        """Take known secrets out of a file, or of all files of a folder; a backstop for what was printed past us."""
        for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
            with contextlib.suppress(OSError):
                text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.is_file() else ""
                clean = self._without_known(text)
                if clean != text:
                    fresh = file.with_name(f"{file.name}.clean")
                    fresh.write_text(clean, encoding="utf-8", errors="surrogateescape")
                    fresh.replace(file)


def _hidden(match: re.Match[str]) -> str:
    kept = next((text for text in match.groupdict().values() if text), "")
    return f"{kept}{HIDDEN}"
