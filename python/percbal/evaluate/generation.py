"""Asks a model for completions, as it was trained to be asked, and by its weights alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from percbal.evaluate.questions import MOST_NEW_TOKENS, Question
from percbal.models.attention import uses_flash
from percbal.models.inputs import model_inputs
from percbal.responses.prompt import given_ids, prompt_ids, trained_turn
from percbal.responses.thoughts import OPENING, opens_thoughts

# of a generation config: what is kept, or does not change which token comes next
NO_DISTRIBUTION = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
    *("max_length", "max_new_tokens", "use_cache", "cache_implementation", "transformers_version"),
    *("_from_model_config", "output_attentions", "output_hidden_states"),
)


class Completion(NamedTuple):
    """What was answered: its text, and whether it ended at the limit of tokens, not by itself."""

    text: str
    cut: bool


@dataclass(frozen=True)
class LocalModel:
    """Answers questions by a model and its processor.

    sample, temperature, top_p, most: see `complete`.
    seed: the same questions at once have the same samples; None draws from torch's state.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    sample: bool = False
    most: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    def __call__(self, questions: Sequence[Question], *, told: bool) -> list[Completion]:
        """told: the responses are made to begin with the true perception."""
        prefixes = [question.beginning if told else "" for question in questions]
        drawn: Any = {"sample": self.sample, "temperature": self.temperature, "top_p": self.top_p}
        with self._seeded(questions, told):
            return complete(
                self.model, self.processor, questions, prefixes, most=self.most, **drawn
            )

    @contextmanager
    def _seeded(self, questions: Sequence[Question], told: bool) -> Iterator[None]:
        if self.seed is None or not self.sample:
            yield
            return
        which = [(question.index, question.sample) for question in questions]
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(Random(f"{self.seed} {told} {which}").getrandbits(63))
            yield


@torch.no_grad()
def complete(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    questions: Sequence[Question],
    prefixes: Sequence[str],
    *,
    sample: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    most: int | None = None,
) -> list[Completion]:
    """Completions of the questions' prompts, each beginning with its prefix.

    Greedy, or, with ``sample``, drawn from the model's own distribution at a temperature; what the
    checkpoint's generation config adds, such as a repetition penalty, is left out. A prefix stands
    where the template puts a response, behind a closed block of thoughts if there is one. Each
    completion may use half as many tokens again as its question's whole right response.

    prefixes: beginnings of the questions' responses, "" for none.
    top_p: the share of the likeliest tokens. most: tokens of a completion, not that budget.
    Returns the texts without special tokens; one that goes on in a block of thoughts which the
    prompt opened begins with its tag.
    """
    tokenizer = processor.tokenizer
    prompts = [question.prompt() for question in questions]
    asked = prompt_ids(processor, prompts)
    turns = [
        trained_turn(processor, prompt, [{"role": "assistant", "content": _text(q.response)}])
        for prompt, q in zip(prompts, questions, strict=True)
    ]
    given = [
        given_ids(tokenizer, turn.completion, prefix) if prefix else []
        for turn, prefix in zip(turns, prefixes, strict=True)
    ]
    whole = [
        turn.completion if q.target == q.response else q.target
        for turn, q in zip(turns, questions, strict=True)
    ]
    budgets = [most or _budget(tokenizer, text) for text in whole]
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    inputs = model_inputs(asked.ids, asked.fields, pad, given)
    start = inputs["input_ids"].shape[1]
    generate: Any = model.generate
    with own_distribution(model, tokenizer, pad) as ends:
        output = generate(
            **{name: value.to(model.device) for name, value in inputs.items()},
            do_sample=sample,
            **({"temperature": temperature, "top_k": 0, "top_p": top_p} if sample else {}),
            max_new_tokens=max(budgets),
            cache_implementation=_cache(model),
            disable_compile=True,
        )
    new = [ids[:n] for ids, n in zip(output[:, start:].tolist(), budgets, strict=True)]
    # decoded together: a word-level tokenizer puts spaces between the ids that it is given
    joined = [[*before, *ids] for before, ids in zip(given, new, strict=True)]
    texts = tokenizer.batch_decode(joined, skip_special_tokens=True)
    opened = [OPENING if opens_thoughts(prompt) else "" for prompt in asked.texts]
    cut = [ends.isdisjoint(ids) for ids in new]
    return [Completion(a + b, c) for a, b, c in zip(opened, texts, cut, strict=True)]


@contextmanager
def own_distribution(model: PreTrainedModel, tokenizer: Any, pad: int | None) -> Iterator[set[int]]:
    """Meanwhile the model's generation config has only the tokens that begin, end and pad.

    Gives those that end.

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
        yield {*ends}
    finally:
        model.generation_config = kept


def left_out(model: PreTrainedModel) -> list[str]:
    """What `own_distribution` leaves out of the checkpoint's generation config, in words."""
    kept = getattr(model, "generation_config", None)
    options = {} if kept is None else kept.to_diff_dict()
    said = {name: value for name, value in options.items() if name not in NO_DISTRIBUTION}
    return [f"{name} {json.dumps(value, default=str)[:60]}" for name, value in said.items()]


def _cache(model: PreTrainedModel) -> str | None:
    """A growing cache is copied at every token, which on the CPU takes half of the time; but of one
    that does not grow FlashAttention would compute all."""
    return "static" if model._can_compile_fullgraph and not uses_flash(model) else None


def _text(text: str) -> list[dict[str, str]]:
    """In parts, which some templates insist on."""
    return [{"type": "text", "text": text}]


def _budget(tokenizer: Any, whole: str | None) -> int:
    if whole is None:
        return MOST_NEW_TOKENS
    n = len(tokenizer(whole, add_special_tokens=False)["input_ids"])
    return n + n // 2 + 1
