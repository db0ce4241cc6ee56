"""What a trainer checks of a row, and what it calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from percbal.data.lines import BadRow

Row = Mapping[str, Any]
PLACE = "source_row"  # the column that says where a row was read, such as train.jsonl:3


def check_images(row: Row, n_images: int | None = None) -> None:
    """BadRow where the image parts of the messages are not as many as the row's images.

    Messages without any image part may have images: they are shown before the first text.
    """
    if n_images is None:
        n_images = len(images_of(row))
    prompt = row.get("messages") if row.get("prompt") is None else row["prompt"]
    messages = prompt if isinstance(prompt, list) else []
    contents = [m.get("content") for m in messages if isinstance(m, Mapping)]
    parts = [p for content in contents if isinstance(content, list) for p in content]
    asked = [p for p in parts if isinstance(p, Mapping) and p.get("type") == "image"]
    n_parts = sum(part.get("image") is None for part in asked)  # others bring their own
    if asked and n_parts != n_images:
        raise BadRow(f"its messages have {n_parts} image parts, and the row has {n_images} images")


def row_name(row: Row, place: str) -> str:
    """What to call a row in an error: by its file and row, its index or id, else by its place."""
    if row.get(PLACE) is not None:
        return str(row[PLACE])
    index = row.get("index", row.get("id"))
    return place if index is None else f"example {index}"


def images_of(row: Row) -> list[Any]:
    """Those of either column; none for a row of text. BadRow where ``images`` is no list."""
    images = row.get("images")
    if images is None:
        return [] if row.get("image") is None else [row["image"]]
    if not isinstance(images, (list, tuple)):
        raise BadRow(f"images must be a list, got {images!r:.40}")
    return list(images)
