"""The whole product in a browser: the demo's page, its wind, its beacon."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from selenium.webdriver.common.by import By

from tests.e2e.browser import Browser
from tests.e2e.harness import Process, wait_for


def test_the_beacon_is_switched_from_the_page(tmp_path: Path, browser: Browser) -> None:
    """Wind shows live; a command from the form is delivered and done, and its end is told."""
    with Process(tmp_path, "demo", environment={"TMPDIR": str(tmp_path)}) as demo:
        found = wait_for(
            lambda: re.search(r"http://127\.0\.0\.1:\d+/#token=\S+", demo.out), "the page's address"
        )
        browser.open(found.group())
        browser.wait_text("#link", "live")
        browser.wait_text("#devices", "demo-mast connected")
        browser.wait(lambda: re.fullmatch(r"\d+\.\d", browser.text("#speed")))
        assert browser.text("#simulated") == "simulated"
        seconds = browser.driver.find_element(By.ID, "seconds")
        seconds.clear()
        seconds.send_keys("1\n")
        browser.wait_text("#sent td.delivery", "delivered")
        browser.wait_text("#sent td.outcome", "done")
        browser.wait_text("#sent", "actuator-safe")
        assert browser.complaints() == []
        assert "beacon set to on" in demo.err
        assert demo.end(signal.SIGINT) == 0
