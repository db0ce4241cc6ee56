"""Facts about how Sudoku judges a completion, and reads a grid."""

import pytest
from growth import is_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from sudoku_rules import flat

from percbal.evaluate.paper_rewards import EitherTask
from percbal.responses.formats import make_format
from percbal.tasks import get_task
from percbal.tasks.paper import PaperSudoku
from percbal.tasks.sudoku_grid import geometry, solve
from percbal.tasks.sudoku_text import grid_text, parse_grid

TRUTH = {"size": 4, "clues": [[1, 2, 3, 4], [3, 4, 1, 2], [0, 1, 4, 0], [4, 0, 2, 0]]}
RIGHT = [1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]


def respond(perceived, answered):
    perceived, answered = (
        text if isinstance(text, str) else grid_text(text, 4) for text in (perceived, answered)
    )
    return (
        f"<perception> {perceived} </perception> <reasoning> skip </reasoning> "
        f"<answer> {answered} </answer>"
    )


def judge(perceived, answered):
    score = get_task("sudoku").score(respond(perceived, answered), TRUTH)
    return score.answer, score.perception, score.perception_f1, score.reasoning, score.parsed


def test_scores_tell_seeing_from_thinking():
    clues = flat(TRUTH["clues"])
    assert judge(clues, RIGHT) == (True, True, 1, True, True)
    # one clue missed, still the right answer: seeing fails, the rest stands
    missed = [0, *clues[1:]]
    assert judge(missed, RIGHT) == (True, False, 15 / 16, True, True)
    # digits 1 and 2 mixed up throughout: reasons well from what it saw, and is wrong
    swap = {1: 2, 2: 1}
    swapped = [swap.get(digit, digit) for digit in clues]
    answer = [swap.get(digit, digit) for digit in RIGHT]
    assert judge(swapped, answer) == (False, False, 10 / 16, True, True)
    # an answer with a repeated digit, with a blank, and one that changes a clue
    for wrong in ([*RIGHT[:-1], 2], [*RIGHT[:-1], 0], RIGHT[4:8] + RIGHT[:4] + RIGHT[8:]):
        assert judge(clues, wrong) == (False, True, 1, False, True)


def test_any_completion_of_the_clues_is_a_right_answer():
    clues = [*RIGHT[:4], *[0] * 12]
    truth = {"size": 4, "clues": [clues[start : start + 4] for start in range(0, 16, 4)]}
    answers = solve(clues, geometry(4), limit=100)
    assert len(answers) == 12
    for answer in answers:
        assert get_task("sudoku").score(respond(clues, answer), truth).answer


def test_a_lost_span_leaves_the_others_scored():
    clues, task = flat(TRUTH["clues"]), get_task("sudoku")
    whole = respond(clues, RIGHT)
    unseen = task.score(whole.replace("</perception>", ""), TRUTH)
    assert (unseen.answer, unseen.perception, unseen.reasoning) == (True, None, None)
    assert unseen.reason == "</perception> occurs 0 times, not once" and not unseen.parsed
    unanswered = task.score(whole[: whole.index("</answer>")], TRUTH)
    assert (unanswered.answer, unanswered.perception, unanswered.reasoning) == (None, True, None)


CELLS = grid_text(RIGHT, 4).split()


@pytest.mark.parametrize(
    "words, problem",
    [
        ([], "has 16 cells, this has 0"),
        (CELLS[:-1], "has 16 cells, this has 15"),
        ([*CELLS, "r4c4=1"], "this has more than 16"),
        ([CELLS[0], *CELLS[:-1]], "'r1c1=1' stands where r1c2="),
        ([CELLS[1], CELLS[0], *CELLS[2:]], "'r1c2=2' stands where r1c1="),
        (["r1c1=5", *CELLS[1:]], "'r1c1=5' stands"),
        (["r1c1=0", *CELLS[1:]], "'r1c1=0' stands"),
        (["r1c1=-1", *CELLS[1:]], "stands"),
        (["r1c1=١", *CELLS[1:]], "stands"),  # an Arabic one, which int() would take
        (["r1c1==1", *CELLS[1:]], "stands"),
        (["r01c1=1", *CELLS[1:]], "stands"),
        (["x" * 10**6, *CELLS[1:]], "'xxxxxxxxxxxxxxxxxxxx' stands"),
    ],
)
def test_malformed_grids_are_refused_with_a_reason(words, problem):
    found = parse_grid(" ".join(words), 4)
    assert isinstance(found, str) and problem in found and len(found) < 100
    answer, perception, share, reasoning, parsed = judge(" ".join(words), RIGHT)
    assert (answer, perception, share, reasoning, parsed) == (True, False, 0, None, False)
    # of an answer some are the filled cells, whose order does not matter
    right = {*words} == {*CELLS} and len(words) == 16
    read = right or len(words) == 15
    assert judge(flat(TRUTH["clues"]), " ".join(words)) == (right, True, 1, right, read)


