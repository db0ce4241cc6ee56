"""Blind re-answering: is the perceived text enough to answer without the image?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from percbal.responses.copied import copies_an_answer
from percbal.responses.spans import DEFAULT_TAGS
from percbal.rewards.labelled import outcome
from percbal.rewards.texts import earning_words, labels, read_parts


def blind_messages(prompt_messages: Any, perception_text: str) -> Any:
    """The prompt without its images, and what was perceived in the place of the first.

    The perception stands between perception tags, followed by a line break. Everything that is not
    text is dropped. Without an image part, as where images are a column of their own, it stands
    before the first text of the first user's message.

    prompt_messages: a conversation, whose contents are strings or lists of parts, or one string.
    Returns the same kind; nothing of the input is changed.
    """
    opening, closing = DEFAULT_TAGS.perception
    shown = f"{opening}{perception_text}{closing}\n"
    if isinstance(prompt_messages, str):
        return shown + prompt_messages
    has_image = any(_is_image(part) for m in prompt_messages for part in _parts(m))
    placed = False
    messages = []
    for message in prompt_messages:
        content = message.get("content")
        if not isinstance(content, list):
            if isinstance(content, str) and not placed and not has_image and _is_user(message):
                content, placed = shown + content, True
            messages.append({**message, "content": content})
            continue
        parts = []
        here = not placed and not has_image and _is_user(message)
        if here:
            parts, placed = [{"type": "text", "text": shown}], True
        for part in content:
            if part.get("type") == "text":
                parts.append(part)
            elif not placed and _is_image(part):
                parts.append({"type": "text", "text": shown})
                placed = True
        messages.append({**message, "content": parts})
    return messages


def _parts(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _is_image(part: dict[str, Any]) -> bool:
    return part.get("type") in ("image", "image_url")


def _is_user(message: dict[str, Any]) -> bool:
    return message.get("role") == "user"


def blind_reanswer(
    completions: Sequence[Any],
    blind_answers: Sequence[Sequence[str] | None],
    answer: Sequence[str | None],
    grammar: Sequence[str | None] | None = None,
    answer_grammar: Sequence[str | None] | None = None,
    **columns: Any,
) -> list[float | None]:
    """The share of the blind answers whose answer span is the column ``answer`` exactly.

    blind_answers: for each completion the texts that were written from its perception and the
        question alone; None for a completion without a well-formed perception.

    0 where there are none to ask for, or the perception is missing, empty or enormous. An answer
    that stands word for word in the perception was copied and not worked out: blind answers that
    give it count as wrong, and a perception with the right one earns 0, unless p* (the column
    ``perception``) has it too. None without a label, or with an empty list of blind answers.
    """
    owner = [i for i, texts in enumerate(blind_answers) for _ in texts or []]
    truth = labels(answer, "answer", len(completions))
    chosen = answer_grammar or grammar or [None] * len(completions)
    right = outcome(
        [text for texts in blind_answers for text in texts or []],
        [truth[i] for i in owner],
        [chosen[i] for i in owner],
    )
    return share_right(completions, blind_answers, right, answer=truth, **columns)


def share_right(
    completions: Sequence[Any],
    blind_answers: Sequence[Sequence[str] | None],
    right: Sequence[float | None],
    answer: Sequence[str | None] | None = None,
    perception: Sequence[str | None] | None = None,
    **_: Any,
) -> list[float | None]:
    """`blind_reanswer` from the judgement of each blind answer, all in one row, 1, 0 or None."""
    n = len(completions)
    said = read_parts([text for texts in blind_answers for text in texts or []])
    judged = iter(zip(said, right, strict=True))
    out: list[float | None] = []
    rows = zip(
        read_parts(completions),
        blind_answers,
        labels(answer, "answer", n),
        labels(perception, "perception", n),
        strict=True,
    )
    for parts, texts, label, shown in rows:
        marks = [next(judged) for _ in texts or []]
        perceived = earning_words(parts, label, shown)
        if texts is None or not perceived:
            out.append(0.0)
        elif not marks or any(mark is None for _, mark in marks):
            out.append(None)
        else:
            earned = [
                mark == 1 and not copies_an_answer(perceived, (told.answer,), shown)
                for told, mark in marks
            ]
            out.append(sum(earned) / len(earned))
    return out
