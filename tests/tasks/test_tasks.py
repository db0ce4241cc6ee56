"""Facts about every task: the three spans, scoring of any text, contact sheet and export."""

import json
import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from percbal.tasks import TASKS, get_task
from percbal.tasks.base import SPAN_TAGS, TAG_WORDS, find_spans
from percbal.tasks.options import check_options
from percbal.tasks.preview import export_jsonl, save_preview

WHOLE = "<perception> p </perception> <reasoning> r </reasoning> <answer> a </answer>"


def test_spans_of_a_whole_response():
    spans = find_spans(f"\n {WHOLE} ")
    assert (spans.perception, spans.reasoning, spans.answer) == (" p ", " r ", " a ")
    assert spans.complete and not spans.problems


@pytest.mark.parametrize("name", SPAN_TAGS)
@pytest.mark.parametrize("tag", [0, 1])
def test_a_missing_or_repeated_tag_costs_its_own_span_only(name, tag):
    word = SPAN_TAGS[name][tag]
    for broken in (WHOLE.replace(word, ""), WHOLE + word, word + WHOLE):
        spans = find_spans(broken)
        assert getattr(spans, name) is None and not spans.complete
        assert word in " ".join(spans.problems)
        for other in set(SPAN_TAGS) - {name}:
            assert getattr(spans, other) is not None


@pytest.mark.parametrize(
    "text, left",
    [
        ("", set()),
        ("no tags at all", set()),
        ("</perception> p <perception>", set()),
        ("<perception> <answer> a </answer> </perception>", {"answer"}),
        ("<perception> <answer> a </perception> </answer>", set()),
        ("<perception> p </perception> <perception> q </perception>", set()),
        ("<answer> a </answer> <perception> p </perception>", set()),  # wrong order
        ("<reasoning> <perception> p </perception> </reasoning> <answer> a </answer>", set()),
        ("<PERCEPTION> p </PERCEPTION> <answer> a </answer>", {"answer"}),
        ("< perception> p </perception>", set()),
    ],
)
def test_malformed_spans_are_not_found(text, left):
    spans = find_spans(text)
    assert {name for name in SPAN_TAGS if getattr(spans, name) is not None} == left
    assert not spans.complete and spans.problems


@pytest.mark.parametrize(
    "text", ["x " + WHOLE, WHOLE + " x", WHOLE.replace("<answer>", "x<answer>")]
)
def test_text_outside_the_spans_is_not_a_complete_response(text):
    spans = find_spans(text)
    assert spans.answer == " a " and not spans.complete


@pytest.mark.parametrize("name", TASKS)
def test_response_is_its_segments_and_scores_full_marks(name):
    task = get_task(name)
    for index in range(20):
        instance = task.generate(index, "test", seed=3)
        assert "".join(part["text"] for part in instance.segments) == instance.response
        types = [part["type"] for part in instance.segments]
        assert types == ["perception", "reasoning", "answer"]
        assert instance.response == " ".join(instance.response.split())
        prefix = task.oracle_prefix(instance)
        assert prefix == instance.segments[0]["text"] and prefix.endswith("</perception>")
        truth = json.loads(json.dumps(instance.truth))
        score = task.score(instance.response, truth)
        assert (score.answer, score.perception, score.reasoning) == (True, True, True)
        assert score.perception_f1 == 1 and score.parsed and score.reason == ""


@pytest.mark.parametrize("name", TASKS)
def test_vocabulary_has_every_word_once(name):
    task = get_task(name)
    vocabulary = task.vocabulary()
    assert len(set(vocabulary)) == len(vocabulary)
    assert not any(word != "".join(word.split()) for word in vocabulary)
    for index in range(50):
        instance = task.generate(index, "train", seed=0)
        assert set(f"{instance.query} {instance.response}".split()) <= set(vocabulary)


@cache
def first_of(name):
    task = get_task(name)
    return task, task.generate(0, "train", seed=0)


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_text_makes_scoring_raise(name, data):
    task, instance = first_of(name)
    words = st.sampled_from([*TAG_WORDS, *instance.response.split(), "r1c1=9", "²", "\x00", "r1c1"])
    text = data.draw(st.text() | st.lists(words | st.text(max_size=3)).map(" ".join))
    score = task.score(text, instance.truth)
    assert 0 <= score.perception_f1 <= 1
    assert not score.parsed or not score.reason
    if score.answer is None or score.perception is None or score.reasoning is None:
        assert score.reason


