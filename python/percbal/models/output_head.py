"""The output head of a model, for operators that multiply by it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from trl.trainer.utils import maybe_gather_lm_head_ctx

# scale the logits in ways that the operator does not know
UNSUPPORTED = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def unsupported_head(model: PreTrainedModel, in_float32: bool = False) -> str | None:
    """Why this model must keep TRL's own head, or None.

    in_float32: whether the head alone is to be float32 (``cast_lm_head_to_fp32``).
    """
    if in_float32:
        return "the operator wants hidden states and head of one dtype (cast_lm_head_to_fp32)"
    config = model.config.get_text_config()
    for name in UNSUPPORTED:
        if getattr(config, name, None) is not None:
            return f"the model scales its logits ({name})"
    if getattr(config, "output_router_logits", False):
        return "a mixture of experts reports its router's loss through TRL's head"
    return None


def final_softcap(model: PreTrainedModel) -> float | None:
    """Of the logits, tanh(z / softcap) * softcap; None without one."""
    return getattr(model.config.get_text_config(), "final_logit_softcapping", None)


def inner_model(accelerator: Accelerator, model: Any) -> PreTrainedModel:
    """The model that has the head, out of what the accelerator and PEFT put around it."""
    model = accelerator.unwrap_model(model, keep_torch_compile=False)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def whole_head(model: PreTrainedModel) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Weight (V, D) and bias (V,) of the head, whole on every rank; inside the model's forward.

    FSDP2 gathers the head when its own forward is called, which never happens here, so it is asked
    to. It then sums the gradient over ranks like any other. ``DTensor.full_tensor`` would also
    give the whole weight, but its backward keeps each rank's own gradient, without a word.
    """
    head: Any = model.get_output_embeddings()  # looked up now: FSDP and PEFT replace it
    gathered = isinstance(head.weight, DTensor) and isinstance(head, FSDPModule)
    if gathered:
        head.unshard()
    if isinstance(head.weight, DTensor):
        raise RuntimeError(
            f"the output head is sharded by {head.weight.placements} in a module that FSDP2 does "
            "not gather for it; wrap the head, or leave it to the root module"
        )
    with maybe_gather_lm_head_ctx(head.weight, head.bias):  # DeepSpeed ZeRO-3
        yield head.weight, head.bias
    if gathered and not torch.is_grad_enabled():  # else the backward pass frees it
        head.reshard()
