"""What a row of a data set must hold before anyone trains on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from percbal.data.lines import BadRow

Row = Mapping[str, Any]


def check_row(row: Row, needed: Sequence[str], n_images: int | None = None) -> None:
    """BadRow for a text that is missing, and for messages that do not fit the images.

    needed: columns that must be there, texts or lists of messages.
    n_images: default those in the row.
    """
    for name in needed:
        _check_text(name, row.get(name))
    check_images(row, n_images)


def _check_text(name: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value:
        got = "null or missing" if value is None else f"{value!r:.40}"
        raise BadRow(f"{name} must be a text or a list of messages, it is {got}")
    for message in value:
        content = message.get("content") if isinstance(message, dict) else None
        if content is None and isinstance(message, dict) and message.get("tool_calls"):
            continue
        if not isinstance(content, (str, list)):
            raise BadRow(f"a message of {name} must have content, got {message!r:.60}")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise BadRow(f"a part of {name} must have a type, got {part!r:.60}")
            if part["type"] == "text" and not isinstance(part.get("text"), str):
                raise BadRow(f"a text part of {name} has no text but {part.get('text')!r:.40}")


def check_images(row: Row, n_images: int | None = None) -> None:
    """BadRow where the image parts of the messages are not as many as the row's images.

    Messages without any image part may have images: they are shown before the first text.
    """
    if n_images is None:
        n_images = _count(row)
    prompt = row.get("messages") if row.get("prompt") is None else row["prompt"]
    messages = prompt if isinstance(prompt, list) else []
    contents = [m.get("content") for m in messages if isinstance(m, Mapping)]
    parts = [p for content in contents if isinstance(content, list) for p in content]
    asked = [p for p in parts if isinstance(p, Mapping) and p.get("type") == "image"]
    n_parts = sum(part.get("image") is None for part in asked)  # others bring their own
    if asked and n_parts != n_images:
        raise BadRow(f"its messages have {n_parts} image parts, and the row has {n_images} images")


def row_name(row: Row, place: str) -> str:
    """What to call a row in an error: by its index or id, else by its place."""
    index = row.get("index", row.get("id"))
    return place if index is None else f"example {index}"


def _count(row: Row) -> int:
    images = row.get("images")
    if images is None:
        return int(row.get("image") is not None)
    if not isinstance(images, (list, tuple)):
        raise BadRow(f"images must be a list, got {images!r:.40}")
    return len(images)
