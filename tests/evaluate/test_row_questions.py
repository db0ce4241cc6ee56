"""Facts about data sets as sources of a diagnosis: what is asked, and who judges a row."""

from __future__ import annotations

import json
import logging

import pytest
from datasets import Dataset
from PIL import Image

from percbal.data.reading import read_dataset
from percbal.evaluate.diagnose import measure
from percbal.evaluate.generation import Completion
from percbal.evaluate.questions import asked_in_text
from percbal.evaluate.row_judges import LabelJudge
from percbal.evaluate.row_questions import row_questions
from percbal.responses.asking import Asking
from percbal.responses.formats import make_format
from percbal.tasks import get_task

SUDOKU = get_task("sudoku", size=9, blanks=3).generate(0, "test", 0)
GRID = [cell for row in SUDOKU.truth["clues"] for cell in row]
GRAPH = {"v": 3, "c": 2, "edges": [[0, 1], [1, 2]]}
PAPER = {"query": "Solve it.", "ground_truth": GRID, "response": ""}
GREY = Image.new("RGB", (8, 8), (90, 90, 90))


def read(*rows, **options):
    names = dict.fromkeys(name for row in rows for name in row)
    rows = [{"image": GREY} | {name: row.get(name) for name in names} for row in rows]
    return read_dataset(Dataset.from_list(rows), completions=None, **options)


def asked(*rows, n=64, asking=None, **options):
    return row_questions(read(*rows), n, 0, asking or Asking(), **options)


def said(perception, answer):
    return (
        f"<perception>{perception}</perception> <reasoning>so</reasoning> <answer>{answer}</answer>"
    )


def diagnosed(questions, completions):
    """By somebody who says these things, and goes on with the answer of each where told."""

    def answers(batch, *, told):
        texts = [completions[question.index] for question in batch]
        return [
            Completion(q.beginning + text.partition("</perception>")[2] if told else text, False)
            for q, text in zip(batch, texts, strict=True)
        ]

    options = {"split": "test", "seed": 0, "batch_size": 2, "progress": False}
    result = measure(questions, answers, Asking(), **options)
    return [(record.a, record.a_p, record.a_r) for record in result.records]


def test_the_papers_rows_are_judged_by_their_constraints():
    """No row has an answer, and any colouring with so few colours is right."""
    rows = [PAPER, {"query": "Colour it.", "ground_truth": GRAPH, "response": ""}]
    for row in rows:
        row["ground_truth"] = json.dumps(row["ground_truth"])
    grid, solution = json.dumps(GRID), json.dumps(SUDOKU.truth["solution"])
    edges = "0-1, 1-2"
    questions = asked(*rows)
    for colors in ('{"0": "a", "1": "b", "2": "a"}', '{"0": "x", "1": "y", "2": "x"}'):
        right = [said(grid, solution), said(edges, colors)]
        assert diagnosed(questions, right) == [(True, True, True)] * 2
    blind = [
        said(grid.replace("0", "1", 1), solution),
        said("0-1", '{"0": "a", "1": "b", "2": "a"}'),
    ]
    assert diagnosed(questions, blind) == [(True, False, True)] * 2
    wrong = [said(grid, grid), said(edges, '{"0": "a", "1": "a", "2": "b"}')]
    assert diagnosed(questions, wrong) == [(False, True, False)] * 2


@pytest.mark.parametrize("name", ["answer", "truth"])
def test_labels_are_compared_by_their_grammar_as_rewards_do(name):
    row = {"prompt": "look", "perception": "0-1 1-2", "grammar": "edges"}
    questions = asked({**row, name: "4", "answer_grammar": "numbers"})
    assert diagnosed(questions, [said("2-1, 1-0", "4.0")]) == [(True, True, True)]
    assert diagnosed(questions, [said("2-1", "four")]) == [(False, False, False)]


