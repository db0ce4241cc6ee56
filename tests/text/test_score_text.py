"""score_text: the facts about spans, grammars and scores, for the compiled and the plain engine."""

import json
import math
import threading
import time

import pytest

from percbal_ops.text import api as text
from percbal_ops.text.api import STATUS, score_text


@pytest.fixture(params=["compiled", "plain"], autouse=True)
def engine(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(text, "compiled", None)
    elif text.compiled is None:
        pytest.skip("the compiled scorer was not built")


def record(completion, reference, grammar="grid", **options):
    return score_text([completion], [reference], grammar, **options).records()[0]


def seen(body):
    return f"<perception>{body}</perception> <answer>x</answer>"


NINE = range(1, 10)
GRID = "r1c1=3 r1c2=_ r2c1=_ r2c2=1"


def test_a_right_perception_is_exact():
    assert record(f"<perception> {GRID} </perception>", GRID) == {
        "status": "ok",
        "exact": 1,
        "precision": 1,
        "recall": 1,
        "f1": 1,
        "edit_similarity": 1,
        "perception": (12, 41),
        "reasoning": None,
        "answer": None,
    }


def test_a_missing_perception_is_not_scored_and_the_answer_is_not_scored_in_its_place():
    leaked = record(f"<answer>{GRID}</answer>{GRID}", GRID)
    assert leaked["status"] == "missing"
    assert leaked["exact"] is None and leaked["f1"] is None


@pytest.mark.parametrize(
    ("completion", "status"),
    [
        ("", "missing"),
        ("<perception>a", "unclosed"),
        ("a</perception>", "unopened"),
        ("<perception>a</perception><perception>a</perception>", "repeated"),
        ("<perception>a</perception></perception>", "repeated"),
        ("<perception><perception>a</perception>", "repeated"),
        ("</perception>a<perception>", "nested"),
        ("<perception>a<answer></perception>b</answer>", "nested"),
        ("<perception>a<reasoning>b</reasoning></perception>", "nested"),
        ("<answer>b</answer><perception>a</perception>", "disordered"),
        ("<Perception>a</Perception>", "missing"),
        ("< perception>a</perception >", "missing"),
        ("<perceptions>a</perceptions>", "missing"),
        ("\uff1cperception\uff1ea\uff1c/perception\uff1e", "missing"),
        ("<p\u0435rception>a</p\u0435rception>", "missing"),  # a Cyrillic e
        ("<perception>a\x00</perception>", "ok"),
        ("\ud800<perception>a\udfff</perception>", "ok"),
        (b"\xff<perception>a\xc3</perception>\x80", "ok"),
    ],
)
def test_span_status(completion, status):
    result = record(completion, "a", "text")
    assert result["status"] == status
    assert (result["exact"] is None) == (status != "ok")


def test_spans_are_given_in_bytes_and_in_characters():
    completion = "né <perception>\U0001f600=é</perception><reasoning>x</reasoning>"
    scores = score_text([completion], ["a"], "text")
    (start, end), (r_start, r_end), missing = scores.char_spans[0].tolist()
    assert completion[start:end] == "\U0001f600=é" and completion[r_start:r_end] == "x"
    (start, end), (r_start, r_end), _ = scores.byte_spans[0].tolist()
    encoded = completion.encode()
    assert encoded[start:end].decode() == "\U0001f600=é" and encoded[r_start:r_end] == b"x"
    assert missing == [-1, -1]


@pytest.mark.parametrize(
    ("grammar", "body", "reference"),
    [
        ("grid", '[[3, "-"], [null, 1]]', GRID),
        ("grid", "r2c2=01,r2c1=.;r1c2=-\n r1c1=3 r1c1=3", GRID),
        ("grid", '[3, 0, null, "01"]', GRID),
        ("grid", "[ 3,-,0 , 1]", GRID),
        ("grid", json.dumps([0] * 81), " ".join(f"r{r}c{c}=_" for r in NINE for c in NINE)),
        ("edges", '{"v": 3, "c": 2, "edges": [[1, 0], [2, 1]]}', "0-1 1-2"),
        ("edges", ' {"edges":[[0,1],[1,2]] , "c":1}', '{"v":9,"edges":[[0,1],[1,2]]}'),
        ("edges", '{"v": 3, "edges": []}', "[]"),
        ("edges", "[[1,0],[2, 1]]", "0-1 1-2"),
        ("edges", "(b, a) {c,b}", "a-b b-c"),
        ("edges", '["1-0", "2-1", "0-1"]', "[(0,1),(1,2)]"),
        ("edges", "", "[]"),
        ("numbers", '{"b": [1.0, -0], "a": 1e1}', '{"a": 10, "b": [1, 0]}'),
        ("numbers", "[]", ""),
        ("text", " a \n b", "a b"),
    ],
)
def test_different_spellings_of_the_same_content_are_exact(grammar, body, reference):
    result = record(seen(body), reference, grammar)
    assert (result["status"], result["exact"], result["f1"]) == ("ok", 1, 1)
    assert result["edit_similarity"] == 1


@pytest.mark.parametrize(
    ("grammar", "body", "reference", "status", "precision", "recall"),
    [
        ("grid", "r1c1=3 r1c2=5", GRID, "ok", 1 / 2, 1 / 4),
        ("grid", f"{GRID} r1c1=4", GRID, "ok", 4 / 5, 1),  # two guesses for a cell
        ("grid", f"{GRID} nonsense", GRID, "malformed", 4 / 5, 1),
        ("grid", "[[3, -], [", GRID, "malformed", 2 / 3, 2 / 4),
        ("grid", "r12345c1=3", GRID, "malformed", 0, 0),
        ("grid", "", GRID, "ok", 0, 0),
        ("grid", "[3, 0, 0]", GRID, "malformed", 0, 0),  # no square: no cell has a place
        ("grid", "[3, 0, 0, 1", GRID, "malformed", 0, 0),
        ("grid", "[3, 0, 0, 1] 1", GRID, "malformed", 0, 0),
        ("grid", "[[0, 0], [0, 1]]", GRID, "ok", 1 / 4, 1 / 4),  # rows keep their zeros
        ("edges", '{"v": 3, "edges": [[0,1]],}', "0-1 1-2", "malformed", 1 / 6, 1 / 2),
        ("edges", '{"v": 3, "c": 2}', "0-1 1-2", "malformed", 0, 0),
        ("edges", '{"v": 3, "edges": [[0,1],[1,2]]} 0-1', "0-1 1-2", "malformed", 2 / 8, 1),
        ("edges", "0-1 0-2", "0-1 1-2", "ok", 1 / 2, 1 / 2),
        ("edges", "[[0,1],[1,2]", "0-1 1-2", "malformed", 2 / 3, 1),
        ("edges", "[0,1,2]", "0-1 1-2", "malformed", 0, 0),
        ("edges", "0-1-2", "0-1 1-2", "malformed", 0, 0),
        ("numbers", "[1, 2, 4]", "[1, 2, 3]", "ok", 2 / 3, 2 / 3),
        ("numbers", "[2, 1]", "[1, 2]", "ok", 0, 0),  # an item is a value at its place
        ("numbers", "[1, 2", "[1, 2]", "malformed", 2 / 3, 1),
        ("numbers", "[1e999]", "[1]", "malformed", 0, 0),
        ("numbers", "[01]", "[1]", "malformed", 0, 0),
        ("numbers", "[1, 2.]", "[1, 2]", "malformed", 1 / 2, 1 / 2),  # 2. is no number
        ("numbers", "[1, 2e", "[1, 2]", "malformed", 1 / 2, 1 / 2),
        ("numbers", "[1, 2e5.5]", "[1, 200000]", "malformed", 2 / 3, 1),  # 2e5, and what is left
        ("numbers", "[1, 2e5e]", "[1, 200000]", "malformed", 2 / 3, 1),
        ("numbers", "[1, 1.5.2]", "[1, 2]", "malformed", 1 / 3, 1 / 2),
        ("numbers", "[1, 1.5e3.]", "[1, 2]", "malformed", 1 / 3, 1 / 2),
        ("numbers", '{"a": 1, "a": 2}', '{"a": 1}', "ok", 1 / 2, 1),
        ("numbers", "[" * 300 + "]" * 300, "[1]", "malformed", 0, 0),
        ("text", "a a b", "a b b", "ok", 2 / 3, 2 / 3),
    ],
)
def test_partial_credit(grammar, body, reference, status, precision, recall):
    result = record(seen(body), reference, grammar)
    assert result["status"] == status and result["exact"] == 0
    assert result["precision"] == pytest.approx(precision)
    assert result["recall"] == pytest.approx(recall)
    total = precision + recall
    assert result["f1"] == pytest.approx(2 * precision * recall / total if total else 0)


def test_a_skipped_cell_costs_one_edit_though_it_shifts_the_rest():
    result = record(seen("[[1,2,4,5,6]]"), "[[1,2,3,4,5,6]]")
    assert result["edit_similarity"] == pytest.approx(5 / 6)
    assert result["f1"] == pytest.approx(2 * 2 / 11)


def test_another_span_and_other_tags_can_be_scored():
    tags = {"perception": ("[[see", "]]"), "reasoning": ("<r>", "</r>"), "answer": ("<a>", "</a>")}
    assert record("[[see x]]<a>7</a>", "7", "text", span="answer", tags=tags)["exact"] == 1
    assert record("[[see x]]<a>7</a>", "x", "text", tags=tags)["exact"] == 1


def test_many_completions_on_several_threads_keep_their_places():
    bodies = [f"r1c1={i % 7}" for i in range(1000)]
    scores = score_text([seen(b) for b in bodies], ["r1c1=3"] * 1000, threads=4)
    assert scores.exact.tolist() == [float(i % 7 == 3) for i in range(1000)]


@pytest.mark.parametrize(
    "unit", ["<perception>", "</perception>", "<", "[", '{"a":', "r1c1=", "0-"]
)
@pytest.mark.parametrize("grammar", ["grid", "edges", "numbers", "text"])
def test_huge_texts_take_linear_time(unit, grammar, request):
    size = 20_000 if "plain" in request.node.name else 400_000
    times = []
    for n in (size, 2 * size):
        body = seen(unit * (n // len(unit)))
        start = time.perf_counter()
        score_text([body], ["r1c1=1" if grammar == "grid" else ""], grammar)
        times.append(time.perf_counter() - start)
    assert times[1] < 0.5 or times[1] < 8 * times[0]


def test_the_gil_is_released_while_scoring(request):
    if "plain" in request.node.name:
        pytest.skip("plain Python holds the GIL")
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=tick)
    body = seen("word " * 3_000_000)
    ticker.start()
    start = time.perf_counter()
    score_text([body], ["other " * 200], "text", threads=1)
    end = time.perf_counter()
    stop.set()
    ticker.join()
    middle = [t for t in ticks if start + 0.25 * (end - start) < t < start + 0.75 * (end - start)]
    assert len(middle) > 100


def test_no_completions_give_no_rows():
    scores = score_text([], [])
    assert scores.exact.shape == (0,) and scores.byte_spans.shape == (0, 3, 2)
    assert scores.records() == []


def test_scores_are_nan_where_not_scored_so_that_coupling_leaves_them_out():
    scores = score_text(["no span", seen(GRID)], [GRID, GRID])
    assert math.isnan(scores.exact[0]) and float(scores.exact[1]) == 1
    assert STATUS[int(scores.status[0])] == "missing"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((["a"], []), {}, ValueError, "must have one length, got 1 and 0"),
        (([1], ["a"]), {}, TypeError, r"completions\[0\] must be str or bytes, got int"),
        (("ab", "ab"), {}, TypeError, "completions must be a sequence of texts, got one str"),
        (
            (["a"], ["x=3"], "grid"),
            {},
            ValueError,
            r"references\[0\] is not in the grammar grid, got 'x=3'$",
        ),
        ((["a"], ["a"], "xml"), {}, ValueError, "grammar must be one of .* got 'xml'"),
        ((["a"], ["a"]), {"span": "all"}, ValueError, "span must be one of .* got 'all'"),
        ((["a"], ["a"]), {"threads": 0}, ValueError, "threads must be 1 or more, got 0"),
        ((["a"], ["a"]), {"tags": {}}, ValueError, "tags must name"),
    ],
)
def test_misuse_is_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        score_text(*arguments, **options)


@pytest.mark.parametrize("tag", ["", "x" * 65, "<answer>"])
def test_unusable_tags_are_refused(tag):
    tags = dict(text.DEFAULT_TAGS) | {"perception": (tag, "</p>")}
    with pytest.raises(ValueError, match="tag"):
        score_text(["a"], ["a"], "text", tags=tags)
