"""A headless Chromium, driven by Selenium through the system's own driver; nothing is downloaded.

Belongs here: the browser, its pages, what they requested and complained about. Does not belong here: Dagster's pages.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = None if PROGRAM and DRIVER else "needs a browser: apt-get install chromium chromium-driver"
"""Why no page can be looked at here; None where both programs are installed."""

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
    "--hide-scrollbars",
)


class Browser:
    """One window of a headless Chromium.

    ``requests`` are the addresses that its pages asked for, those of WebSockets among them; ``complaints`` what they
    wrote to the console as an error, what was thrown and not caught, and what could not be loaded.
    """

    def __init__(self, folder: Path, width: int = 1440, height: int = 900, *, dark: bool = False) -> None:
        assert MISSING is None, MISSING
        options = webdriver.ChromeOptions()
        options.binary_location = str(PROGRAM)
        for option in (*OPTIONS, f"--user-data-dir={folder / 'chromium'}", f"--window-size={width},{height}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "SEVERE", "performance": "ALL"})
        # With the path of the driver Selenium looks for none, in particular not on the network.
        service = Service(executable_path=str(DRIVER), log_output=str(folder / "driver.log"))
        self._driver = webdriver.Chrome(options=options, service=service)
        self._requests: list[str] = []
        self._complaints: list[str] = []
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        if dark:
            features = [{"name": "prefers-color-scheme", "value": "dark"}]
            self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    @property
    def requests(self) -> list[str]:
        """Addresses that pages asked for until now."""
        for entry in self._driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self._requests.append(event["params"]["request"]["url"])
            elif event["method"] == "Network.webSocketCreated":
                self._requests.append(event["params"]["url"])
        return self._requests

    @property
    def complaints(self) -> list[str]:
        """Errors on the console until now."""
        self._complaints += [entry["message"] for entry in self._driver.get_log("browser")]
        return self._complaints

    def elsewhere(self, host: str) -> list[str]:
        """Addresses on the network that lie on another host."""
        on_network = [url for url in self.requests if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
        return [url for url in on_network if urlsplit(url).hostname != host]

    def go(self, url: str, *texts: str, seconds: float = 90) -> None:
        """Open a page and wait until it shows these texts."""
        self._driver.get(url)
        self.wait_for(*texts, seconds=seconds)

    def wait_for(self, *texts: str, seconds: float = 90) -> None:
        """Wait until the page shows these texts."""
        for text in texts:
            self.until(lambda shown=text: shown in self.text(), f"the page to show {text!r}", seconds)

    def until(self, condition: Any, what: str, seconds: float = 60) -> None:
        """Wait until something is true of the page."""
        ignored = (JavascriptException,)
        waiting = WebDriverWait(self._driver, seconds, poll_frequency=0.3, ignored_exceptions=ignored)
        try:
            waiting.until(lambda _driver: condition())
        except WebDriverException as error:
            raise AssertionError(f"waited {seconds} s for {what}; the page shows: {self.text()[:2000]}") from error

    def text(self) -> str:
        """What the page shows as text."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        return self._driver.execute_script(f"return {expression}")

    def click(self, text: str, among: str = "button, a, [role=tab]") -> None:
        """Click the first element of that text."""
        test = f"e => (e.innerText || '').trim() == {json.dumps(text)}"
        found = f"[...document.querySelectorAll({json.dumps(among)})].find({test})"
        self.until(lambda: self.evaluate(f"!!{found}"), f"{text!r} to click on")
        self._driver.execute_script(f"{found}.click()")

    def press(self, *keys: str) -> None:
        """Press keys one after another, on whatever has the focus."""
        for key in keys:
            ActionChains(self._driver).send_keys(key).perform()

    def picture(self, path: Path) -> None:
        """A screenshot as PNG."""
        self._driver.save_screenshot(str(path))

    def close(self) -> None:
        """End the browser and its driver."""
        self._driver.quit()
