"""Messages as people write them, in the one way that the trainers read.

A message is ``{"role", "content"}`` or ShareGPT's ``{"from", "value"}``. Its content comes out as a
plain text, or, where images stand in it, as parts ``{"type": "image"}`` and ``{"type": "text",
"text"}`` in their order. The word ``<image>`` in a text is the place of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from percbal.data.lines import BadRow, json_or_text

Message = dict[str, Any]

MARK = "<image>"
OTHER_MARKS = ("<video>", "<audio>")  # of LLaMA-Factory
ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "function_call": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "observation": "tool",
}
ELSEWHERE = ("image", "images", "image_url", "videos", "video", "audios", "audio")  # Ollama's
OWN = ("image", "path", "url", "image_url")  # where a part may name its image


def read_messages(name: str, value: Any, role: str | None = None) -> list[Message]:
    """The messages of a column. BadRow, which names the column, for anything else.

    role: of a plain text, which is one message then; None if there must be messages.
    """
    if isinstance(value, str):
        # a table's cell may hold its messages as JSON
        value = [{"role": role, "content": value}] if role else json_or_text(value)
    if not isinstance(value, list) or not value:
        got = "null or missing" if value is None else f"{value!r:.40}"
        kinds = "a text or a list of messages" if role else "a list of messages"
        raise BadRow(f"{name} must be {kinds}, it is {got}")
    return [_message(name, message) for message in value]


def _message(name: str, value: Any) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"a message of {name} must have a role and content, got {value!r:.60}")
    # tables fill what a message has not with null
    message = {key: item for key, item in value.items() if item is not None}
    for key in ELSEWHERE:
        if message.pop(key, None):
            raise BadRow(
                f"a message of {name} has {key}, which no template shows; pictures are parts of "
                "its content, or in the column images with the word <image> at their place"
            )
    role = message.pop("role", message.pop("from", None))
    if not isinstance(role, str) or role not in ROLES:
        raise BadRow(
            f"a message of {name} must have a role among {', '.join(ROLES)}, got {role!r:.40}"
        )
    content = message.pop("content", message.pop("value", None))
    if content is None and message.get("tool_calls"):
        content = ""
    if not isinstance(content, (str, list)):
        raise BadRow(f"a message of {name} must have content, got {value!r:.60}")
    return {"role": ROLES[role], "content": _content(name, content), **message}


def _content(name: str, content: str | list[Any]) -> str | list[dict[str, Any]]:
    """A text without a place for an image, or parts; adjacent texts are one."""
    parts: list[dict[str, Any]] = []
    for part in [content] if isinstance(content, str) else content:
        for piece in _split(name, part) if isinstance(part, str) else _part(name, part):
            if piece["type"] == "text" and parts and parts[-1]["type"] == "text":
                parts[-1] = {"type": "text", "text": parts[-1]["text"] + piece["text"]}
            else:
                parts.append(piece)
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(name: str, part: Any) -> list[dict[str, Any]]:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise BadRow(f"a part of {name} must have a type, got {part!r:.60}")
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise BadRow(f"a text part of {name} has no text but {part.get('text')!r:.40}")
        return _split(name, part["text"])
    if kind not in ("image", "image_url"):
        raise BadRow(f"a part of {name} is of type {kind!r:.40}; only text and image are read")
    own = next((part[key] for key in OWN if part.get(key) is not None), None)
    if kind == "image_url" and isinstance(own, dict) and "url" in own:
        own = own["url"]
    return [{"type": "image"} if own is None else {"type": "image", "image": own}]


def _split(name: str, text: str) -> list[dict[str, Any]]:
    """A text at the places of its images."""
    for mark in OTHER_MARKS:
        if mark in text:
            raise BadRow(f"{name} has the word {mark}; only text and images are read")
    pieces: list[dict[str, Any]] = []
    for i, piece in enumerate(text.split(MARK)):
        pieces += [{"type": "image"}] if i else []
        pieces += [{"type": "text", "text": piece}] if piece else []
    return pieces


def place_images(prompt: list[Message], n_images: int) -> tuple[list[Message], list[Any]]:
    """The prompt with a part for every image, and the images that its parts bring themselves.

    n_images: those that the row has elsewhere. Without a part for them, they stand before the
        first text of the user, as TRL puts them.
    """
    parts = image_parts(prompt)
    own = [part["image"] for part in parts if "image" in part]
    n_parts = len(parts) - len(own)
    if n_images and not parts:
        return _images_first(prompt, n_images), []
    if n_parts != n_images:
        raise BadRow(f"its messages have {n_parts} image parts, and the row has {n_images} images")
    if own and n_images:
        raise BadRow(f"it has {len(own)} images in its messages and {n_images} in a column")
    for part in parts:
        part.pop("image", None)
    return prompt, own


def image_parts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    contents = [message["content"] for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part for part in parts if part["type"] == "image"]


def _images_first(prompt: list[Message], n_images: int) -> list[Message]:
    at = next((i for i, message in enumerate(prompt) if message["role"] == "user"), None)
    if at is None:
        raise BadRow(f"it has {n_images} images and no message of the user to show them in")
    text = prompt[at]["content"]
    parts = [{"type": "image"} for _ in range(n_images)]
    parts += [{"type": "text", "text": text}] if text else []
    return [*prompt[:at], {**prompt[at], "content": parts}, *prompt[at + 1 :]]
