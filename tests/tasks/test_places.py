"""Facts about where a task says that the parts of its pictures are, held to the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from percbal.tasks import get_task

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
