"""The page of a study in a browser: nothing fails, nothing is fetched, and it can be read."""

from __future__ import annotations

import json
from dataclasses import replace

import chromium
import pytest
from made_results import SEES_BUT_CANNOT_THINK, THINKS_BUT_CANNOT_SEE, result

from percbal.evaluate.intervals import Interval
from percbal.report.page import SAMPLES, write_report
from percbal.study import files
from percbal.study.plan import Arm
from percbal.study.presets import SMOKE
from percbal.study.results import Difference, Results, Row

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason="needs Chromium or Chrome")
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
STUDY = replace(
    SMOKE, starts=SMOKE.starts[:1], arms=(Arm("mild"), Arm(EVIL)), compared=((EVIL, "mild"),)
)
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def row(arm: str, value: float) -> Row:
    figures = {m: Interval(value, value - 0.1, value + 0.1) for m in ("a", "a_p", "a_r")}
    by_run = {m: [value] for m in figures}
    return Row("base", arm, ["0"], False, figures, by_run, {}, {}, 1.0)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    told = zip(STUDY.arms, (SEES_BUT_CANNOT_THINK, THINKS_BUT_CANNOT_SEE), strict=True)
    for arm, counts in told:
        for run in STUDY.runs_of("base", arm.name):
            folder = files.run_directory(root, run)
            folder.mkdir(parents=True)
            (folder / files.DIAGNOSIS).write_text(json.dumps(result(counts)))
            logs = [{"step": step, "loss_p": 1 / step, "lambda": 0.5} for step in (1, 2, 3)]
            (folder / files.HISTORY).write_text(json.dumps(logs))
    change = {m: Interval(0.2, 0.1, 0.3) for m in ("a", "a_p", "a_r")}
    apart = Difference("base", EVIL, "mild", ["0"], change, {m: [0.2] for m in change})
    results = Results("smoke", 8, 0, [row("mild", 0.4), row(EVIL, 0.6)], [apart])
    path = write_report(STUDY, results, root)
    assert (root / "accuracies.png").stat().st_size > 1000
    return path.as_uri()


def test_it_shows_plots_and_what_every_arm_made_of_the_first_pictures(page):
    assert page.value("document.querySelectorAll('.plot img').length") == 2
    assert page.value("[...document.images].every(i => i.naturalWidth > 0)")
    assert page.value("document.querySelectorAll('article').length") == SAMPLES
    seen = "[...document.querySelectorAll('article .bad')].filter(e => e.checkVisibility()).length"
    assert page.value(seen) > 0
    card = "getComputedStyle(document.querySelector('.plot')).backgroundColor"
    for dark in (False, True):  # the plots have black letters
        page.look(1000, 800, dark=dark)
        assert page.value(card) == "rgb(255, 255, 255)"


def test_an_arm_named_as_a_script_is_shown_and_not_run(page):
    assert page.value("document.querySelector('.why b').textContent") == f"{EVIL} minus mild"
    assert page.value("document.querySelectorAll('article h4')[1].innerText").startswith(EVIL)
    assert page.value("document.scripts.length") == 1
    assert page.value("document.querySelectorAll('[onerror]').length") == 0


def test_it_is_light_or_dark_as_the_system_says_and_by_its_button(page):
    light = page.value(BACKGROUND)
    page.look(1000, 800, dark=True)
    assert page.value(BACKGROUND) != light
    page.value("document.getElementById('theme').click()")
    assert page.value(BACKGROUND) == light


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_screen(page, width):
    page.look(width, 740)
    assert page.value("document.documentElement.scrollWidth") <= width
