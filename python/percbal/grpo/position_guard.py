"""Are a rollout's log-probabilities in a batch those that it has alone?

Whatever pads, shifts or mixes up the rows of a batch, in this version of a library or a later one,
shows here. Looked at once a run, in its first batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from percbal.models.inputs import model_inputs
from percbal.responses.prompt import PromptIds

# Nats a token. Wrong positions of an untrained Qwen3-VL make 0.09. In 16 bits the rotations of
# positions are rounded, and padding in front moves positions: up to 0.007 in untrained families.
LEAST, LEAST_16_BITS = 1e-3, 0.05
TIMES_ROUNDING = 8.0
FIELDS = (  # of a batch, as `GRPOTrainer._get_per_token_logps_and_entropies` takes them
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


@torch.no_grad()
def difference_alone(
    trainer: Any, batch: Mapping[str, Any], row: int, alone: PromptIds, completion: Sequence[int]
) -> tuple[float, float]:
    """Mean absolute differences of log-probabilities per token: (in the batch, by rounding).

    batch: what `_generate_and_score_completions` made. row: of it, the one that is looked at.
    alone: its prompt, encoded by itself. The rounding is what padding behind the completion, which
    changes nothing but the shapes, makes of it.
    """
    ids = torch.cat((batch["prompt_ids"], batch["completion_ids"]), 1)
    mask = torch.cat((batch["prompt_mask"], batch["completion_mask"]), 1)
    kept = batch["completion_ids"].shape[1]
    size = trainer.args.per_device_train_batch_size
    fields = {name: batch[name] for name in FIELDS if name in batch}
    together = _logprobs(trainer, ids, mask, kept, size, fields)[row, : len(completion)]

    device, pad = ids.device, trainer._tokenizer.pad_token_id
    inputs = model_inputs(alone.ids, alone.fields, pad, [list(completion)])
    inputs = {name: value.to(device) for name, value in inputs.items()}
    own_ids, own_mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
    own: dict[str, Any] = {name: value for name, value in inputs.items() if name in FIELDS}
    if alone.images is not None:
        own["num_images"] = [len(alone.images[0] or [])]
    if batch.get("num_tiles") is not None:
        own["num_tiles"] = [batch["num_tiles"][row]]
    by_itself = _logprobs(trainer, own_ids, own_mask, len(completion), 1, own)[0]

    extra = max(ids.shape[1] - own_ids.shape[1], 8)
    longer = {k: _behind(v, extra) if k.endswith("token_type_ids") else v for k, v in own.items()}
    padded = _logprobs(
        trainer,
        _behind(own_ids, extra, pad),
        _behind(own_mask, extra),
        len(completion) + extra,
        1,
        longer,
    )[0, : len(completion)]
    return _mean(together - by_itself), _mean(padded - by_itself)


def differs(trainer: Any, found: float, rounding: float) -> bool:
    """Whether the difference is beyond rounding, or no number."""
    weights = next(trainer.model.parameters())
    low = trainer.args.bf16 or trainer.args.fp16 or weights.element_size() < 4
    return not found <= max(LEAST_16_BITS if low else LEAST, TIMES_ROUNDING * rounding)


def _logprobs(
    trainer: Any, ids: Tensor, mask: Tensor, kept: int, size: int, fields: Mapping[str, Any]
) -> Tensor:
    return trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, kept, batch_size=size, **fields
    )[0].float()


def _behind(row: Tensor, extra: int, value: int = 0) -> Tensor:
    return torch.nn.functional.pad(row, (0, extra), value=value)


def _mean(values: Tensor) -> float:
    return float(values.abs().mean()) if len(values) else 0.0
