"""A real headless Chromium, driven over the W3C WebDriver protocol by chromedriver: nothing but HTTP."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


class Browser:
    """One session."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver, self._session = driver, session

    def _call(self, method: str, path: str, **body: Any) -> Any:
        answer = self._driver.request(method, f"/session/{self._session}{path}", json=body if method == "POST" else None)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    def open(self, url: str) -> None:
        self._call("POST", "/url", url=url)

    @property
    def url(self) -> str:
        return str(self._call("GET", "/url"))

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script, which may be a promise."""
        return self._call("POST", "/execute/sync", script=script, args=list(arguments))

    def wait(self, script: str, within_s: float = 30.0) -> Any:
        """The value of a script once it is true."""
        deadline = time.monotonic() + within_s
        while not (value := self.run(f"return {script}")):
            assert time.monotonic() < deadline, f"never true: {script}\n{self.run('return document.body.innerText')}"
            time.sleep(0.1)
        return value

    def type(self, *keys: str) -> None:
        """Presses keys, each down and up."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def look(self, width: int, height: int, dark: bool, scale: float = 1.0) -> None:
        """The screen's size in CSS pixels, and its colour scheme."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """The whole page as WebP."""
        found = self.devtools("Page.captureScreenshot", format="webp", quality=70, captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def console(self) -> list[str]:
        """What the browser complained of since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", type="browser")]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with a new profile in that folder. Without one: skipped, but a failure in CI."""
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        reason = "chromium is not installed (apt-get install chromium chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([str(programs[1]), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as driver:
            browser = _session(driver, str(programs[0]), folder)
            try:
                yield browser
            finally:
                browser._call("DELETE", "")
    finally:
        process.terminate()
        process.wait(10)


def _session(driver: httpx.Client, program: str, folder: Path) -> Browser:
    options = {"binary": program, "args": [*_FLAGS, f"--user-data-dir={folder}"]}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    deadline = time.monotonic() + 30
    while True:
        try:
            answer = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            assert "sessionId" in answer, answer
            return Browser(driver, answer["sessionId"])
        except httpx.ConnectError:
            assert time.monotonic() < deadline, "chromedriver does not listen"
            time.sleep(0.1)
