from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.browser import CHROMEDRIVER, CHROMIUM, Browser


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of pages; without one they skip, but not in CI."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        assert os.environ.get("CI") != "true", "the tests of pages need chromium and chromedriver"
        pytest.skip("no chromium")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """Chromium on an empty page, its console empty."""
    chromium.complaints()
    yield chromium
    chromium.open("about:blank")
    chromium.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
