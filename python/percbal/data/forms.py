"""Which form a row has, and the one form that comes out: prompt, completion, images, the rest.

One function a form; docs/data.md lists them. Each takes a row and gives its prompt and completion
as messages, and what columns follow from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from percbal.data.lines import BadRow, json_or_text
from percbal.data.marks import KEYS as MARKS
from percbal.data.marks import read_marks
from percbal.data.messages import MARK, Message, image_parts, place_images, read_messages
from percbal.data.paper import labels_of
from percbal.data.rows import PLACE

Row = Mapping[str, Any]
Texts = tuple[list[Message], list[Message] | None, dict[str, Any]]  # prompt, completion, the rest

SOURCES = ("prompt", "completion", "messages", "conversations", "query", "response")
# besides, what the texts are read from
REFUSED = {  # columns that others put into the prompt -> what to do
    "videos": "only text and images are read",
    "audios": "only text and images are read",
    "history": "its turns are not read; write them as messages",
    "tools": "no tools are put into the prompt; describe them in a message of the system",
}
READ = (*SOURCES, "system", "ground_truth", "chat_template_kwargs", *REFUSED, *MARKS, PLACE)
IMAGES = ("image", "images")
EMPTY = ("", "[]", "{}", "null")  # texts that stand for nothing, as in CSV


def recognise(row: Row, *, completions: bool | None) -> Callable[[Row, bool | None], Texts]:
    """The function that reads a row's texts.

    completions: whether there must be one; None for where there is one. Where a row has several
        forms, the first that has what is needed counts: prompt and completion, messages, the
        paper's.
    """
    there = {name for name in SOURCES if row.get(name) is not None}
    if {"prompt", "completion"} <= there or ("prompt" in there and completions is False):
        return from_prompt
    if {"messages", "conversations"} & there:
        return from_turns
    if "query" in there:
        return from_paper
    if {"prompt", "completion"} & there:
        return from_prompt
    raise BadRow(
        "a row needs prompt and completion, messages, conversations, or query and response; it has "
        f"{', '.join(sorted(map(str, row))) or 'no column'}"
    )


def from_prompt(row: Row, completions: bool | None) -> Texts:
    """TRL's: a prompt and a completion, each a list of messages or a plain text."""
    prompt = read_messages("prompt", row.get("prompt"), role="user")
    if row.get("completion") is None and not completions:
        return prompt, None, {}
    return prompt, read_messages("completion", row.get("completion"), role="assistant"), {}


def from_turns(row: Row, completions: bool | None) -> Texts:
    """LLaMA-Factory's and ShareGPT's: a conversation whose last message is the completion."""
    name = "messages" if row.get("messages") is not None else "conversations"
    turns = read_messages(name, row[name])
    if turns[-1]["role"] == "assistant":
        if len(turns) == 1:
            raise BadRow(f"{name} has a response and nothing before it")
        return turns[:-1], turns[-1:], {}
    if completions:
        raise BadRow(
            f"the last message of {name} must be the assistant's, it is of role "
            f"{turns[-1]['role']!r}"
        )
    return turns, None, {}


def from_paper(row: Row, completions: bool | None) -> Texts:
    """The paper's: a query, a response (empty for reinforcement) and the ground truth."""
    prompt = read_messages("query", row["query"], role="user")
    labels = {name: row.get(name) or value for name, value in labels_of(row).items()}
    if not row.get("response") and not completions:
        return prompt, None, labels
    return prompt, read_messages("response", row.get("response") or None, role="assistant"), labels


def read_row(row: Row, *, completions: bool | None, n_images: int = 0) -> dict[str, Any]:
    """The row in the one form; BadRow, which says why, for one that has none.

    Out come ``prompt``, ``completion`` (where there is one), ``images`` and every other column but
    those that these were made of.
    n_images: those that the row has elsewhere, in a column that was not read.
    """
    for name, why in REFUSED.items():
        value = row.get(name)
        if value and not (isinstance(value, str) and value.strip() in EMPTY):
            raise BadRow(f"it has {name}; {why}")
    prompt, completion, labels = recognise(row, completions=completions)(row, completions)
    if row.get("system"):
        prompt = _with_system(row["system"], prompt)
    images = image_values(row)
    prompt, own = place_images(prompt, len(images) or n_images)
    if prompt[-1]["role"] == "system":
        raise BadRow("its prompt ends with a message of the system; nobody asks anything")
    if completion is not None and image_parts(completion):
        raise BadRow(f"its response has an image or the word {MARK}, where none can be")
    used = {*SOURCES, *IMAGES, *REFUSED, "system", PLACE}
    others = {name: value for name, value in row.items() if name not in used}
    if others.get("chat_template_kwargs") is not None:
        others["chat_template_kwargs"] = _template_options(others["chat_template_kwargs"])
    for name in MARKS if completions else ():  # others have no use for them
        if name in others:
            others[name] = read_marks(name, others[name])
    made = {"prompt": prompt, "images": images or own}
    return others | labels | made | ({} if completion is None else {"completion": completion})


def _with_system(value: Any, prompt: list[Message]) -> list[Message]:
    if prompt[0]["role"] == "system":
        raise BadRow("it has a column system, and its prompt begins with a message of the system")
    return [*read_messages("system", value, role="system"), *prompt]


def _template_options(value: Any) -> dict[str, Any]:
    value = json_or_text(value)
    if not isinstance(value, dict):
        raise BadRow(f"chat_template_kwargs must be options by name, got {value!r:.40}")
    return {name: option for name, option in value.items() if option is not None}


def image_values(row: Row) -> list[Any]:
    """The images of a row, not opened: those of ``images``, else of ``image``."""
    return as_list(row.get("images")) or as_list(row.get("image"))


def as_list(value: Any) -> list[Any]:
    """One image or several, as a list; a text may be a JSON list of paths, as in a CSV file."""
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRow(f"images is no JSON list of paths: {value!r:.60}") from None
    return list(value) if isinstance(value, (list, tuple)) else [value]
