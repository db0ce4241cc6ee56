"""The page of `percbal data check`: rows with their segments in colour, escaped, in a browser."""

from __future__ import annotations

import chromium
import pytest

from percbal.data.check import Check, TriedRow
from percbal.report.rows import write_page

EVIL = "<script>alert(1)</script></pre><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "check.html"
    pieces = [("prompt", EVIL), ("perception", "two  spaces\nand a line"), ("plan\"'>", EVIL)]
    check = Check()
    check.add(
        TriedRow(
            place=EVIL,
            segments={"perception": 3, "plan\"'>": 2},
            tokens=5,
            trained=5,
            images=[(64, 32)],
            pieces=pieces,
        )
    )
    check.add(TriedRow(place=f"{EVIL} 2", problem=EVIL))
    write_page(check, EVIL, path)
    return path.as_uri()


@pytest.mark.skipif(chromium.FOUND is None, reason="needs Chromium or Chrome")
def test_every_text_is_shown_as_it_is(page):
    assert page.value("document.scripts.length") == 1 and page.value("document.images.length") == 0
    texts = "[...document.querySelectorAll('.segments span')].map(s => s.textContent)"
    assert page.value(texts) == [EVIL, "two  spaces\nand a line", EVIL]
    assert page.value("document.title") == EVIL
    head = page.value("document.querySelector('h3').innerText")
    assert head == f"{EVIL} 5 tokens; images: 64 x 32"
    assert page.value("document.querySelector('td').innerText") == EVIL
    further = page.value("document.querySelector('.segments .s-further').title")
    assert further == "plan\"'>"


@pytest.mark.skipif(chromium.FOUND is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize("dark", [False, True])
def test_segments_have_colours_of_their_own_in_light_and_dark(page, dark):
    page.look(1000, 800, dark=dark)
    color = "k => getComputedStyle(document.querySelector(`.s-${k}`)).backgroundColor"
    kinds = "['prompt', 'perception', 'reasoning', 'further']"
    assert page.value(f"new Set({kinds}.map({color})).size") == 4
