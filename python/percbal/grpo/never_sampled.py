"""Tokens that stand for an image are never sampled: there would be no image for them."""

from __future__ import annotations

from typing import Any

from percbal.grpo.config import BalancedGRPOConfig
from percbal.models.placeholders import placeholder_ids


def never_sample_images(args: BalancedGRPOConfig, processor: Any, model: Any) -> None:
    """Written into ``args.generation_kwargs``; without it the forward pass of training fails.

    TRL's own list gives way to it, so it is whole. model: perhaps a name, which has no config.
    """
    ids = sorted(placeholder_ids(processor, getattr(model, "config", None)))
    if not ids:
        return
    given: dict[str, Any] = dict(args.generation_kwargs or {})  # type: ignore[arg-type]
    # vLLM has no suppress_tokens. Its logit_bias ends at -100, which is rare and not never, and
    # its keys are numbers, which JSON does not have. bad_words are strings, and never sampled.
    option, values = (
        ("bad_words", _words(processor.tokenizer, ids))
        if args.use_vllm
        else ("suppress_tokens", ids)
    )
    given[option] = sorted({*(given.get(option) or []), *values})
    args.generation_kwargs = given


def _words(tokenizer: Any, ids: list[int]) -> list[str]:
    """The tokens' texts, of those that the tokenizer has."""
    known = [i for i in ids if i < len(tokenizer)]
    words = tokenizer.convert_ids_to_tokens(known)
    for number, word in zip(known, words, strict=True):
        if tokenizer.encode(word, add_special_tokens=False) != [number]:
            raise ValueError(
                f"use_vllm cannot keep the image token {number} from being sampled: the tokenizer "
                f"does not read its text {word!r} as that token"
            )
    return words
