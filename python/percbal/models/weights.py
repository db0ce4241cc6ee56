"""A checkpoint's weights into a model that is there, every parameter or none.

For vision-language models the Trainer's own loading drops the weights: ``save_pretrained``
writes the published names of the parameters, which are not the names inside the model, and
``load_state_dict(strict=False)`` then finds none of them (seen with transformers 5.17 to 5.23;
huggingface/transformers#43701). ``from_pretrained`` knows the mapping.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


def load_weights(model: PreTrainedModel, directory: str | Path) -> None:
    """Load a checkpoint's weights into ``model``, in place; every parameter must be there.

    Raises ValueError if the directory holds no weights that ``save_pretrained`` wrote, or lacks
    some of them, or they cannot be read.
    """
    path = Path(directory)
    if not any((path / name).is_file() for name in WEIGHT_FILES):
        raise ValueError(f"{path} holds no checkpoint: it has none of {', '.join(WEIGHT_FILES)}")
    if not (path / "config.json").is_file():  # transformers would build a model of default size
        raise ValueError(f"{path} holds no checkpoint: it has no config.json")
    try:
        loaded: Any = type(model).from_pretrained(
            path, dtype=_widest(model), output_loading_info=True
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"the weights in {path} cannot be read: {first_line(error)}") from error
    saved, report = loaded
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ValueError(f"{path} lacks {len(lacking)} of the model's parameters: {lacking[0]}")
    model.load_state_dict(saved.state_dict(), strict=True)


def _widest(model: PreTrainedModel) -> torch.dtype:
    """A dtype that rounds no parameter: ``model.dtype`` is that of one of them, and a head may be
    float32 in a model of bfloat16 (``cast_lm_head_to_fp32``). All of the checkpoint is read in it:
    with such a head twice the host memory of the model for a moment."""
    kinds = [weight.dtype for weight in model.parameters() if weight.is_floating_point()]
    return functools.reduce(torch.promote_types, kinds, model.dtype)


def first_line(error: Exception) -> str:
    """What an error says, in one line, with its kind."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
