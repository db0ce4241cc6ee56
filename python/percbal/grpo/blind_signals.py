"""What the policy itself can say about a perception, without labels.

Two columns that a trainer makes for the rewards of the same names: answers of the policy that sees
the perceived text and not the image, and how much the image matters to what was said.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from trl.trainer.utils import pad

from percbal.models.inputs import PER_TOKEN, model_inputs
from percbal.models.modes import evaluating
from percbal.models.together import refused_together
from percbal.rewards import blind_messages, masked_kl
from percbal.segments.sampled import GeneratedSegments

Ids = list[int]


@torch.no_grad()
def blind_answers(
    trainer: Any,
    prompts: Sequence[Any],
    completion_ids: Sequence[Ids],
    segmented: GeneratedSegments,
    *,
    samples: int,
    blind_from: str,
) -> list[list[str] | None]:
    """``samples`` answers of the policy per rollout from its perception alone.

    None for a rollout without a readable perception. Rollouts of one prompt that perceived the
    same share their answers. blind_from: "text" puts the perception into the user's message in
    place of the image; "continue" lets the policy go on after its own perception tokens with the
    image made grey, for a model that has never seen a prompt without one.
    """
    asked: dict[tuple[int, str], int] = {}  # distinct (prompt, perception) -> a rollout that has it
    keys: list[tuple[int, str] | None] = []
    first: dict[Any, int] = {}  # a prompt -> the first rollout that has it
    for i, (prompt, perceived) in enumerate(zip(prompts, segmented.perception, strict=True)):
        number = first.setdefault(_prompt_key(prompt), i)
        key = None if perceived is None else (number, perceived)
        keys.append(key)
        if key is not None:
            asked.setdefault(key, i)
    rollouts = [i for i in asked.values() for _ in range(samples)]
    perceived_texts = [text for _, text in asked for _ in range(samples)]
    if not rollouts:
        if trainer.accelerator.num_processes == 1:
            return [None] * len(prompts)
        # generation can be collective, through the vision tower too: ask as the other ranks do
        rollouts, perceived_texts = [0], [""]
    prefixes: list[Ids] = [[] for _ in rollouts]
    if blind_from == "text":
        messages = [
            blind_messages(prompts[i], text)
            for i, text in zip(rollouts, perceived_texts, strict=True)
        ]
    else:
        messages = [_with_grey_images(prompts[i]) for i in rollouts]
        prefixes = [
            _through_perception(completion_ids[i], segmented.is_perception[i]) for i in rollouts
        ]
    texts = _generate(trainer, messages, prefixes)
    answers = {
        key: texts[position * samples : (position + 1) * samples]
        for position, key in enumerate(asked)
    }
    return [None if key is None else answers[key] for key in keys]


def _generate(trainer: Any, messages: list[Any], prefixes: list[Ids]) -> list[str]:
    """Sampled texts, each with the prefix that it goes on from."""
    wanted, more = len(messages), 0
    if trainer.use_vllm:  # ranks share a call, and each takes its rows as if all had as many
        here = torch.tensor([wanted], device=trainer.accelerator.device)
        more = int(trainer.accelerator.gather(here).max()) - wanted
    messages, prefixes = messages + messages[:1] * more, prefixes + prefixes[:1] * more
    prompt_ids, images, fields = trainer._tokenize_prompts(messages)
    ids = [[*prompt, *prefix] for prompt, prefix in zip(prompt_ids, prefixes, strict=True)]
    for name in PER_TOKEN:
        if name in fields:
            fields[name] = [
                [*row, *([0] * len(prefix))]
                for row, prefix in zip(fields[name], prefixes, strict=True)
            ]
    new, _ = trainer._generate_single_turn(ids, images, fields, 1)
    whole = [[*prefix, *row] for prefix, row in zip(prefixes, new, strict=True)]
    return trainer._tokenizer.batch_decode(whole[:wanted], skip_special_tokens=True)


@torch.no_grad()
def image_dependence(trainer: Any, prompts: Sequence[Any], completion_ids: Sequence[Ids]) -> Tensor:
    """(B,) mean k3 divergence per token between seeing the image and seeing none.

    The image is replaced by zeros after preprocessing: a uniform picture of the mean colour. 0
    where there is no image. Both passes are made in evaluation mode: two masks of dropout would
    differ by themselves.
    """
    prompt_ids, images, fields = trainer._tokenize_prompts(list(prompts))
    device = trainer.accelerator.device
    value = trainer._tokenizer.pad_token_id
    extra = model_inputs(prompt_ids, fields, value)  # prompts padded on the left
    extra = {name: field.to(device) for name, field in extra.items()}
    right = [torch.tensor(row, dtype=torch.long) for row in completion_ids]
    completion = pad(right, padding_value=value).to(device)
    completion_mask = pad([torch.ones_like(row) for row in right], padding_value=0).to(device)
    keep = completion.shape[1]
    inputs = (
        torch.cat((extra.pop("input_ids"), completion), 1),
        torch.cat((extra.pop("attention_mask"), completion_mask), 1),
    )
    for name in PER_TOKEN:
        if name in extra:
            extra[name] = torch.nn.functional.pad(extra[name], (0, keep))
    counts = [len(row or []) for row in images] if images is not None else None
    with refused_together(trainer.accelerator):
        _refuse_tiles(extra, counts)
    size = trainer.args.per_device_train_batch_size
    # a rank without images still makes both passes, since they can be collective
    grey = {
        name: torch.zeros_like(field) for name, field in extra.items() if name == "pixel_values"
    }
    with evaluating(trainer.model):
        seen, blind = (
            trainer._get_per_token_logps_and_entropies(
                trainer.model, *inputs, keep, batch_size=size, num_images=counts, **fields_
            )[0]
            for fields_ in (extra, {**extra, **grey})
        )
    return masked_kl(seen, blind, completion_mask)


def _refuse_tiles(fields: dict[str, Tensor], counts: list[int] | None) -> None:
    """Models that cut an image into tiles need a count of them that only TRL makes."""
    pixels = fields.get("pixel_values")
    if pixels is None or counts is None or "image_grid_thw" in fields:
        return
    if "spatial_shapes" in fields or len(pixels) != sum(counts):
        raise ValueError(
            f"masked_image_kl does not support models that cut images into tiles: {sum(counts)} "
            f"images became {len(pixels)} rows of pixel_values"
        )


def _through_perception(ids: Ids, is_perception: np.ndarray) -> Ids:
    """The tokens up to the end of the perception, none without one."""
    inside = np.flatnonzero(is_perception)
    return list(ids[: int(inside[-1]) + 1]) if len(inside) else []


def _with_grey_images(prompt: Any) -> Any:
    """The same messages with every image of one colour, of the same size."""
    messages = [{**message, "content": copy.copy(message["content"])} for message in prompt]
    for message in messages:
        if isinstance(message["content"], list):
            message["content"] = [
                {**part, "image": _grey(part["image"])} if part["type"] == "image" else part
                for part in message["content"]
            ]
    return messages


def _grey(image: Image.Image) -> Image.Image:
    return Image.new("RGB", image.size, (128, 128, 128)).convert(image.mode)


def _prompt_key(prompt: Any) -> tuple[Any, ...]:
    """The same for rollouts of one prompt: its texts, and the very images."""
    if isinstance(prompt, str):
        return (prompt,)
    parts: list[Any] = []
    for message in prompt:
        content = message["content"]
        if isinstance(content, str):
            parts.append(content)
        else:
            parts += [p.get("text") or _pixels(p.get("image")) for p in content]
    return tuple(parts)


def _pixels(image: Any) -> Any:
    return image.tobytes() if isinstance(image, Image.Image) else image
