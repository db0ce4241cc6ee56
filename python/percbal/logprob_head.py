"""Per-token log-probabilities and entropies by ``percbal_ops.linear_token_logprob``.

TRL gives a model a second way to be called, ``model(..., labels=.., fused_lm_head=True)``, which
returns log-probabilities and never the whole logits. This puts our operator behind the same call.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput, maybe_gather_lm_head_ctx

from percbal_ops import linear_token_logprob

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


def use_token_logprob(model: PreTrainedModel, temperature: float) -> None:
    """Answer ``model(..., fused_lm_head=True)`` by ``linear_token_logprob``, from now on.

    Call it after TRL has added its own head; every other call of the model stays as it is. Only
    positions with a label are projected: log_probs, entropy and label_mask (B, T - 1) are zero
    elsewhere.
    """
    original = model.forward
    softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)

    @functools.wraps(type(model).forward)  # generate validates its arguments by this signature
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head or kwargs.get("output_router_logits") or "labels" not in kwargs:
            return original(*args, fused_lm_head=fused_lm_head, **kwargs)
        labels = kwargs.pop("labels")[:, 1:]
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]  # (B, T - 1, D)
        head = self.get_output_embeddings()  # looked up now: FSDP and PEFT replace it
        weight, bias = (_whole(tensor) for tensor in (head.weight, head.bias))
        hidden, labels = hidden.to(weight.device), labels.to(weight.device)  # under a device_map
        mask = labels != -100
        with maybe_gather_lm_head_ctx(weight, bias):
            per_token = linear_token_logprob(
                hidden[mask],
                weight,
                labels[mask],
                bias=bias,
                temperature=temperature,
                softcap=softcap,
            )
        zeros = torch.zeros(mask.shape, dtype=per_token[0].dtype, device=mask.device)
        # masked_scatter keeps a batch without labels connected to the model
        log_probs, entropy = (zeros.masked_scatter(mask, x) for x in per_token)
        return FusedCausalLMOutput(log_probs=log_probs, entropy=entropy, label_mask=mask)

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]


def _whole(tensor: Any) -> Any:
    """FSDP2 keeps a parameter in shards; the product needs all of it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
