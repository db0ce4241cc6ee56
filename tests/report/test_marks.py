"""What is marked on the pictures of a page: every part that was misread, missed or invented."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from made_results import THINKS_BUT_CANNOT_SEE, result
from stub_models import BLIND, PERFECT, THOUGHTLESS, completions

from percbal.cli.main import main
from percbal.report.diagnosis import page
from percbal.report.results import checked
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl


def diagnosed(tmp_path, name, model, n=16):
    """The page and the JSON, by the command."""
    rows = completions(get_task(name), model, n)
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {
        option: tmp_path / f"r.{kind}" for option, kind in (("out", "json"), ("report", "html"))
    }
    options = [word for option, path in paths.items() for word in (f"--{option}", str(path))]
    main(
        [
            "diagnose",
            "--completions",
            str(tmp_path / "said.jsonl"),
            "--task",
            name,
            "--n",
            str(n),
            *options,
        ]
    )
    return paths["report"].read_text(), json.loads(paths["out"].read_text())


@pytest.mark.parametrize(
    "model, headline",
    [
        (PERFECT, "It makes no mistake"),
        (BLIND, "It fails to see"),
        (THOUGHTLESS, "It fails to reason"),
    ],
)
@pytest.mark.parametrize("name", ["sudoku", "coloring", "chart"])
def test_a_model_made_by_hand_is_told_by_its_trouble(name, model, headline, tmp_path):
    text, data = diagnosed(tmp_path, name, model)
    assert f"<h1>{headline}.</h1>" in text
    seen_wrong = sum(bool(record["wrong_parts"]) for record in data["records"])
    assert seen_wrong == (12 if model == BLIND else 0)
    assert all(bool(record["wrong_answers"]) is not record["a"] for record in data["records"])
    marked = sum(bool(r["wrong_parts"] or placed(name, r)) for r in data["records"])
    assert marked or model == PERFECT
    assert text.count('<svg class="marks"') == marked
    assert ('id="marks"' in text) is bool(marked)


def placed(name, record):
    """The wrong parts of its answer that have a place in its picture."""
    task = get_task(name)
    places = task.answer_places(task.generate(record["index"], "test", 0))
    return [part for part in record["wrong_answers"] if part[0] in places]


@pytest.mark.parametrize("model", [BLIND, THOUGHTLESS])
@pytest.mark.parametrize("name", ["sudoku", "coloring", "chart"])
def test_every_wrong_part_of_an_answer_is_marked(name, model, tmp_path):
    text, data = diagnosed(tmp_path, name, model)
    wrong = [(record, part) for record in data["records"] for part in placed(name, record)]
    assert wrong
    assert text.count('<g class="w-misanswered"') == sum(
        said is not None for _, (*_, said) in wrong
    )
    for _, (part, right, said) in wrong:
        told = f"misanswered {part}: {said}" + (f", {right} is right" if right else "")
        assert f"<title>{told}</title>" in text
    every = {part[0] for record in data["records"] for part in record["wrong_answers"]}
    # too many colours, or a sum of all values, have no place
    nowhere = {"sudoku": set(), "coloring": {"colors"}, "chart": set()}[name]
    assert every - {part[0] for _, part in wrong} == nowhere


def test_what_an_answer_leaves_out_is_marked_and_what_has_no_place_counted():
    data = result({"reasoning": 1})
    data["records"][0]["wrong_answers"] = [["r1c1", None, None], ["r9c9", "1", "2"]]
    text = page([checked(data, "x")])
    assert "<title>unanswered r1c1: nothing</title>" in text
    assert "1 unanswered <small>" in text and "1 with no place in the picture" in text


def test_a_wrong_sum_of_a_chart_is_counted_where_nothing_is_marked():
    made = get_task("chart", question="sum").generate(0, "test", 0)
    data = result({"reasoning": 1})
    data["source"] = {"task": "chart", "options": {"question": "sum"}}
    wrong = [["answer", made.answer, "1"]]
    changes = {"perception": made.perception, "wrong_parts": [], "wrong_answers": wrong}
    data["records"][0].update(changes)
    text = page([checked(data, "x")])
    assert '<svg class="marks"' not in text and "1 with no place in the picture" in text


@pytest.mark.parametrize("name", ["sudoku", "coloring", "chart"])
def test_every_wrong_part_is_marked(name, tmp_path):
    text, data = diagnosed(tmp_path, name, BLIND)
    wrong: Counter[str] = Counter()
    for record in data["records"]:
        for _, true, seen in record["wrong_parts"]:
            wrong["missed" if seen is None else "invented" if true is None else "misread"] += 1
    kinds = {"sudoku": 3, "coloring": 2, "chart": 1}  # of stub_models
    assert len(wrong) == kinds[name]
    seen = Counter(re.findall(r'<g class="w-(\w+)"', text))
    assert {kind: seen[kind] for kind in seen if not kind.endswith("answered")} == wrong


def test_a_mark_lies_on_its_cell():
    data = result({"perception": 1})
    data["records"][0]["wrong_parts"] = [
        ["r1c2", "3", "4"],
        ["r4c4", None, "1"],
        ["r9c9", "1", None],
    ]
    text = page([checked(data, "x")])
    (left, top), _, (right, bottom), _ = get_task("sudoku", size=4).places(
        get_task("sudoku", size=4).generate(0, "test", 0)
    )["r1c2"]
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    path = "M" + "L".join(f"{100 * x:.2f} {100 * y:.2f}" for x, y in corners) + "z"
    assert f'<path class="line" d="{path}"/>' in text
    assert "misread r1c2: it shows 3, seen as 4; invented r4c4: it shows nothing, seen as 1" in text
    assert "1 with no place in the picture" in text  # r9c9


def test_rows_of_a_data_set_and_older_results_have_tables_alone(tmp_path):
    export_jsonl(get_task("sudoku", size=4), "test", 2, tmp_path)
    data = result({"perception": 2})
    assert '<svg class="marks"' in page([checked(data, "x")])
    older = json.loads(json.dumps(data))
    for record in older["records"]:
        del record["wrong_parts"], record["wrong_answers"]
    data["source"] = {"dataset": str(tmp_path / "test.jsonl")}
    for i, record in enumerate(data["records"]):
        record["place"] = f"test.jsonl:{i + 1}"
    for changed in (older, data):
        text = page([checked(changed, "x")])
        assert '<svg class="marks"' not in text and text.count("<img src=") == 2
        assert '<td class="bad">' in text


@pytest.mark.parametrize("part", ["r1c1", ["r1c1", "3"], ["r1c1", "3", 4], [1, "3", "4"]])
def test_damaged_parts_of_an_answer_are_refused(part):
    data = result(THINKS_BUT_CANNOT_SEE)
    data["records"][2]["wrong_answers"] = [part]
    with pytest.raises(ValueError, match=r"records\[2\].wrong_answers\[0\] cannot be"):
        checked(data, "x")


@pytest.mark.parametrize(
    "part", ["r1c1", ["r1c1", "3"], ["r1c1", "3", 4], [1, "3", "4"], ["r1c1", "3", "3"]]
)
def test_damaged_parts_are_refused(part):
    data = result(THINKS_BUT_CANNOT_SEE)
    data["records"][2]["wrong_parts"] = [part]
    with pytest.raises(ValueError, match=r"records\[2\].wrong_parts\[0\] cannot be"):
        checked(data, "x")
