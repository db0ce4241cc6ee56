"""What is read in the words of models that nobody told how: the right thing, or nothing."""

from __future__ import annotations

import graph_styles as graphs
import grid_styles as grids
import pytest
from growth import is_linear
from hypothesis import given, settings
from hypothesis import strategies as st

from percbal.responses.reading import LONGEST, Refusal
from percbal.tasks import get_task
from percbal.tasks.read_graph import read_coloring, read_edges
from percbal.tasks.read_grid import read_grid
from percbal.tasks.sudoku_text import grid_text


def read_nine(text):
    return read_grid(text, 9)


RIGHT = [
    (read_nine, grids.READ, grids.GRID),
    (read_edges, graphs.EDGES_READ, graphs.EDGES),
    (read_coloring, graphs.COLORS_READ, graphs.COLORS),
    (read_coloring, graphs.NUMBERS_READ, graphs.NUMBERED),
]
WRONG = [
    (read_nine, grids.REFUSED),
    (read_edges, graphs.EDGES_REFUSED),
    (read_coloring, graphs.COLORS_REFUSED),
]


@pytest.mark.parametrize(
    "read, text, found",
    [
        pytest.param(read, text, found, id=f"{read.__name__} {style}")
        for read, styles, found in RIGHT
        for style, text in styles.items()
    ],
)
def test_a_style_is_read(read, text, found):
    assert read(text) == found
    assert read(f"Sure! I looked closely.\n\n{text}\n\nI hope this helps.") == found


@pytest.mark.parametrize(
    "read, text, reason",
    [
        pytest.param(read, text, reason, id=f"{read.__name__} {style}")
        for read, styles in WRONG
        for style, (text, reason) in styles.items()
    ],
)
def test_a_style_is_refused(read, text, reason):
    found = read(text)
    assert isinstance(found, Refusal) and found.problem and len(found.problem) < 100
    assert found.reason == reason


def test_more_than_sixty_styles_are_known():
    assert sum(len(styles) for _, styles, *_ in [*RIGHT, *WRONG]) > 120


def test_an_empty_graph_is_a_list_without_edges():
    assert read_edges("[]") == read_edges('{"edges": []}') == frozenset()


def test_numbers_beside_a_coloring_in_letters_are_no_colors():
    told = "Final coloring: 0=a, 1=b\nDegrees:\n0: 1\n1: 1"
    assert read_coloring(told) == {0: "a", 1: "b"}


@pytest.mark.parametrize("name", ["teal", "gold", "silver", "turquoise", "lime", "magenta"])
def test_names_of_colors(name):
    assert read_coloring(f'{{"0": "{name}", "1": "red"}}') == {0: name, 1: "red"}
    assert read_coloring(f"Vertex 0: {name.title()}\nVertex 1: red") == {0: name, 1: "red"}


@pytest.mark.parametrize("style", [*graphs.COLORS_READ, *graphs.NUMBERS_READ])
def test_coloring_scores_a_style_as_it_scores_its_own_words(style):
    task, written = get_task("coloring"), {**graphs.COLORS_READ, **graphs.NUMBERS_READ}[style]
    path = {"v": 5, "c": 2, "edges": [[a, a + 1] for a in range(4)]}
    found = task.score(f"<perception> 0-1 </perception> <answer> {written} </answer>", path)
    assert found.answer is True
    path["edges"].append([0, 4])  # of one colour
    assert task.score(f"<answer> {written} </answer>", path | {"c": 3}).answer is False


def test_a_grid_of_four():
    assert read_grid("1 2 | 3 4\n3 4 | 1 2\n----+----\n_ 1 | 4 _\n4 _ | 2 _", 4) == [
        *(1, 2, 3, 4, 3, 4, 1, 2, 0, 1, 4, 0, 4, 0, 2, 0)
    ]
    assert read_grid("1234\n3412\n.14.\n4.2.", 4) == read_grid("12|34\n34|12\n.1|4.\n4.|2.", 4)
    assert read_grid("2024\n1234\n3412\n.14.\n4.2.", 4).reason == "rows"


@pytest.mark.parametrize("style", grids.READ)
def test_sudoku_scores_a_style_as_it_scores_its_own_grammar(style):
    rows = [grids.GRID[i : i + 9] for i in range(0, 81, 9)]
    truth = {"size": 9, "clues": rows}
    answer = grid_text(grids.SOLVED, 9)
    task, written = get_task("sudoku", size=9), grids.READ[style]

    def judged(seen):
        return task.score(f"<perception>{seen}</perception> <answer>{answer}</answer>", truth)

    ours, theirs = judged(written), judged(grid_text(grids.GRID, 9))
    assert ours == theirs and ours.answer and ours.perception and ours.reasoning


PIECES = [
    *"0123456789 .,-_|[](){}\"':\n&\\*#=>",
    "\\\\",
    "\\begin{array}",
    "\\end{array}",
    "Row 1: ",
]
PIECES += [
    "edges: ",
    "|---|",
    "5 3 . . 7 . . . .\n",
    "[5, 3, 0, 0, 7, 0, 0, 0, 0],",
    "(0, 1), ",
    "0: a\n",
]
PIECES += [
    "```\n",
    "vertex ",
    " is colored ",
    "b",
    "null",
    "1-2",
    "\\square",
    '"edges"',
    "{",
    "é",
    "١",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_no_text_makes_a_reader_raise(text):
    for size in (4, 9):
        found = read_grid(text, size)
        whole = isinstance(found, list) and len(found) == size * size
        assert isinstance(found, Refusal) or (whole and set(found) <= {*range(size + 1)})
    edges, colors = read_edges(text), read_coloring(text)
    assert isinstance(edges, Refusal) or all(a < b for a, b in edges)
    assert isinstance(colors, Refusal) or colors


@pytest.mark.parametrize("style", grids.READ)
def test_a_line_too_few_or_too_many_is_never_another_grid(style):
    lines = grids.READ[style].split("\n")
    for i, line in enumerate(lines):
        for changed in (lines[:i] + lines[i + 1 :], [*lines[:i], line, *lines[i:]]):
            found = read_nine("\n".join(changed))
            assert isinstance(found, Refusal) or found == grids.GRID


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_one_changed_character_is_never_read_as_the_same_grid_with_a_cell_less(data):
    """A style with one character cut out is another grid, or none; never a shifted one."""
    text = data.draw(st.sampled_from([*grids.READ.values()]))
    at = data.draw(st.integers(0, len(text) - 1))
    found = read_nine(text[:at] + text[at + 1 :])
    if isinstance(found, list):
        assert sum(a != b for a, b in zip(found, grids.GRID, strict=True)) <= 1


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_text_is_read_and_a_longer_one_refused(piece):
    text = (piece * LONGEST)[:LONGEST]
    for read in (read_nine, read_edges, read_coloring):
        assert read(text[:10_000]) is not None
        assert read(text + "x").reason == "too_long"


@pytest.mark.parametrize("before", ["0:", "0 ", "vertex ", "0: colou", ""])
@pytest.mark.parametrize("unit", [" ", "*", '"', "_", "*_ ", "v", "0", "and "])
def test_reading_a_coloring_takes_linear_time(before, unit):
    assert is_linear(read_coloring, lambda n: before + unit * (n // len(unit)) + "!")
