"""Chromium, headless, driven by its own protocol over one WebSocket: what these tests need and no more."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

KEYS = {"Tab": 9, "Enter": 13, "Space": 32}


class Chrome:
    """`with Chrome() as chrome: chrome.open(url)`. `requests`: addresses asked for since then; `errors`: what the
    console said."""

    def __init__(self, program: str = "chromium") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ov-chrome-"))
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        words += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"]
        words += ["--disable-dev-shm-usage", f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stack = ExitStack()
        self.number = 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.seen: list[str] = []

    def __enter__(self) -> Chrome:
        try:
            self.socket = self.stack.enter_context(connect(self._address(), max_size=None, compression=None))
            target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
            self.session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to the page."""
        return self._ask(method, parameters, self.session)

    def open(self, url: str) -> None:
        """Go there, until it is loaded."""
        self.requests, self.errors, self.seen = [], [], []
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self.seen:
            self._heard(json.loads(self.socket.recv(timeout=20)))

    def run(self, script: str) -> Any:
        """The value of an expression (or of its promise) in the page."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Down and up."""
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        known = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **known)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def look(self, *, dark: bool = False, width: int = 1280, height: int = 900, medium: str = "") -> None:
        """Colours, size, and "print" or the screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=medium, features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _address(self) -> str:
        path, end = self.folder / "DevToolsActivePort", time.monotonic() + 20
        while not path.exists() or len(path.read_text().split()) < 2:
            assert self.process.poll() is None, "Chromium ended"
            assert time.monotonic() < end, "Chromium does not listen"
            time.sleep(0.05)
        port, where = path.read_text().split()
        return f"ws://127.0.0.1:{port}{where}"

    def _ask(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        self.socket.send(json.dumps({**command, "sessionId": session} if session else command))
        while True:
            message = json.loads(self.socket.recv(timeout=20))
            if message.get("id") == self.number:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        self.seen.append(message.get("method", ""))
        match message:
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": str(url)}}}:
                self.requests.append(url)
            case {"method": "Runtime.exceptionThrown", "params": params}:
                self.errors.append(str(params))
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "warning"} as params}:
                self.errors.append(str(params))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error" | "warning"} as entry}}:
                self.errors.append(str(entry))
            case _:
                pass
