"""Pictures of Sudoku grids, hard to read by degrees.

Only fonts that matplotlib ships are used, so that one seed gives one picture on every machine
with the same Pillow.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBolIta",
    "cmss10",
)
PAPER, INK, CELL_LINE, BOX_LINE = 255, 0, 190, 110  # grey levels
SMALLEST_CELL = 10  # pixels; below that fonts cannot draw nine different digits
OVERSAMPLING = 4  # digits are rotated large and then reduced, which keeps thin strokes


@dataclass(frozen=True)
class Look:
    """What makes a picture hard to read.

    image_size: width and height in pixels
    rotation: every digit is turned by a whole number of degrees in [-rotation, rotation]
    noise: standard deviation of Gaussian pixel noise, as a share of white
    cell_jitter: every digit is moved by up to so many pixels each way
    grid_shift: the whole grid is moved by up to so many pixels each way
    fonts: every digit is drawn in one of these, drawn at random
    """

    image_size: int
    rotation: int
    noise: float
    cell_jitter: int
    grid_shift: int
    fonts: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("rotation", "noise", "cell_jitter", "grid_shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not self.fonts:
            raise ValueError(f"fonts must name at least one of {', '.join(FONTS)}")
        unknown = [font for font in self.fonts if font not in FONTS]
        if unknown:
            raise ValueError(f"unknown font {unknown[0]!r}; known fonts: {', '.join(FONTS)}")

    def cell_size(self, size: int) -> int:
        """Pixels per cell: the grid keeps room to be shifted. ValueError if too few to draw."""
        pixels = (self.image_size - 2 * self.grid_shift) // size
        if pixels < SMALLEST_CELL + 2 * self.cell_jitter:
            raise ValueError(
                f"image_size {self.image_size} leaves {pixels} pixels per cell; with cell_jitter"
                f" {self.cell_jitter} it takes {SMALLEST_CELL + 2 * self.cell_jitter}"
            )
        return pixels


def render(grid: Sequence[int], size: int, look: Look, rng: random.Random) -> Image.Image:
    """A grey ("L") picture of the grid, image_size x image_size pixels."""
    cell = look.cell_size(size)
    image = Image.new("L", (look.image_size, look.image_size), PAPER)
    margin = (look.image_size - cell * size) // 2
    left = margin + rng.randint(-look.grid_shift, look.grid_shift)
    top = margin + rng.randint(-look.grid_shift, look.grid_shift)
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
    return _with_noise(image, look.noise, rng) if look.noise else image


def _draw_lines(image: Image.Image, size: int, cell: int, left: int, top: int) -> None:
    draw = ImageDraw.Draw(image)
    box = {4: 2, 9: 3}[size]
    length = size * cell
    # box lines last, over the cell lines they cross
    for line in sorted(range(size + 1), key=lambda line: line % box == 0):
        grey = BOX_LINE if line % box == 0 else CELL_LINE
        x, y = left + line * cell, top + line * cell
        draw.line((x, top, x, top + length), fill=grey)
        draw.line((left, y, left + length, y), fill=grey)


def _with_noise(image: Image.Image, noise: float, rng: random.Random) -> Image.Image:
    generator = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    pixels = np.asarray(image, dtype=np.float32)
    pixels = pixels + generator.standard_normal(pixels.shape, dtype=np.float32) * (255 * noise)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


@lru_cache(maxsize=16384)
def _glyph(font: str, cell: int, digit: int, angle: int) -> Image.Image:
    """Coverage mask of a turned digit, cut to its bounding box, to be pasted into a cell."""
    large = cell * OVERSAMPLING
    canvas = Image.new("L", (2 * large, 2 * large), 0)
    draw = ImageDraw.Draw(canvas)
    draw.text((large, large), str(digit), fill=255, font=_font(font, large), anchor="mm")
    turned = canvas.rotate(angle, resample=Image.Resampling.BICUBIC)
    small = turned.reduce(OVERSAMPLING)
    return small.crop(small.getbbox())


@lru_cache(maxsize=256)
def _font(name: str, cell: int) -> ImageFont.FreeTypeFont:
    """A font whose digits fill two thirds of a cell, whatever its em."""
    path = str(_font_directory() / f"{name}.ttf")
    _, top, _, bottom = ImageFont.truetype(path, 1000).getbbox("8")
    return ImageFont.truetype(path, round(2 / 3 * cell * 1000 / (bottom - top)))


@lru_cache(maxsize=1)
def _font_directory() -> Path:
    # found without importing matplotlib, which takes longer than drawing a thousand pictures
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("drawing Sudokus takes matplotlib's fonts: install matplotlib")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
