"""A headless Chromium driven through its DevTools protocol, with nothing but the standard library.

Belongs here: the browser, its pages, what they requested and complained about. Does not belong here: Dagster's pages.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from endtoend.services import HOST, until

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--metrics-recording-only",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
START_SECONDS = 60


class WebSocket:
    """The client's side of a WebSocket (RFC 6455), as far as DevTools needs it: text messages."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        lines = (
            f"GET {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        self._socket.sendall("\r\n".join((*lines, "", "")).encode())
        self._file = self._socket.makefile("rb")
        assert b" 101 " in self._file.readline()
        while self._file.readline().strip():
            pass

    def send(self, text: str) -> None:
        """One text message, masked as clients must."""
        content, mask = text.encode(), secrets.token_bytes(4)
        size = len(content)
        head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
        if size >= 1 << 16:
            head = struct.pack("!BBQ", 0x81, 0xFF, size)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))
        self._socket.sendall(head + mask + masked)

    def receive(self) -> str:
        """The next message, put together from its frames."""
        parts = []
        while True:
            first, second = self._file.read(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
            parts.append(self._file.read(size))
            if first & 0x80:
                return b"".join(parts).decode()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Browser:
    """One window of a headless Chromium.

    ``requests`` are the addresses that its pages and their workers asked for; ``complaints`` what they wrote to the
    console as an error, what was thrown and not caught, and what could not be loaded.
    """

    def __init__(self, folder: Path, width: int = 1440, height: int = 900) -> None:
        assert PROGRAM
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._count = 0
        home = folder / "chromium"
        command = [PROGRAM, *OPTIONS, f"--user-data-dir={home}", f"--window-size={width},{height}", "about:blank"]
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            address = home / "DevToolsActivePort"
            port = until(
                lambda: address.exists() and address.read_text().split()[:1], START_SECONDS, "DevTools of Chromium"
            )[0]
            self._channel = WebSocket(self._window(int(port)))
        except BaseException:
            self._end()
            raise
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.order(f"{domain}.enable")
        self.order("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)

    def order(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol and its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        self._channel.send(json.dumps(message | ({"sessionId": session} if session else {})))
        waited = self._count
        while True:
            answer = json.loads(self._channel.receive())
            if answer.get("id") == waited:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._hear(answer)

    def go(self, url: str, *texts: str, seconds: float = 90) -> None:
        """Open a page and wait until it shows these texts."""
        self.order("Page.navigate", url=url)
        self.wait_for(*texts, seconds=seconds)

    def wait_for(self, *texts: str, seconds: float = 90) -> None:
        """Wait until the page shows these texts."""
        end = time.monotonic() + seconds
        while missing := [text for text in texts if text not in self.text()]:
            assert time.monotonic() < end, f"the page does not show {missing}, but: {self.text()[:2000]}"
            time.sleep(0.3)

    def text(self) -> str:
        """What the page shows as text."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        result = self.order("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def click(self, text: str, among: str = "button, a, [role=tab]") -> None:
        """Click the first element of that text."""
        test = f"e => (e.innerText || '').trim() == {json.dumps(text)}"
        found = f"[...document.querySelectorAll({json.dumps(among)})].find({test})"
        until(lambda: self.evaluate(f"!!{found}"), 60, f"{text!r} to click on")
        self.evaluate(f"{found}.click()")

    def picture(self, path: Path) -> None:
        """A screenshot as PNG."""
        path.write_bytes(base64.b64decode(self.order("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser and all of its processes."""
        with suppress(OSError, AssertionError):
            self.order("Browser.close")
        self._channel.close()
        self._end()

    def _end(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _window(self, port: int) -> str:
        from urllib.request import urlopen

        def window() -> str | None:
            with suppress(OSError), urlopen(f"http://{HOST}:{port}/json/list", timeout=5) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
                return str(pages[0]["webSocketDebuggerUrl"]) if pages else None
            return None

        return until(window, START_SECONDS, "window of Chromium")

    def _hear(self, event: dict[str, Any]) -> None:
        """Note what an event says."""
        method, facts = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(facts["url"])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in facts["args"]))
        elif method == "Runtime.exceptionThrown":
            details = facts["exceptionDetails"]
            self.complaints.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.complaints.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")
        elif method == "Target.attachedToTarget":
            # No answer is waited for: it may come after the worker has gone.
            self._count += 1
            message = {"id": self._count, "method": "Network.enable", "params": {}, "sessionId": facts["sessionId"]}
            self._channel.send(json.dumps(message))
