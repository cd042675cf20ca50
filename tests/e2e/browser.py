"""Headless Chromium, and what a test wants to know of a page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
WAIT_S = 30
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--window-size=1280,1000",
)


class Browser:
    """Chromium with a page open, and what a test wants to know of it."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for flag in FLAGS:
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=CHROMEDRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_script_timeout(WAIT_S)

    def open(self, url: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(url)

    def text(self, selector: str) -> str:
        """What is to be read there, in one look: the page may redraw between two."""
        script = """
            const found = [...document.querySelectorAll(arguments[0])];
            return found.filter((e) => e.checkVisibility()).map((e) => e.innerText).join(" ");
        """
        return " ".join(self.driver.execute_script(script, selector).split())

    def wait(self, what: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, WAIT_S, poll_frequency=0.1).until(lambda _: what())

    def wait_text(self, selector: str, part: str) -> None:
        try:
            self.wait(lambda: part in self.text(selector))
        except Exception as error:
            raise AssertionError(f"{selector} says {self.text(selector)!r}, not {part!r}") from error

    def speed_line(self) -> str | None:
        """The drawn path of the speed, None before there is one."""
        script = "return document.querySelector('.line.speed')?.getAttribute('d')"
        path = self.driver.execute_script(script)
        return None if path is None else str(path)

    def value(self, element_id: str) -> str:
        """What is typed in a field."""
        script = "return document.getElementById(arguments[0]).value"
        return str(self.driver.execute_script(script, element_id))

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        return str(self.driver.execute_script("return document.activeElement.id"))

    def width(self, pixels: int, height: int = 800, scale: int = 2) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": pixels, "height": height, "deviceScaleFactor": scale, "mobile": pixels < 600},
        )

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """Errors and warnings of the console: scripts' own, failed requests, violations of the policy."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call, unused-ignore]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def close(self) -> None:
        self.driver.quit()
