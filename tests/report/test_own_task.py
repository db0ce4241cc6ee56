"""A task that a user names by ``module:Class``: its page has pictures with marks."""

from __future__ import annotations

import json

import pytest
from made_results import result
from stub_models import BLIND, completions

from percbal.cli.main import main
from percbal.report.diagnosis import page
from percbal.report.results import checked, read_result
from percbal.tasks import get_task

OWN = """
from percbal.tasks.sudoku import Sudoku


class Own(Sudoku):
    pass


class Numbers(Sudoku):
    def wrong_in_answer(self, said, truth):
        return [] if self.right(said, self.problem_in(truth), truth) else [("r1c1", 3, None)]


class Nowhere(Sudoku):
    def places(self, instance):
        bad = [(), None, ((0.1,),), (("a", "b"),), ((float("nan"), 0.5),)]
        cells = super().places(instance)
        for i, cell in enumerate(list(cells)[::2]):
            cells[cell] = bad[i % len(bad)]
        return cells


class Pairs(Sudoku):
    def wrong_in_answer(self, said, truth):
        return [("r1c1", "3")]
"""
NAME, N = "a_task_of_ones_own:Own", 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where Python finds the tasks."""
    (tmp_path / "a_task_of_ones_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def diagnosed(folder):
    """The folder of a result and its page, of a model that misreads six pictures of eight."""
    diagnose(folder, NAME)
    return folder


def diagnose(tmp_path, name):
    rows = completions(get_task(NAME, size=6), BLIND, N)
    said = tmp_path / "said.jsonl"
    said.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--n", str(N), "--option", "size=6"]
    paths = ["--out", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.html")]
    main(["diagnose", "--completions", str(said), "--task", name, *options, *paths])


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


def test_numbers_of_a_wrong_answer_are_texts_in_the_result(folder):
    """A result once said that it was damaged, for ever."""
    diagnose(folder, NAME.replace("Own", "Numbers"))
    records = read_result(folder / "r.json").data["records"]
    assert [record["wrong_answers"] for record in records if record["wrong_answers"]] == [
        [["r1c1", "3", None]]
    ] * 6


def test_wrong_parts_that_a_result_cannot_hold_end_a_diagnosis_before_it_begins(folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "/nowhere", "--task", NAME.replace("Own", "Pairs")])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    assert "wrong_answers of the task sudoku gives ('r1c1', '3'), and not texts (name" in said


def test_places_that_are_none_are_left_out(folder):
    """One such place once made the whole page fail."""
    diagnose(folder, NAME.replace("Own", "Nowhere"))
    text = (folder / "r.html").read_text()
    assert text.count("<img src=") == N and "Some pictures are missing" not in text
    assert 'class="w-misanswered"' in text and "with no place in the picture" in text


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("import a_package_that_is_not_here", "package_that_is_not_here', which {} imports"),
        ("import {}_.part", "named '{}_', which {} imports"),
    ],
)
def test_what_a_task_s_module_lacks_is_not_told_as_a_wrong_path(text, sentence, folder):
    module = f"own_task_that_lacks_{len(text)}"
    (folder / f"{module}.py").write_text(text.replace("{}", module))
    with pytest.raises(ValueError) as problem:
        get_task(f"{module}:Own")
    said = str(problem.value)
    assert sentence.replace("{}", module) in said and "PYTHONPATH" not in said


@pytest.mark.parametrize("module", ["no_such_module", "percbal.no_such", "no_such.module"])
def test_a_path_where_no_module_is_says_where_python_looks(module):
    with pytest.raises(ValueError, match="Python looks in PYTHONPATH"):
        get_task(f"{module}:Own")


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["report", "one", "one", "--task", NAME], "a task is for the pictures of one result; "),
        (["report", "rows", "--task", NAME], "a task draws no pictures here: the result is of a d"),
        (
            ["report", "one", "one", "--dataset", "x"],
            "a data set is for the pictures of one result",
        ),
        (
            ["report", "one", "--dataset", "x"],
            "a data set has no pictures for this page: ",
        ),
        (["report", "one", "one", "--show", "3"], "--show is for one result; there are 2"),
        (
            ["report", "one", "--images-within", "x"],
            "a folder of images has no pictures for this page: the result is of a task",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = result({"right": 1})
    (tmp_path / "one").write_text(json.dumps(data))
    (tmp_path / "rows").write_text(json.dumps(data | {"source": {"dataset": "x"}}))
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().err
    assert end.value.code == 2 and sentence in said and said.count("\n") == 1


def test_pictures_that_the_model_never_saw_are_not_shown(diagnosed):
    """The task draws its pictures otherwise since, and they show the same."""
    data = json.loads((diagnosed / "r.json").read_text())
    then = data["source"]["described"]
    assert then == get_task(NAME, size=6).describe()
    data["source"]["described"] = then.replace("96 px", "48 px")
    text = page([checked(data, "x")], task=NAME)
    assert "<img src=" not in text and "the task draws other pictures now, sudoku 6x6" in text
    del data["source"]["described"]  # as in older results
    text = page([checked(data, "x")], task=NAME)
    assert text.count("<img src=") == N and "other pictures now" not in text