def test_an_export_is_judged_by_its_own_task():
    """Another solution than the exported answer would be right; here its words differ."""
    row = {"task": "sudoku", "truth": json.dumps(SUDOKU.truth), "prompt": SUDOKU.query}
    row |= {"perception": SUDOKU.perception, "answer": SUDOKU.answer}
    other_words = json.dumps(SUDOKU.truth["solution"])
    assert diagnosed(asked(row), [said(json.dumps(GRID), other_words)]) == [(True, True, True)]


def test_a_true_perception_is_given_in_the_words_of_the_rows_own_response():
    own = "<perception>[[5,3]]</perception><reasoning>so</reasoning><answer>4</answer>"
    row = {"query": "look", "perception": "r1c1=5 r1c2=3", "grammar": "grid", "answer": "4"}
    row["answer_grammar"] = "text"
    (question,) = asked({**row, "response": own})
    assert question.beginning == "<perception>[[5,3]]</perception>" and question.response == own
    for other in (own.replace("3", "4"), f"I solve it: 4. {own}", "4"):  # not right, not first
        (question,) = asked({**row, "response": other})
        assert question.beginning == "<perception> r1c1=5 r1c2=3 </perception>"
        assert question.target == other


def test_the_papers_truth_is_given_in_the_words_of_its_prompt():
    (question,) = asked(PAPER, asking=Asking(make_format("paper")))
    rows = [[cell or "-" for cell in GRID[i : i + 9]] for i in range(0, 81, 9)]
    assert json.loads(question.beginning) == rows
    assert question.response.startswith(question.beginning) and question.target is None
    (question,) = asked({**PAPER, "ground_truth": json.dumps(GRAPH)})
    assert question.beginning == "<perception> [[0, 1], [1, 2]] </perception>"


def test_a_question_has_the_rows_messages_pictures_and_options():
    parts = [{"type": "text", "text": "first"}, {"type": "image"}, {"type": "image"}]
    row = {"prompt": [{"role": "user", "content": parts}], "perception": "a", "answer": "b"}
    row |= {"images": [GREY, GREY], "chat_template_kwargs": {"enable_thinking": False}}
    data = read_dataset(Dataset.from_list([row]), completions=None)
    (question,) = row_questions(data, 1, 0, Asking(template={"tools": 1}))
    (message,) = question.prompt()
    assert [part["type"] for part in message["content"]] == ["text", "image", "image"]
    assert message["content"][1]["image"].size == (8, 8)
    assert message["chat_template_kwargs"] == {"enable_thinking": False, "tools": 1}


def test_pictures_are_opened_when_they_are_asked_for(tmp_path):
    """Not when the rows are looked at: they may be many and large."""
    GREY.save(tmp_path / "a.png")
    line = json.dumps({"prompt": "look", "image": "a.png", "perception": "a", "answer": "b"})
    (tmp_path / "rows.jsonl").write_text(line)
    (question,) = row_questions(
        read_dataset(str(tmp_path / "rows.jsonl"), completions=None), 1, 0, Asking()
    )
    (tmp_path / "a.png").write_bytes(b"gone")
    with pytest.raises(ValueError, match="rows.jsonl:1: a.png is no picture"):
        question.prompt()


def test_rows_are_drawn_by_the_seed_and_stay_in_order():
    data = read(*[{"prompt": str(i), "perception": "a", "answer": "b"} for i in range(20)])
    chosen = {
        (n, seed): [q.index for q in row_questions(data, n, seed, Asking())]
        for n, seed in ((5, 0), (8, 0), (5, 1), (99, 0))
    }
    assert chosen[99, 0] == list(range(20))
    assert len(chosen[5, 0]) == 5 and chosen[5, 0] == sorted(chosen[5, 0])
    assert {*chosen[5, 0]} < {*chosen[8, 0]} and chosen[5, 0] != chosen[5, 1]


GOOD = {"prompt": "look", "perception": "a", "answer": "b"}