SHOWN = grid_text(flat(TRUTH["clues"]), 4)
DRESSES = {
    "capitals": str.upper,
    "commas": lambda text: text.replace(" ", ", "),
    "commas alone": lambda text: text.replace(" ", ","),
    "semicolons": lambda text: text.replace(" ", "; ") + ";",
    "a full stop": lambda text: f"{text}.",
    "a fence": lambda text: f"```\n{text}\n```",
    "a named fence": lambda text: f"~~~text\n{text}.\n~~~\n",
    "code": lambda text: f"`{text}`",
    "bold": lambda text: f"**{text}**",
    "bold words": lambda text: " ".join(f"**{word}**" for word in text.split()),
    "bullets": lambda text: "- " + "\n- ".join(text.split()),
    "numbers": lambda text: "\n".join(f"{i}. {w}" for i, w in enumerate(text.split(), 1)),
    "spaces": lambda text: text.replace("=", " = "),
    "all": lambda text: f"```\n{text.upper().replace(' ', ', ')}.\n```",
}


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_the_words_of_a_grid_count_in_any_dress(dress):
    """Of a perception as of an answer."""
    clues, missed = flat(TRUTH["clues"]), dress(SHOWN.replace("r1c1=1", "r1c1=_"))
    answer = dress(grid_text(RIGHT, 4))
    assert judge(dress(SHOWN), answer) == (True, True, 1, True, True)
    assert judge(missed, answer) == (True, False, 15 / 16, True, True)
    assert PaperSudoku().score(respond(dress(SHOWN), answer), clues).perception is True
    assert isinstance(parse_grid(dress(SHOWN), 4), str)
    # what is no grid without the dress is none in it
    for other in (
        SHOWN.replace("r1c1=1 ", ""),
        SHOWN + " r4c4=_",
        SHOWN.replace("r1c1=", "r1c1=1"),
    ):
        assert judge(dress(other), answer)[1:3] == (False, 0)


@pytest.mark.parametrize("other", ["I see {}", "{} I think", "{}..", "{} and", "x, {}"])
def test_a_sentence_is_no_dress(other):
    assert judge(other.format(SHOWN), RIGHT)[1:3] == (False, 0)


def test_a_long_line_of_spaces_takes_linear_time():
    """The pattern of a fence once went back and forth between its two runs of spaces."""

    def read(text):
        assert judge(text, text)[:2] == (False, False)

    assert is_linear(read, lambda n: "r1c1=1\n```" + " " * n + "!")


BLANKS = ["r3c1=2", "r3c4=3", "r4c2=3", "r4c4=1"]


@pytest.mark.parametrize(
    "words, right",
    [
        (BLANKS, True),
        (BLANKS[::-1], True),
        (["r1c1=1", *BLANKS], True),  # a clue, repeated
        (["r1c1=2", *BLANKS], False),
        (BLANKS[1:], False),
        (["r3c1=3", *BLANKS[1:]], False),
    ],
)
def test_an_answer_may_be_the_filled_cells_alone(words, right):
    clues = flat(TRUTH["clues"])
    assert judge(clues, " ".join(words)) == (right, True, 1, right, True)