@pytest.mark.parametrize("filler", [*TAG_WORDS, "r1c1=1 ", "<", " ", "<perception> </perception> "])
def test_megabytes_of_anything_score_at_once(filler):
    task = get_task("sudoku")
    truth = task.generate(0, "train", seed=0).truth
    # quadratic time would take hours here
    assert not task.score("<perception>" + filler * (5_000_000 // len(filler)), truth).parsed


@pytest.mark.parametrize(
    "name, options, message",
    [
        (
            "suduko",
            {},
            "unknown task 'suduko'; known tasks: chart, coloring, sudoku, or module:Class",
        ),
        ("sudoku", {"sise": 4}, "no option 'sise'; its options: size, level, blanks"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(name, options, message):
    with pytest.raises(ValueError, match=message):
        get_task(name, **options)


@pytest.mark.parametrize("number", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name, option",
    [("sudoku", "noise"), ("coloring", "noise"), ("chart", "noise"), ("coloring", "clearance")],
)
def test_a_look_has_no_number_that_is_none(name, option, number):
    options = {option: number} | ({"level": "hard"} if option == "clearance" else {})
    with pytest.raises(ValueError, match=f"{option} must be 0 or more, got {number}"):
        get_task(name, **options)


class Listing:
    """Options of every kind of sequence that a user's task may declare."""

    def __init__(
        self,
        bare: list = (),  # type: ignore[type-arg]
        words: list[str] | None = None,
        pair: tuple[int, int] = (1, 2),
        each: tuple[float, ...] = (),
        any_of: tuple = (),  # type: ignore[type-arg]
        pairs: tuple[tuple[int, int], ...] = (),
        rows: list[list[int]] | None = None,
        either: str | tuple[str, ...] = "",
    ) -> None: ...


@pytest.mark.parametrize(
    "option, given, kept",
    [
        ("bare", ["a", 1], ["a", 1]),
        ("words", ["a"], ["a"]),
        ("pair", [3, 4], (3, 4)),
        ("each", [0.5, 1], (0.5, 1)),
        ("any_of", ["a", None], ("a", None)),
        ("pairs", [[1, 2], [3, 4]], ((1, 2), (3, 4))),
        ("rows", [[1, 2], [3]], [[1, 2], [3]]),
        ("either", ["a"], ("a",)),
    ],
)
def test_a_sequence_is_of_the_kind_that_the_task_declares(option, given, kept):
    assert check_options("listing", Listing, {option: given}) == {option: kept}


@pytest.mark.parametrize(
    "option, given, wanted",
    [
        ("bare", 1, "a list"),
        ("any_of", "ab", "a list"),
        ("words", [1], "a list of text"),
        ("pair", [1, 2, 3], "2 numbers"),
        ("pairs", [[1, 2], [3]], "a list of 2 numbers"),
        ("rows", "ab", "a list of a list of a whole number"),
        ("each", ["a"], "a list of a number"),
    ],
)
def test_another_sequence_is_refused_in_words(option, given, wanted):
    with pytest.raises(ValueError, match=f"option {option} of listing must be {wanted}, got "):
        check_options("listing", Listing, {option: given})


def test_tasks_need_neither_torch_nor_transformers():
    code = (
        "import sys, percbal.tasks as t; t.get_task('sudoku').generate(0, 'train', 0);"
        "print([m for m in ('torch', 'transformers', 'trl', 'matplotlib') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_preview_is_one_picture(tmp_path):
    few = Image.open(save_preview(get_task("sudoku"), 1, tmp_path / "new" / "one.png"))
    many = Image.open(save_preview(get_task("sudoku"), 6, tmp_path / "six.png"))
    assert many.width > few.width and many.height > few.height
    with pytest.raises(ValueError, match="1 or more, got 0"):
        save_preview(get_task("sudoku"), 0, tmp_path / "none.png")


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_export_holds_what_generate_makes(tmp_path):
    task = get_task("sudoku")
    rows = read_rows(export_jsonl(task, "test", 3, tmp_path, seed=5))
    assert len(rows) == 3
    for index, row in enumerate(rows):
        instance = task.generate(index, "test", seed=5)
        user, assistant = row["messages"]
        assert [part["type"] for part in user["content"]] == ["image", "text"]
        assert user["content"][1]["text"] == instance.query
        assert assistant["content"][0]["text"] == instance.response
        assert row["segments"] == instance.segments and row["truth"] == instance.truth
        image = Image.open(tmp_path / row["images"][0])
        assert image.tobytes() == instance.image.tobytes()


class StopsAt:
    """A task that fails at one index, as a killed process would."""

    def __init__(self, task, index):
        self.task, self.index = task, index

    def describe(self):
        return self.task.describe()

    def generate(self, index, split, seed):
        if index == self.index:
            raise KeyboardInterrupt
        return self.task.generate(index, split, seed)


def test_an_interrupted_export_goes_on_where_it_stopped(tmp_path):
    task = get_task("sudoku")
    whole = export_jsonl(task, "train", 6, tmp_path / "whole").read_bytes()
    halves = tmp_path / "halves"
    with pytest.raises(KeyboardInterrupt):
        export_jsonl(StopsAt(task, 4), "train", 6, halves)
    assert not (halves / "train.jsonl").exists()
    part = halves / "train.jsonl.part"
    part.write_bytes(part.read_bytes()[:-10])  # the last line was cut short
    assert export_jsonl(task, "train", 6, halves).read_bytes() == whole
    assert not part.exists()


def test_a_finished_export_is_kept_and_can_be_extended(tmp_path):
    task = get_task("sudoku")
    path = export_jsonl(task, "train", 2, tmp_path)
    short = path.read_bytes()
    export_jsonl(StopsAt(task, 0), "train", 2, tmp_path)  # nothing is made again
    assert path.read_bytes() == short
    export_jsonl(StopsAt(task, 0), "train", 4, tmp_path)
    assert path.read_bytes().startswith(short) and len(read_rows(path)) == 4


def test_a_bad_output_directory_is_named_in_one_sentence(tmp_path):
    task = get_task("sudoku")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file, not a directory"):
        export_jsonl(task, "train", 1, tmp_path / "file")
    with pytest.raises(ValueError, match="cannot write to directory .*file/below: Not a directory"):
        export_jsonl(task, "train", 1, tmp_path / "file" / "below")
    with pytest.raises(ValueError, match="file is a file, not a directory"):
        save_preview(task, 1, tmp_path / "file" / "sheet.png")
    export_jsonl(task, "train", 1, tmp_path / "taken")
    with pytest.raises(ValueError, match="holds another export .* choose a new directory"):
        export_jsonl(get_task("sudoku", noise=0.0), "train", 1, tmp_path / "taken")