@pytest.mark.parametrize(
    "bad, why",
    [
        ({"perception": None}, "it has no true perception: the column perception is empty"),
        ({"answer": None}, "it has no answer: the columns answer and truth are empty"),
        ({"perception": " "}, "perception must not be blank"),
        ({"answer": None, "truth": "[1, 2]"}, "it has no answer, and of its truth: a Sudoku's"),
        ({"task": "sudoku", "truth": '{"size": 9}'}, "truth of a row of task sudoku cannot be"),
        ({"grammar": "grid"}, "its perception or its answer is not in the grammar grid"),
    ],
)
def test_a_row_that_cannot_be_asked_stops_or_is_skipped(bad, why, caplog):
    with pytest.raises(ValueError, match=f"^row 2 of the data set: .*{why}"):
        asked(GOOD, GOOD | bad)
    with caplog.at_level(logging.WARNING):
        assert [q.index for q in asked(GOOD, GOOD | bad, GOOD, skip=True)] == [0, 2]
    assert "1 rows are left out" in caplog.text
    with pytest.raises(ValueError, match="no row can be diagnosed; the first: row 1 of the data"):
        asked(GOOD | bad, skip=True)


@pytest.mark.parametrize("lacks, what", [("perception", "true perception"), ("answer", "answer")])
def test_a_data_set_without_the_columns_is_refused_and_its_own_are_named(lacks, what):
    row = {name: value for name, value in (GOOD | {"topic": "x"}).items() if name != lacks}
    with pytest.raises(ValueError, match=f"the data set has no {what}: .* its columns are .*topic"):
        asked(row)


def test_how_hard_a_row_is_stands_in_its_columns_or_in_its_truth():
    graph = {"query": "Colour it.", "ground_truth": json.dumps(GRAPH), "response": ""}
    for row, own in ((PAPER, {"blanks": 3}), (graph, {"vertices": 3, "edges": 2, "colors": 2})):
        assert asked(row)[0].difficulty == own
        (question,) = asked(row | {"level": "hard", "difficulty": {"turns": 2}})
        assert question.difficulty == {"level": "hard", "turns": 2}
    rows = [PAPER | {"difficulty": 0.5}, PAPER | {"difficulty": None}]
    assert [q.difficulty for q in asked(*rows)] == [{"difficulty": 0.5}, {"blanks": 3}]


def test_a_row_says_for_people_what_was_asked_and_what_is_shown():
    (question,) = asked(PAPER)
    assert question.query == "Solve it."
    assert question.perception.count("[") == 10  # nine rows, as the paper's prompt wants them
    (message,) = asked_in_text(question).prompt()
    assert message["content"][0]["text"].startswith("The image is not given.")
    assert all(part["type"] == "text" for part in message["content"])


SEEN = [  # p*, its grammar, what was seen and answered -> F1 (T4), whatever the answer is
    ("four red cats on a sofa", None, "three red cats on a sofa", "three", 5 / 6),
    ("four red cats on a sofa", None, "three red cats on a sofa", "four", 5 / 6),
    ("four red cats", None, "four red cats on a sofa, a dog, a lamp and a rug", "four", 6 / 16),
    ("0-1 1-2 2-3", "edges", "0-1 1-2 7", "7", 2 / 3),
    ("four red cats", None, "", "four", 0.0),
]


@pytest.mark.parametrize("label, grammar, seen, answer, f1", SEEN)
def test_what_was_seen_is_measured_as_it_is_and_not_as_it_is_paid(label, grammar, seen, answer, f1):
    """A perception that holds the response's answer, or too much, earns nothing and is measured."""
    truth = {"perception": label, "answer": answer, "grammar": grammar, "answer_grammar": "text"}
    score = LabelJudge().score(said(seen, answer), truth)
    assert score.perception_f1 == pytest.approx(f1)
    assert LabelJudge().score("nothing", truth).perception_f1 == 0
