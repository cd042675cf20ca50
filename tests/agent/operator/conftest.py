"""A running local hub for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .site import Site, running_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for a module: its tests clean up, or use ids of their own."""
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site