def test_filled_cells_complete_what_was_perceived():
    clues = flat(TRUTH["clues"])
    missed = [0, *clues[1:]]  # the filled cells then leave one empty
    assert judge(missed, " ".join(BLANKS)) == (True, False, 15 / 16, False, True)
    assert judge(missed, " ".join(["r1c1=1", *BLANKS])) == (True, False, 15 / 16, True, True)
    # a whole grid was "perceived": there was nothing to fill
    assert judge(RIGHT, " ".join(BLANKS)) == (True, False, 12 / 16, False, True)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("r3c1=2 r3c1=2 r3c4=3", "the filled cell r3c1 stands there twice"),
        ("r3c1=_ r3c4=3", "among filled cells, such as r3c4=3, stands 'r3c1=_'"),
        ("r3c1=2 and r3c4=3", "stands 'and'"),
        ("r3c1=2, .., r4c4=1", "stands '..'"),
        ("r3c1=2. r3c4=3", "stands '.'"),
        ("r3c1=-2 r3c4=3", "stands 'r3c1=-2'"),
        ("r3c1=2.5 r3c4=3", "stands '.5'"),
        ("r3c1=2 r5c1=3", "a filled cell is none of 4 x 4: r5c1=3"),
        ("r3c1=5", "a filled cell is none of 4 x 4: r3c1=5"),
        ("r3c1: 2", "no filled cells such as r1c2=3 are there, and a grid has 16 cells"),
    ],
)
def test_other_texts_of_some_cells_are_no_answer(text, problem):
    assert judge(flat(TRUTH["clues"]), text) == (False, True, 1, False, False)
    score = get_task("sudoku").score(respond(flat(TRUTH["clues"]), text), TRUTH)
    assert score.reason.startswith("answer: ") and problem in score.reason
    assert len(score.reason) < 120


LISTED = "\n".join(BLANKS)


@pytest.mark.parametrize(
    "text",
    [
        ", ".join(BLANKS),
        " ".join(BLANKS) + ".",
        "; ".join(BLANKS) + ";",
        f"`{' '.join(BLANKS)}`.",
        " ".join(f"`{word}`" for word in BLANKS),
        f"```\n{LISTED}\n```",
        f"```text\n{LISTED}.\n```\n",
        "- " + "\n- ".join(BLANKS),
        "\n".join(f"{i}. **{word}**" for i, word in enumerate(BLANKS, 1)),
        " ".join(BLANKS).replace("=", " = "),
        " ".join(BLANKS).upper(),
        " ".join(sorted(CELLS, reverse=True)),
    ],
)
def test_filled_cells_are_read_as_models_write_them(text):
    clues = flat(TRUTH["clues"])
    assert judge(clues, text) == (True, True, 1, True, True)
    assert PaperSudoku().score(respond(clues, text), clues).answer is True
    wrong = text.replace("r4c4", "r4c2").replace("R4C4", "R4C2")  # twice
    assert judge(clues, wrong)[0] is False


def test_the_filled_cells_are_shown_with_the_clues_around():
    clues = flat(TRUTH["clues"])
    truth = TRUTH | {"solution": [RIGHT[i : i + 4] for i in range(0, 16, 4)]}
    text = respond(clues, " ".join(["r3c1=3", *BLANKS[1:3]]))
    for judged, known in ((get_task("sudoku"), truth), (PaperSudoku(), {"grid": clues})):
        table = judged.marked(text, known)["answer"]
        assert [cell for cell, _ in table[0]] == ["1", "2", "3", "4"]
        wrong = [(i, j) for i, row in enumerate(table) for j, (_, ok) in enumerate(row) if not ok]
        assert (2, 0) in wrong and (3, 3) in wrong and (0, 0) not in wrong
        assert (table[2][0][0], table[3][3][0]) == ("3", "")


@pytest.mark.parametrize("form", ["tags", "json", "fence", "separator:---", "none"])
@pytest.mark.parametrize("size", [4, 9])
def test_every_format_reads_the_filled_cells(size, form):
    """And so does whoever judges a row by the clues alone, as the paper's data have them."""
    task, chosen = get_task("sudoku", size=size, verbosity=-1), make_format(form)
    for i in range(4):
        made = task.generate(i, "test", 0)
        assert len(made.answer.split()) == made.truth["blanks"]
        written = chosen.write(made.perception, made.reasoning, made.answer)
        read = chosen.tagged(written)
        for judged, truth in ((task, made.truth), (EitherTask(), flat(made.truth["clues"]))):
            score = judged.score(read, truth)
            assert score.answer is True
            assert form == "none" or (score.perception and score.reasoning)


def test_the_paper_s_question_asks_for_the_whole_grid():
    made = get_task("sudoku", verbosity=-1, form="paper").generate(0, "train", 0)
    assert made.answer.startswith("[[") and "completed grid" in made.query


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([4, 9]).flatmap(
        lambda size: st.lists(st.integers(0, size), min_size=size**2, max_size=size**2)
    )
)
def test_grid_text_reads_back(grid):
    size = {16: 4, 81: 9}[len(grid)]
    assert parse_grid(grid_text(grid, size), size) == grid
    assert parse_grid("\n\t ".join(grid_text(grid, size).split()) + "\n", size) == grid
