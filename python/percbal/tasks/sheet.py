"""One picture of many instances, for a person: each with p*, its reasoning and its answer."""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from percbal.tasks.base import Instance, Task
from percbal.tasks.files import check_count, make_directory, write_whole

WIDTH = 400  # pixels of a picture and of the texts under it
GAP = 16
FONT_SIZE, LINE = 13, 17
REASONING_LINES = 4  # its beginning; p* and the answer are shown whole
MOST_COLUMNS = 4


def save_preview(
    task: Task, n: int, path: str | os.PathLike[str], split: str = "train", seed: int = 0
) -> Path:
    """Write one PNG with the first ``n`` instances of a split.

    ValueError if ``n`` is not positive, OSError if the file cannot be written.
    """
    check_count(n)
    target = Path(path)
    tiles = [_tile(task.generate(index, split, seed)) for index in range(n)]
    # the fewest places left empty, then the widest sheet
    columns = min(range(min(n, 2), min(n, MOST_COLUMNS) + 1), key=lambda c: (-n % c, -c))
    rows = [tiles[start : start + columns] for start in range(0, n, columns)]
    heights = [max(tile.height for tile in row) + GAP for row in rows]
    sheet = Image.new("RGB", (columns * (WIDTH + GAP) + GAP, sum(heights) + GAP), "white")
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, (GAP + column * (WIDTH + GAP), GAP + sum(heights[:number])))
    make_directory(target.parent)
    write_whole(target, partial(sheet.save, format="PNG"))
    return target


def _tile(instance: Instance) -> Image.Image:
    """A picture as wide as the tile, and the texts under it."""
    picture = instance.image.convert("RGB")
    # small pictures grow by whole numbers, so that the pixels a model sees can be counted
    scale = max(1, WIDTH // picture.width)
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    texts = ("query", "perception", "reasoning", "answer")
    lines = [line for name in texts for line in _lines(instance, name)]
    tile = Image.new("RGB", (WIDTH, picture.height + 8 + LINE * len(lines)), "white")
    tile.paste(picture, ((WIDTH - picture.width) // 2, 0))
    draw, font = ImageDraw.Draw(tile), _font()
    for number, (text, color) in enumerate(lines):
        draw.text((0, picture.height + 8 + number * LINE), text, fill=color, font=font)
    return tile


def _lines(instance: Instance, name: str) -> list[tuple[str, str]]:
    """(text, colour) of a heading and of a text."""
    text = getattr(instance, name)
    shown = _wrapped(text)
    if name == "reasoning" and len(shown) > REASONING_LINES:
        shown = [*shown[:REASONING_LINES], ".."]
    title = {"perception": "p*"}.get(name, name)
    count = len(text.split())
    heading = (f"{title}, {count} word{'s' if count != 1 else ''}", "firebrick")
    return [heading, *((line, "black") for line in shown)]


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=FONT_SIZE)


def _wrapped(text: str) -> list[str]:
    """Lines as wide as the tile, by the width of their letters; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font().getlength(longer) <= WIDTH:
            lines[-1] = longer
            continue
        while _font().getlength(word) > WIDTH:
            fits = next(n for n in range(len(word), 0, -1) if _font().getlength(word[:n]) <= WIDTH)
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines
