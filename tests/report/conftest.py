"""A page, opened in a browser."""

from __future__ import annotations

import chromium
import pytest


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One for a file's tests, which need it (`chromium.FOUND`)."""
    opened = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser, address):
    """The page at the file's own ``address``: no error in it, and nothing fetched."""
    browser.look(1000, 800)
    browser.errors.clear()
    browser.requests.clear()
    browser.open("about:blank")
    browser.open(address)
    yield browser
    assert browser.errors == []
    assert [r for r in browser.requests if not r.startswith(("file:", "data:", "about:"))] == []
