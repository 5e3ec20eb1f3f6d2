"""A small client of the Kubernetes API: it shows tests what goes over the wire, and every call has a time limit."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.cluster.place import ClusterError

TIMEOUT = httpx.Timeout(10, connect=2)
JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
MANAGER = "tests-cluster"
Object = dict[str, Any]
Parameters = Mapping[str, str | int | bool]


class ApiRefused(ClusterError):
    """The API server answered with an error."""

    def __init__(self, call: str, status: int, body: Object) -> None:
        super().__init__(f"{call}: {status} {body.get('reason', '')}: {body.get('message', body)}")
        self.status, self.reason, self.body = status, str(body.get("reason", "")), body


@dataclass(frozen=True)
class Answer:
    """Status and decoded body of one answer."""

    call: str
    status: int
    body: Object

    def wanted(self) -> Object:
        """Return the body; raise ApiRefused for a status of 400 or more."""
        if self.status >= 400:
            raise ApiRefused(self.call, self.status, self.body)
        return self.body


class Api:
    """Calls to one API server as one user."""

    def __init__(self, server: str, verify: ssl.SSLContext, headers: Mapping[str, str], timeout: httpx.Timeout) -> None:
        self.server, self._verify = server, verify
        self._client = httpx.Client(
            base_url=server, verify=verify, headers=dict(headers), timeout=timeout, trust_env=False
        )

    @classmethod
    def from_kubeconfig(cls, file: Path, server: str = "", timeout: httpx.Timeout = TIMEOUT) -> Self:
        """Read a kubeconfig with certificates or a token; `server` replaces the address in it."""
        content = _content(file)
        context = _named(content, "contexts", content["current-context"])["context"]
        cluster = _named(content, "clusters", context["cluster"])["cluster"]
        user = _named(content, "users", context["user"])["user"]
        if "exec" in user or "auth-provider" in user:
            raise ClusterError(f"{file} logs in by a program: give a kubeconfig with a certificate or a token")
        verify = ssl.create_default_context(cadata=_text(file, cluster, "certificate-authority"))
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        if "client-certificate-data" in user or "client-certificate" in user:
            _load_client(verify, _text(file, user, "client-certificate"), _text(file, user, "client-key"))
        return cls(server or cluster["server"], verify, headers, timeout)

    def with_token(self, token: str, authority: str) -> Api:
        """Return a client of the same server for a bearer token alone."""
        headers = {"Authorization": f"Bearer {token}"}
        return Api(self.server, ssl.create_default_context(cadata=authority), headers, TIMEOUT)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(
        self, method: str, path: str, body: object = None, content: str = JSON, **parameters: str | int | bool
    ) -> Answer:
        """Send one request and return the answer, whatever its status."""
        return self._send(method, path, body, content, parameters)

    def _send(self, method: str, path: str, body: object, content: str, parameters: Parameters) -> Answer:
        data = None if body is None else json.dumps(body)
        query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in parameters.items()}
        try:
            got = self._client.request(method, path, content=data, headers={"Content-Type": content}, params=query)
        except httpx.HTTPError as error:
            raise ClusterError(f"{method} {self.server}{path}: {type(error).__name__} {error}") from error
        kind = got.headers.get("content-type", "")
        decoded = got.json() if kind.startswith(JSON) else {"text": got.text}
        return Answer(f"{method} {path}", got.status_code, decoded)

    def get(self, path: str, **parameters: str | int | bool) -> Object:
        """Return an object or a list."""
        return self._send("GET", path, None, JSON, parameters).wanted()

    def items(self, path: str, **parameters: str | int | bool) -> list[Object]:
        """Return the objects of a list."""
        found: list[Object] = self._send("GET", path, None, JSON, parameters).wanted()["items"]
        return found

    def create(self, path: str, body: Object, **parameters: str | int | bool) -> Object:
        """Create an object in the collection `path`."""
        return self._send("POST", path, body, JSON, parameters).wanted()

    def patch(self, path: str, body: object, content: str = MERGE_PATCH, **parameters: str | int | bool) -> Object:
        """Change an object."""
        return self._send("PATCH", path, body, content, {"fieldManager": MANAGER, **parameters}).wanted()

    def apply(self, path: str, body: Object) -> Object:
        """Create or change an object by server-side apply, and take fields over from other managers."""
        return self.patch(path, body, APPLY_PATCH, force=True)

    def delete(self, path: str, policy: str = "Background") -> None:
        """Delete an object; an absent one is fine."""
        answer = self.call("DELETE", path, {"propagationPolicy": policy})
        if answer.status != 404:
            answer.wanted()

    def ready(self) -> bool:
        """Return whether the API server calls itself ready."""
        return self.call("GET", "/readyz").body.get("text") == "ok"


def _content(file: Path) -> Object:
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ClusterError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ClusterError(f"{file} is no kubeconfig")
    return content


def _named(content: Object, kind: str, name: str) -> Object:
    found: list[Object] = [entry for entry in content[kind] if entry["name"] == name]
    if not found:
        raise ClusterError(f"the kubeconfig has no entry {name!r} in {kind}")
    return found[0]


def _text(kubeconfig: Path, entry: Object, key: str) -> str:
    """Return PEM data that a kubeconfig has within or as a file, an empty text without either."""
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return (kubeconfig.parent / entry[key]).read_text() if key in entry else ""


def _load_client(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Give a client certificate to a TLS context, which takes files only."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"{certificate}\n{key}\n")
        file.flush()
        context.load_cert_chain(file.name)
