"""Facts about where a task says that the parts of its pictures are, held to the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from percbal.tasks import Instance, get_task
from percbal.tasks.chart_table import Question, Table

CASES = [
    ("sudoku", {"size": 4, "level": "hard"}),
    ("sudoku", {"size": 6, "pixels": 200, "grid_shift": 20}),
    ("sudoku", {"size": 9, "level": "medium"}),
    ("coloring", {"level": "easy"}),
    ("coloring", {"level": "hard"}),
    ("chart", {"kind": "bar"}),
    ("chart", {"kind": "line", "level": "hard"}),
    ("chart", {"kind": "scatter"}),
]
ALL = pytest.mark.parametrize("name, options", CASES)


def instances(name, options, n=12):
    task = get_task(name, noise=0.0, **options)
    return task, [task.generate(i, "test", 1) for i in range(n)]


def pixels_at(instance, points):
    """Grey levels at points in shares of the picture."""
    grey = np.asarray(instance.image.convert("L"), dtype=float)
    high, wide = grey.shape
    x, y = np.clip(np.array(points) * [wide, high], 0, [wide - 1, high - 1]).astype(int).T
    return grey[y, x]


def shows_something(task, instance, place):
    shares = np.linspace(0, 1, 60)[:, None]
    if task.name == "sudoku":  # the middle of the cell
        (left, top), _, (right, bottom), _ = place
        xs, ys = np.meshgrid(
            *(np.linspace(a, b, 40)[8:-8] for a, b in ((left, right), (top, bottom)))
        )
        return pixels_at(instance, np.stack([xs.ravel(), ys.ravel()], 1)).min() < 60
    start, end = map(np.array, place)
    return np.median(pixels_at(instance, start + shares * (end - start))) < 110


@pytest.mark.parametrize("name, options", [case for case in CASES if case[0] != "chart"])
def test_a_place_shows_something_exactly_where_there_is_a_part(name, options):
    task, made = instances(name, options)
    for instance in made:
        parts, places = task.parts(task.problem_in(instance.truth)), task.places(instance)
        assert parts.keys() < places.keys()
        wrong = [
            n for n in places if shows_something(task, instance, places[n]) is (n not in parts)
        ]
        assert not wrong


@pytest.mark.parametrize("name, options", [case for case in CASES if case[0] == "chart"])
def test_a_value_is_marked_at_its_height(name, options):
    """A bar's colour begins there; a point's is all around."""
    task, made = instances(name, options)
    for instance in made:
        parts, places = task.parts(task.problem_in(instance.truth)), task.places(instance)
        assert parts.keys() == places.keys()
        for ((x, y),) in places.values():
            below = [(x, y + 1 / task.look.pixels)]
            assert pixels_at(instance, below)[0] < 200
            if options["kind"] != "line":
                assert pixels_at(instance, [(x, y - 12 / task.look.pixels)])[0] > 200


@pytest.mark.parametrize("name, options", [case for case in CASES if case[0] == "coloring"])
def test_an_answer_s_mark_is_around_its_vertex(name, options):
    """Its ink, or its label, is within the circle that the diamond leaves free."""
    task, made = instances(name, options)
    for instance in made:
        places = task.answer_places(instance)
        assert [*places] == [str(vertex) for vertex in range(instance.truth["v"])]
        for (left, top), _, (right, bottom), _ in places.values():
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            middle = np.array([(left + right) / 2, (top + bottom) / 2])
            turns = np.linspace(0, 2 * np.pi, 60)[:, None]
            radius = task.look.radius(instance.image.width) / instance.image.width
            assert (right - left) / 2 / 2**0.5 > radius, "of the diamond's side from its middle"
            circle = np.concatenate([np.cos(turns), np.sin(turns)], 1) * radius
            ink = [pixels_at(instance, middle + r * circle).min() for r in (0, 0.9, 0.95, 1)]
            assert min(ink) < 110


def test_an_answer_about_a_chart_is_marked_where_its_values_are():
    values = {"Mon": 30, "Tue": 50, "Wed": 10}
    for asked, ends in {
        "difference": ("Wed", "Tue"),
        "ratio": ("Wed", "Tue"),
        "range": ("Tue", "Wed"),
        "sum": None,
    }.items():
        task = get_task("chart", question=asked)
        table = Table("bar", values, Question(asked, "Wed", "Tue", 30))
        instance = Instance("chart", 0, None, "", "", "", "", task.facts(table))
        seen = task.places(instance)
        expected = ends and {"answer": tuple(seen[end.casefold()][0] for end in ends)}
        assert task.answer_places(instance) == (expected or {})
    table = Table("bar", values, Question("count", "Wed", "Tue", 30))
    instance = Instance("chart", 0, None, "", "", "", "", task.facts(table))
    start, end = task.answer_places(instance)["answer"]
    ((left, height),) = task.places(instance)["mon"]  # whose value is 30
    ((right, _),) = task.places(instance)["wed"]
    assert start[1] == end[1] == height and start[0] < left and end[0] > right


def test_the_range_of_equal_values_is_a_point():
    task = get_task("chart", question="range")
    table = Table("bar", {"Mon": 30, "Tue": 30}, Question("range", "Mon", "Tue", 30))
    instance = Instance("chart", 0, None, "", "", "", "", task.facts(table))
    assert task.answer_places(instance) == {"answer": task.places(instance)["mon"]}
    table = Table("bar", {"Mon": 30, "Tue": 50, "Wed": 50, "Thu": 30}, table.question)
    instance = Instance("chart", 0, None, "", "", "", "", task.facts(table))
    (tue,), (mon,) = (task.places(instance)[label] for label in ("tue", "mon"))
    assert task.answer_places(instance) == {"answer": (tue, mon)}


@ALL
def test_places_and_wrong_parts_have_the_same_names(name, options):
    task, made = instances(name, options)
    for one, other in zip(made, made[1:], strict=False):
        assert task.wrong_parts(one.response, one.truth) == []
        assert task.wrong_parts("nothing to read", one.truth) == []
        if one.truth.get("v") != other.truth.get("v"):
            continue
        seen = task.wrong_parts(other.response, one.truth)
        true = task.parts(task.problem_in(one.truth))
        read = task.parts(task.problem_in(other.truth))
        assert seen
        for part, shows, saw in seen:
            assert shows == true.get(part) != read.get(part) == saw
            assert part in task.places(one) or (name == "chart" and shows is None)
