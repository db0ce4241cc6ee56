"""Pictures of Sudoku grids, hard to read by degrees."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw

from percbal.tasks.pictures import check_look, digit_font, with_noise
from percbal.tasks.sudoku_grid import BOXES

PAPER, INK, CELL_LINE, BOX_LINE = 255, 0, 190, 110  # grey levels
SMALLEST_CELL = 10  # pixels; below that fonts cannot draw nine different digits
OVERSAMPLING = 4  # digits are rotated large and then reduced, which keeps thin strokes


@dataclass(frozen=True)
class Look:
    """What makes a picture hard to read.

    pixels: width and height
    rotation: every digit is turned by a whole number of degrees in [-rotation, rotation]
    noise: standard deviation of Gaussian pixel noise, as a share of white
    cell_jitter: every digit is moved by up to so many pixels each way
    grid_shift: the whole grid is moved by up to so many pixels each way
    fonts: every digit is drawn in one of these, drawn at random
    """

    pixels: int
    rotation: int
    noise: float
    cell_jitter: int
    grid_shift: int
    fonts: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("rotation", "cell_jitter", "grid_shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.rotation >= 90:  # a 6 upside down is a 9
            raise ValueError(f"rotation must be below 90 degrees, got {self.rotation}")
        check_look(self.noise, self.fonts)

    def cell_size(self, size: int) -> int:
        """Pixels per cell: the grid keeps room to be shifted. ValueError if too few to draw."""
        cell = (self.pixels - 2 * self.grid_shift) // size
        if cell < SMALLEST_CELL + 2 * self.cell_jitter:
            raise ValueError(
                f"pixels {self.pixels} leaves {cell} pixels per cell; with cell_jitter"
                f" {self.cell_jitter} it takes {SMALLEST_CELL + 2 * self.cell_jitter}"
            )
        return cell


def render(grid: Sequence[int], size: int, look: Look, rng: random.Random) -> Image.Image:
    """A grey ("L") picture of the grid, pixels x pixels pixels."""
    cell = look.cell_size(size)
    image = Image.new("L", (look.pixels, look.pixels), PAPER)
    left, top = corner(size, look, rng)
    _draw_lines(image, size, cell, left, top)
    for index, digit in enumerate(grid):
        if not digit:
            continue
        row, column = divmod(index, size)
        glyph = _glyph(
            rng.choice(look.fonts), cell, digit, rng.randint(-look.rotation, look.rotation)
        )
        x = left + column * cell + (cell + 1 - glyph.width) // 2
        y = top + row * cell + (cell + 1 - glyph.height) // 2
        x += rng.randint(-look.cell_jitter, look.cell_jitter)
        y += rng.randint(-look.cell_jitter, look.cell_jitter)
        image.paste(INK, (x, y), glyph)
    return with_noise(image, look.noise, rng)


def corner(size: int, look: Look, rng: random.Random) -> tuple[int, int]:
    """The grid's left upper corner in pixels, the first that a picture draws by chance."""
    margin = (look.pixels - look.cell_size(size) * size) // 2
    left = margin + rng.randint(-look.grid_shift, look.grid_shift)
    return left, margin + rng.randint(-look.grid_shift, look.grid_shift)


def _draw_lines(image: Image.Image, size: int, cell: int, left: int, top: int) -> None:
    draw = ImageDraw.Draw(image)
    high, wide = BOXES[size]
    length = size * cell
    # box lines last, over the cell lines they cross
    for of_boxes, grey, width in ((False, CELL_LINE, 1), (True, BOX_LINE, 1 + cell // 30)):
        for line in range(size + 1):
            x, y = left + line * cell, top + line * cell
            if (line % wide == 0) is of_boxes:
                draw.line((x, top, x, top + length), fill=grey, width=width)
            if (line % high == 0) is of_boxes:
                draw.line((left, y, left + length, y), fill=grey, width=width)


@lru_cache(maxsize=16384)
def _glyph(font: str, cell: int, digit: int, angle: int) -> Image.Image:
    """Coverage mask of a turned digit, cut to its bounding box, to be pasted into a cell."""
    large = cell * OVERSAMPLING
    canvas = Image.new("L", (2 * large, 2 * large), 0)
    draw = ImageDraw.Draw(canvas)
    drawn_in = digit_font(font, 2 / 3 * large)
    draw.text((large, large), str(digit), fill=255, font=drawn_in, anchor="mm")
    turned = canvas.rotate(angle, resample=Image.Resampling.BICUBIC)
    small = turned.reduce(OVERSAMPLING)
    return small.crop(small.getbbox())
