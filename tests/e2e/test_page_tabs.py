"""The page's tabs on narrow screens, in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Browser
from tests.e2e.page_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "hub")
    yield site
    site.close()


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_a_tab_is_one_line(site: Site, browser: Browser, width: int) -> None:
    """From a small phone's width up no name is broken, all tabs are in one row, and nothing sticks out."""
    site.hub.ensure_device("mast-1")
    browser.width(width)
    browser.open(site.page.url)
    browser.wait_text("#link", "live")
    look = """
        const tabs = [...document.querySelectorAll("[role=tab]")];
        const lines = (tab) => {
            const text = document.createRange();
            text.selectNodeContents(tab);
            return text.getClientRects().length;
        };
        const page = document.documentElement;
        const rows = new Set(tabs.map((tab) => tab.offsetTop)).size;
        return [tabs.map(lines), rows, page.scrollWidth > page.clientWidth];
    """
    assert browser.driver.execute_script(look) == [[1, 1, 1], 1, False]
