"""TRL renders and encodes a rollout's prompt a second time, for its images: as it was sampled.

Up to 1.16 it then pads on the tokenizer's side and lets the tokenizer add special tokens, while
the prompt's ids are padded on the left and have the template's own. Token types, from which
Qwen's models make positions, end up beside the wrong tokens (huggingface/trl#5785).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from percbal.responses.prompt import without_options


class AsSampled:
    """A processor for rollouts: left padding, no special tokens but the template's.

    chat_template: the trainer's own, if it has one.
    """

    def __init__(self, processor: Any, chat_template: str | None) -> None:
        self._processor, self._template = processor, chat_template

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    @property
    def image_processor(self) -> Any:
        """Asked by TRL for the tiles of each image."""
        return _Tiles(self._processor.image_processor)

    def __call__(self, *args: Any, images: Any = None, **options: Any) -> Any:
        options |= {"padding_side": "left", "add_special_tokens": False}
        shown = {} if images is None else {"images": _lists(images)}
        encoded = self._processor(*args, **shown, **options)
        # LLaVA-OneVision's, one each (refuse_several_images); TRL cannot pass it on
        encoded.pop("batch_num_images", None)
        return encoded

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        """With the options that the conversation carries."""
        plain, own = without_options(messages)
        if self._template is not None:
            options.setdefault("chat_template", self._template)
        return self._processor.apply_chat_template(plain, **{**options, **own})


class _Tiles:
    """An image processor for rows of which some have no image."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, images: Any, **options: Any) -> Any:
        return self._processor(images=_lists(images), **options)


def _lists(images: Any) -> Any:
    """Images of each row; TRL has None for a row without."""
    if not isinstance(images, list):
        return images
    return [[] if row is None else row for row in images]


@contextmanager
def as_sampled(trainer: Any) -> Iterator[None]:
    """Meanwhile the trainer's processor is such a one."""
    kept = trainer.processing_class
    trainer.processing_class = AsSampled(kept, trainer.chat_template)
    try:
        yield
    finally:
        trainer.processing_class = kept
