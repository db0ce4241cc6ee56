"""Facts about files of requests and of completions: what is written, read, and refused."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from chat_server import completion, solver
from PIL import Image

from percbal.evaluate.diagnose import measure
from percbal.evaluate.questions import task_questions
from percbal.evaluate.saved_answers import read_answers, write_requests
from percbal.responses.asking import Asking
from percbal.responses.formats import make_format
from percbal.tasks import get_task

TASK = get_task("sudoku", size=4)
INSTANCES = [TASK.generate(i, "test", 0) for i in range(3)]
RIGHT = solver(INSTANCES)
RESPONSES = [instance.response for instance in INSTANCES]


def questions(n=3, asking=None, seed=0):
    return task_questions(TASK, n, "test", seed, asking or Asking())


def lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def read(path, asking=None, **which):
    return read_answers(path, questions(asking=asking, **which), asking or Asking())


def accuracies(answers, asking=None):
    asking = asking or Asking()
    ways = ("image", "told") if answers.tells else ("image",)
    options = {"split": "test", "seed": 0, "batch_size": 2, "progress": False, "ways": ways}
    result = measure(questions(asking=asking), answers, asking, **options)
    return result.a.value, result.a_p.value, result.a_r.value if answers.tells else None


@pytest.mark.parametrize("told", ["prefix", "text"])
@pytest.mark.parametrize("pictures", [False, True])
def test_requests_come_back_as_answers(told, pictures, tmp_path):
    """Through the form in which batches of OpenAI and of vLLM write their output."""
    folder = tmp_path / "pictures" if pictures else None
    path = tmp_path / "requests.jsonl"
    assert write_requests(path, questions(), model="m", told=told, pictures=folder) == 6
    out = []
    for row in map(json.loads, path.read_text().splitlines()):
        assert row["method"] == "POST" and row["url"] == "/v1/chat/completions"
        body = row["body"]
        assert body["model"] == "m" and body["temperature"] == 0
        if pictures:
            (part,) = [p for p in body["messages"][0]["content"] if p["type"] == "image_url"]
            file = url2pathname(urlsplit(part["image_url"]["url"]).path)
            text = {i.image.tobytes(): i.response for i in INSTANCES}[Image.open(file).tobytes()]
            begun = body["messages"][-1]
            if begun["role"] == "assistant":
                text = text.removeprefix(begun["content"])
        else:
            text = RIGHT(None, body)
        answer = {"status_code": 200, "request_id": "r", "body": completion(text)}
        ids = {"id": "batch-1", "custom_id": row["custom_id"]}
        out.append({**ids, "response": answer, "error": None})
    answers = read(lines(tmp_path / "out.jsonl", reversed(out)))
    assert answers.tells and accuracies(answers) == (1, 1, 1)
    assert answers.notes() == ["a_r: of saved completions that were told the true perception"]


@pytest.mark.parametrize("name", ["index", "place", "id"])
def test_plain_lines_are_read(name, tmp_path):
    called = [f"sudoku {i}" if name == "place" else i for i in range(3)]
    rows = [{name: c, "completion": text} for c, text in zip(called, RESPONSES, strict=True)]
    answers = read(lines(tmp_path / "a.jsonl", rows))
    assert not answers.tells and accuracies(answers) == (1, 1, None)
    assert answers.notes() == [
        'a_r is not measured: it needs lines with "told": true, and there are none'
    ]
    rests = [text.partition("</perception>")[2] for text in RESPONSES]
    told = [{name: c, "completion": r, "told": True} for c, r in zip(called, rests, strict=True)]
    assert accuracies(read(lines(tmp_path / "b.jsonl", rows + told))) == (1, 1, 1)
    beside = [row | {"reasoned": rest} for row, rest in zip(rows, rests, strict=True)]
    assert accuracies(read(lines(tmp_path / "c.jsonl", beside))) == (1, 1, 1)


def test_what_was_cut_is_read(tmp_path):
    rows = [{"index": i, "completion": "x", "reasoned": "y", "cut": i == 1} for i in range(3)]
    answers = read(lines(tmp_path / "a.jsonl", rows))
    assert [cut for _, cut in answers(questions(), told=False)] == [False, True, False]


@pytest.mark.parametrize("name", ["tags", "json", "fence"])
def test_a_told_response_is_whole_or_goes_on(name, tmp_path):
    """In each format both count, with thoughts in front, too."""
    asking = Asking(make_format(name))
    whole = [question.response for question in questions(asking=asking)]
    rest = [q.response.removeprefix(q.beginning) for q in questions(asking=asking)]
    for texts in (whole, rest, [f"<think>well</think>{text}" for text in rest]):
        rows = [
            {"index": i, "completion": w, "reasoned": text}
            for i, (w, text) in enumerate(zip(whole, texts, strict=True))
        ]
        answers = read(lines(tmp_path / "a.jsonl", rows), asking)
        assert accuracies(answers, asking) == (1, 1, 1)


ROWS = [{"index": i, "completion": "x"} for i in range(3)]
TOLD = [{"index": i, "completion": "x", "told": True} for i in range(3)]
FAILED = {"custom_id": "1", "response": {"status_code": 400, "body": {}}, "error": None}


def batch(choices):
    """The output of a request with ``n``."""
    body = {"choices": completion("x")["choices"] * choices}
    return {"custom_id": "0", "response": {"status_code": 200, "body": body}, "error": None}


@pytest.mark.parametrize(
    "rows, sentence",
    [
        (ROWS[:1], r"lacks a completion of 2 of 3 instances, the first: sudoku 1 \(index 1\)"),
        ([*ROWS, TOLD[0]], 'lacks one with "told": true of 2 of 3 instances, the first: sudoku 1'),
        (TOLD, "lacks a completion of 3 of 3 instances"),
        ([], "lacks a completion of 3 of 3"),
        ([*ROWS, ROWS[1], ROWS[1]], r"has 2 lines of a repeat, the first: .*:4 \(1\)"),
        ([*ROWS, {"index": 7, "completion": ""}], r"1 lines of no such instance, .*:4 \(7\)"),
        ([*ROWS[:2], FAILED | {"custom_id": "2"}], r"1 lines of a failed request, .*:3 \(2\)"),
        ([{"completion": "x"}], ":1: it names no instance: index, place, id or custom_id"),
        ([{"index": 0, "completion": 3}], ":1: a completion must be a text, got 3"),
        ([{"index": 0}], ":1: a completion must be a text, got None"),
        ([{"index": 0, "completion": "", "told": "yes"}], ":1: told must be true or false"),
        ([FAILED | {"response": {"body": {"choices": []}}}], ":1: its response is no chat"),
        (["x"], ":1: not a JSON object"),
        ([batch(3)], r":1: its response has 3 choices; one completion of each instance is read"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(rows, sentence, tmp_path):
    path = lines(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{sentence}"):
        read(path)


def test_requests_of_another_seed_are_noticed(tmp_path):
    """Their indices are the same."""
    write_requests(tmp_path / "r.jsonl", questions(seed=1), model="m")
    ids = [json.loads(row)["custom_id"] for row in (tmp_path / "r.jsonl").open()]
    path = lines(tmp_path / "a.jsonl", [{"id": name, "completion": "x"} for name in ids])
    with pytest.raises(ValueError, match="6 lines of no such instance.* --seed"):
        read(path)
    assert read(path, seed=1).tells


def test_requests_for_several_completions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n must be 1 in the body, or left out, got 4"):
        write_requests(tmp_path / "r.jsonl", questions(), model="m", body={"n": 4})
    assert write_requests(tmp_path / "r.jsonl", questions(), model="m", body={"n": 1}) == 6
