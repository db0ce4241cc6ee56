"""Asks a model for completions, as it was trained to be asked, and by its weights alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from percbal.models.inputs import model_inputs
from percbal.responses.asking import Asking
from percbal.responses.prompt import Turn, given_ids, prompt_ids, trained_turn
from percbal.responses.thoughts import OPENING, opens_thoughts

if TYPE_CHECKING:
    from percbal.tasks.base import Instance


@torch.no_grad()
def complete(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    instances: Sequence[Instance],
    prefixes: Sequence[str],
    *,
    sample: bool = False,
    asking: Asking | None = None,
    most: int | None = None,
) -> list[str]:
    """Completions of the instances' prompts, each beginning with its prefix.

    Greedy, or, with ``sample``, drawn from the model's own distribution (temperature 1); what the
    checkpoint's generation config adds, such as a repetition penalty, is left out. A prefix stands
    where the template puts a response, behind a closed block of thoughts if there is one. Each
    completion may use half as many tokens again as its instance's true response.

    prefixes: beginnings of the instances' responses, "" for none.
    asking: how a prompt is rendered and a true response written.
    most: tokens of a completion, in place of that budget.
    Returns the texts without special tokens; one that goes on in a block of thoughts which the
    prompt opened begins with its tag.
    """
    tokenizer = processor.tokenizer
    asking = asking or Asking()
    prompts = [asking.prompt(_prompt(instance)) for instance in instances]
    asked = prompt_ids(processor, prompts)
    turns = [
        trained_turn(
            processor, prompt, [{"role": "assistant", "content": _text(response(i, asking))}]
        )
        for prompt, i in zip(prompts, instances, strict=True)
    ]
    given = [
        given_ids(tokenizer, turn.completion, prefix) if prefix else []
        for turn, prefix in zip(turns, prefixes, strict=True)
    ]
    budgets = [most or n for n in _token_budgets(tokenizer, turns)]
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    inputs = model_inputs(asked.ids, asked.fields, pad, given)
    start = inputs["input_ids"].shape[1]
    generate: Any = model.generate
    with own_distribution(model, tokenizer, pad):
        output = generate(
            **{name: value.to(model.device) for name, value in inputs.items()},
            do_sample=sample,
            **({"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}),
            max_new_tokens=max(budgets),
            # a growing cache is copied at every token, which on the CPU takes half of the time
            cache_implementation="static" if model._can_compile_fullgraph else None,
            disable_compile=True,
        )
    # decoded together: a word-level tokenizer puts spaces between the ids that it is given
    whole = [
        [*before, *new[:budget]]
        for before, new, budget in zip(given, output[:, start:].tolist(), budgets, strict=True)
    ]
    texts = tokenizer.batch_decode(whole, skip_special_tokens=True)
    opened = [OPENING if opens_thoughts(prompt) else "" for prompt in asked.texts]
    return [before + text for before, text in zip(opened, texts, strict=True)]


@contextmanager
def own_distribution(model: PreTrainedModel, tokenizer: Any, pad: int | None) -> Iterator[None]:
    """Meanwhile the model's generation config has only the tokens that begin, end and pad.

    `generate` fills every option that it is not given from that config.
    """
    kept = getattr(model, "generation_config", None) or GenerationConfig()
    ends = kept.eos_token_id
    ends = list(ends) if isinstance(ends, (list, tuple)) else [] if ends is None else [ends]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        ends.append(tokenizer.eos_token_id)
    model.generation_config = GenerationConfig(
        bos_token_id=kept.bos_token_id, eos_token_id=ends, pad_token_id=pad
    )
    try:
        yield
    finally:
        model.generation_config = kept


def response(instance: Instance, asking: Asking) -> str:
    """An instance's true response in a format."""
    if asking.plain:
        return instance.response
    parts = instance.perception, instance.reasoning, instance.answer
    return asking.response_format.write(*parts)


def _prompt(instance: Instance) -> list[dict[str, Any]]:
    shown = {"type": "image", "image": instance.image}
    return [{"role": "user", "content": [shown, *_text(instance.query)]}]


def _text(text: str) -> list[dict[str, str]]:
    """In parts, which some templates insist on."""
    return [{"type": "text", "text": text}]


def _token_budgets(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    completions = [turn.completion for turn in turns]
    encoded = tokenizer(completions, add_special_tokens=False)["input_ids"]
    return [len(ids) + len(ids) // 2 + 1 for ids in encoded]
