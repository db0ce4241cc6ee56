"""Facts about Sudoku's pictures: they show the clues, and what makes them harder."""

import numpy as np
import pytest
from sudoku_rules import flat

from percbal.tasks import get_task
from percbal.tasks.pictures import FONTS

CLEAR = dict(rotation=0, noise=0.0, cell_jitter=0, grid_shift=0, fonts=FONTS[:1])


def cells_of(image, task):
    """(size * size, side, side) pixels inside the lines of a picture without shift."""
    size, side = task.size, task.look.cell_size(task.size)
    margin = (task.look.pixels - side * size) // 2
    pixels = np.asarray(image)[margin:, margin:]
    corners = [(row * side + 2, column * side + 2) for row in range(size) for column in range(size)]
    return np.stack([pixels[y : y + side - 3, x : x + side - 3] for y, x in corners])


@pytest.mark.parametrize("size", [4, 6, 9])
@pytest.mark.parametrize("font", FONTS)
def test_a_picture_shows_the_clues(size, font):
    task = get_task("sudoku", size=size, **CLEAR | dict(fonts=(font,)))
    templates = {}
    for index in range(4):
        instance = task.generate(index, "train", seed=0)
        assert instance.image.size == (task.look.pixels,) * 2 and instance.image.mode == "L"
        cells = cells_of(instance.image, task)
        for digit, cell in zip(flat(instance.truth["clues"]), cells, strict=True):
            assert np.array_equal(cell, templates.setdefault(digit, cell))
    assert len(templates) == size + 1 and templates[0].min() == 255
    unlike = [
        np.abs(templates[a].astype(int) - templates[b]).sum() / 255
        for a in templates
        for b in range(a)
    ]
    assert min(unlike) > 5  # whole pixels of ink between any two


def test_pictures_differ_exactly_where_clues_do():
    task = get_task("sudoku", **CLEAR)
    seen = {}
    for index in range(300):
        instance = task.generate(index, "train", seed=0)
        pixels = instance.image.tobytes()
        assert seen.setdefault(instance.perception, pixels) == pixels
    assert len(set(seen.values())) == len(seen) > 200


@pytest.mark.parametrize(
    "harder",
    [
        dict(rotation=14),
        dict(noise=0.05),
        dict(cell_jitter=1),
        dict(grid_shift=2),
        dict(fonts=FONTS),
    ],
)
def test_each_difficulty_changes_the_picture_and_not_the_puzzle(harder):
    plain = get_task("sudoku", **CLEAR)
    hard = get_task("sudoku", **CLEAR | harder)
    pairs = [(plain.generate(i, "train", 0), hard.generate(i, "train", 0)) for i in range(5)]
    assert all(a.response == b.response for a, b in pairs)
    assert any(a.image.tobytes() != b.image.tobytes() for a, b in pairs)


def test_digits_are_not_turned_upside_down():
    with pytest.raises(ValueError, match="rotation must be below 90 degrees, got 180"):
        get_task("sudoku", rotation=180)


def test_noise_has_the_strength_asked_for():
    options = CLEAR | dict(noise=0.02)
    image = np.asarray(get_task("sudoku", **options).generate(0, "train", 0).image, dtype=float)
    clean = np.asarray(get_task("sudoku", **CLEAR).generate(0, "train", 0).image, dtype=float)
    grey = (clean > 100) & (clean < 200)  # where nothing is clipped
    assert (image - clean)[grey].std() / 255 == pytest.approx(0.02, rel=0.15)
