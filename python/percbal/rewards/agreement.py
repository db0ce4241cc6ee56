"""Group agreement as a reward: rollouts that read one image right agree, errors scatter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from typing import Any

import torch

from percbal.responses.prompt import content_text
from percbal.rewards.texts import earning_words, labels, read_parts
from percbal_ops import group_agreement as mean_similarity


def group_agreement(
    completions: Sequence[Any],
    prompts: Sequence[Any],
    image: Sequence[Any] | None = None,
    images: Sequence[Any] | None = None,
    answer: Sequence[str | None] | None = None,
    perception: Sequence[str | None] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    **_: Any,
) -> list[float | None]:
    """Agreement with the siblings, less the agreement with rollouts about other images.

    Agreement is the mean edit similarity (A2) of the words of two perceptions; siblings are the
    rollouts of the same prompt, its text and its images, in this call. What would be said of any
    image, such as a constant text or a filler, agrees as much elsewhere and so earns nothing: the
    score is ``max(0, agreement with siblings - agreement elsewhere)``. Elsewhere is one rollout of
    each other image (of each other prompt where there are no images); if the call has none, or
    none there is readable, nothing is subtracted, and a constant text then earns 1.

    0 for a missing, empty or enormous perception, and for one that contains the completion's
    answer, or the column ``answer``, word for word where the column ``perception`` does not. Such
    a sibling counts as one that disagrees. None without siblings.
    """
    n = len(completions)
    nothing = [None] * n
    tokens = []  # the words of each perception, none for one that earns nothing
    rows = zip(
        read_parts(completions),
        labels(answer, "answer", n),
        labels(perception, "perception", n),
        strict=True,
    )
    for parts, label, shown in rows:
        tokens.append(earning_words(parts, label, shown))
    hashes = _Hashes()
    pictures = [
        hashes.of_images(prompts[i], (image or nothing)[i], (images or nothing)[i])
        for i in range(n)
    ]
    questions = [_text_of(prompt) for prompt in prompts]
    siblings = _numbered(zip(questions, pictures, strict=True))
    within = _mean_similarity(tokens, siblings)
    elsewhere = _elsewhere(tokens, _numbered(pictures if any(pictures) else questions))
    if log_metric is not None and n:
        log_metric("group_agreement/elsewhere", sum(elsewhere) / n)
        log_metric("group_agreement/refused", sum(not t for t in tokens) / n)
    return [
        None if w != w else max(0.0, w - e) if t else 0.0
        for t, w, e in zip(tokens, within, elsewhere, strict=True)
    ]


def _elsewhere(tokens: list[list[str]], picture: list[int]) -> list[float]:
    """Mean similarity of each rollout to one readable rollout of every other picture, else 0."""
    readable_of: dict[int, list[int]] = {}
    for i, number in enumerate(picture):
        if tokens[i]:
            readable_of.setdefault(number, []).append(i)
    if len(readable_of) < 2:
        return [0.0] * len(tokens)
    # one rollout of each picture to a group; pictures with fewer rollouts give some of them again
    rounds = max(map(len, readable_of.values()))
    chosen = [own[j % len(own)] for j in range(rounds) for own in readable_of.values()]
    groups = [j for j in range(rounds) for _ in readable_of]
    similarity = [0.0] * len(tokens)
    for i, value in zip(chosen, _mean_similarity([tokens[i] for i in chosen], groups), strict=True):
        similarity[i] = value
    return similarity


def _mean_similarity(tokens: list[list[str]], group: list[int]) -> list[float]:
    """(A1) over words; NaN for a row that is alone in its group."""
    flat = _numbered(chain.from_iterable(tokens))
    lengths = torch.tensor([0, *map(len, tokens)])
    return mean_similarity(
        torch.tensor(flat, dtype=torch.long),
        lengths.cumsum(0),
        torch.tensor(group, dtype=torch.long),
    ).tolist()


def _numbered(values: Any) -> list[int]:
    """Equal values get equal numbers, from 0 in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]


class _Hashes:
    """Identity of images by content: the same picture is decoded anew for every rollout."""

    def __init__(self) -> None:
        self.known: dict[int, Hashable] = {}  # by id(), for the length of one call

    def of_images(self, prompt: Any, *columns: Any) -> tuple[Hashable, ...]:
        found = [] if isinstance(prompt, str) else list(_images_in(prompt))
        for column in columns:
            found += column if isinstance(column, (list, tuple)) else [column]
        # an image is in the prompt and again in a column, as TRL hands them over
        return tuple(dict.fromkeys(self._of(one) for one in found if one is not None))

    def _of(self, image: Any) -> Hashable:
        if id(image) not in self.known:
            self.known[id(image)] = _content(image)
        return self.known[id(image)]


def _images_in(prompt: Any) -> Any:
    for message in prompt:
        content = message.get("content")
        for part in content if isinstance(content, (list, tuple)) else ():
            if part.get("type") != "text":
                yield part["image"] if "image" in part else part.get("image_url")


def _content(image: Any) -> Hashable:
    if isinstance(image, dict):  # {"bytes": .., "path": ..}, {"url": ..}
        return tuple((name, _content(image[name])) for name in sorted(image))
    if isinstance(image, (bytes, bytearray)):
        return hashlib.blake2b(image).digest()
    if isinstance(image, torch.Tensor):
        image = image.cpu().numpy()
    if hasattr(image, "tobytes"):  # PIL, NumPy
        size = getattr(image, "size", None)
        return size, getattr(image, "mode", None), hashlib.blake2b(image.tobytes()).digest()
    return image if isinstance(image, Hashable) else repr(image)


def _text_of(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    turns = [f"{m.get('role')}\n{content_text(m.get('content'))}" for m in prompt]
    return "\n\n".join(turns)
