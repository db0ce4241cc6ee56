"""The page in a browser: nothing fails, nothing is fetched, and one can click through it."""

from __future__ import annotations

import json

import chromium
import pytest
from made_results import THINKS_BUT_CANNOT_SEE, result

from percbal.cli.main import main

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason="needs Chromium or Chrome")
SHOWN = "[...document.querySelectorAll('article')].filter(a => a.offsetParent).map(a => a.id)"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)></pre></script>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    data = result(THINKS_BUT_CANNOT_SEE)
    data["records"][0]["completion"] = EVIL
    (folder / "result.json").write_text(json.dumps(data))
    main(["report", str(folder / "result.json"), "--out", str(folder / "report.html")])
    return (folder / "report.html").as_uri()


def test_it_opens_and_says_the_trouble(page):
    assert page.value("document.querySelector('h1').innerText") == "It fails to see."
    assert page.value("document.querySelectorAll('img').length") == 2 * 40  # and as small ones
    assert page.value("[...document.images].every(i => i.naturalWidth > 0)")


def test_a_script_in_a_completion_is_shown_and_not_run(page):
    assert page.value("document.querySelector('#i0 details pre').textContent") == EVIL
    assert page.value("document.scripts.length") == 1


def test_one_steps_through_failures_by_keys_buttons_and_filters(page):
    first = page.value(SHOWN)
    assert len(first) == 1
    assert page.value("document.getElementById('position').innerText") == "1 of 29"
    page.press("ArrowRight")
    second = page.value(SHOWN)
    assert len(second) == 1 and second != first
    assert page.value("location.hash") == f"#{second[0]}"
    page.press("ArrowLeft")
    assert page.value(SHOWN) == first
    page.value("document.querySelector('button[data-filter=right]').click()")
    assert page.value("document.getElementById('position').innerText") == "1 of 11"
    page.value("document.getElementById('previous').click()")
    assert page.value("document.getElementById('position').innerText") == "11 of 11"
    kind = f"document.getElementById({page.value(SHOWN)[0]!r}).dataset.kind"
    assert page.value(kind) == "right"


MARKS = "[...document.querySelectorAll('.marks')].filter(m => m.checkVisibility()).length"


def test_marks_are_on_the_picture_until_a_key_or_the_button_takes_them_off(page):
    box = "(s => { const b = document.querySelector('article:not([hidden]) ' + s)"
    box += ".getBoundingClientRect(); return [b.x, b.y, b.width, b.height].map(Math.round) })"
    drawn, below = page.value(f"{box}('svg.marks')"), page.value(f"{box}('img')")
    assert all(abs(a - b) <= 2 for a, b in zip(drawn, below, strict=True))
    assert page.value(MARKS) == 1
    page.press("m")
    assert page.value(MARKS) == 0
    assert page.value("document.getElementById('marks').getAttribute('aria-pressed')") == "false"
    page.value("document.getElementById('marks').click()")
    assert page.value(MARKS) == 1


LOOK = "['misread', 'misanswered'].map(k => getComputedStyle("
LOOK += "document.querySelector(`.marks .w-${k} .line`))).map(s => [s.strokeDasharray, s.stroke])"


def test_a_wrong_answer_is_marked_by_another_shape_line_and_colour(page):
    (dashes, color), (dots, other) = page.value(LOOK)
    assert dashes == "none" and dots != "none" and color != other
    shape = "k => document.querySelector(`.marks-key .w-${k} .line`).getAttribute('d')"
    assert page.value(f"new Set(['misread', 'misanswered'].map({shape})).size") == 2
    inside = "[...document.querySelectorAll('article:not([hidden]) .w-misanswered .line')]"
    inside += ".map(m => m.getBBox()).every(b => b.x >= 0 && b.y >= 0 && b.x + b.width <= 100"
    inside += " && b.y + b.height <= 100)"
    assert page.value(inside)
    key = page.value("document.querySelector('article:not([hidden]) .marks-key').innerText")
    assert "misanswered its answer, written small" in key


def test_an_address_with_a_hash_shows_that_instance(page, address):
    page.open("about:blank")
    page.open(address + "#i7")
    assert page.value(SHOWN) == ["i7"]


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_it_is_light_or_dark_as_the_system_says_and_by_its_button(page):
    light = page.value(BACKGROUND)
    page.look(1000, 800, dark=True)
    dark = page.value(BACKGROUND)
    assert light != dark
    page.value("document.getElementById('theme').click()")
    assert page.value(BACKGROUND) == light
    page.look(1000, 800)
    page.value("document.getElementById('theme').click()")
    assert page.value(BACKGROUND) == dark


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_screen(page, width):
    page.look(width, 740)
    assert page.value("document.documentElement.scrollWidth") <= width


def test_long_names_of_models_are_not_wider_than_the_screen(page, tmp_path):
    files = [tmp_path / f"{i}.json" for i in range(2)]
    for i, file in enumerate(files):
        file.write_text(json.dumps(result(THINKS_BUT_CANNOT_SEE, model=f"{'a-long/' * 12}{i}")))
    both = tmp_path / "both.html"
    main(["report", *map(str, files), "--out", str(both)])
    page.look(360, 740)
    page.open(both.as_uri())
    assert page.value("document.querySelectorAll('.verdict').length") == 2
    assert page.value("document.documentElement.scrollWidth") <= 360
