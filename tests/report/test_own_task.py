"""A task that a user names by ``module:Class``: its page has pictures with marks."""

from __future__ import annotations

import json

import pytest
from stub_models import BLIND, completions

from percbal.cli.main import main
from percbal.tasks import get_task

OWN = """
from percbal.tasks.sudoku import Sudoku


class Own(Sudoku):
    pass
"""
NAME, N = "a_task_of_ones_own:Own", 8


@pytest.fixture
def diagnosed(tmp_path, monkeypatch):
    """The folder of a result and its page, of a model that misreads six pictures of eight."""
    (tmp_path / "a_task_of_ones_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = completions(get_task(NAME, size=6), BLIND, N)
    said = tmp_path / "said.jsonl"
    said.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--n", str(N), "--option", "size=6"]
    paths = ["--out", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.html")]
    main(["diagnose", "--completions", str(said), "--task", NAME, *options, *paths])
    return tmp_path


def test_a_diagnosis_draws_the_task_that_it_was_told(diagnosed):
    text = (diagnosed / "r.html").read_text()
    assert text.count("<img src=") == N and text.count('<svg class="marks"') == 6
    assert "There are no pictures" not in text


def test_a_report_imports_nothing_that_only_the_result_names(diagnosed):
    page = diagnosed / "again.html"
    main(["report", str(diagnosed / "r.json"), "--out", str(page)])
    text = page.read_text()
    assert "<img src=" not in text and "--task names one of yours" in text
    main(["report", str(diagnosed / "r.json"), "--out", str(page), "--task", NAME])
    assert page.read_text() == (diagnosed / "r.html").read_text()
    main(["report", str(diagnosed / "r.json"), "--out", str(page), "--task", "os:system"])
    text = page.read_text()
    assert "<img src=" not in text and "not of &#39;os:system&#39;" in text
