"""Per-token log-probabilities and entropies by ``percbal_ops.linear_token_logprob``.

TRL gives a model a second way to be called, ``model(..., labels=.., fused_lm_head=True)``, which
returns log-probabilities and never the whole logits. This puts our operator behind the same call.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from percbal.models.output_head import final_softcap, whole_head
from percbal_ops import linear_token_logprob


def use_token_logprob(model: PreTrainedModel, temperature: float) -> None:
    """Answer ``model(..., fused_lm_head=True)`` by ``linear_token_logprob``, from now on.

    Call it after TRL has added its own head; every other call of the model stays as it is. Only
    positions with a label are projected: log_probs, entropy and label_mask (B, T - 1) are zero
    elsewhere.
    """
    original = model.forward
    softcap = final_softcap(model)

    @functools.wraps(type(model).forward)  # generate validates its arguments by this signature
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head or kwargs.get("output_router_logits") or "labels" not in kwargs:
            return original(*args, fused_lm_head=fused_lm_head, **kwargs)
        labels = kwargs.pop("labels")[:, 1:]
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]  # (B, T - 1, D)
        with whole_head(self) as (weight, bias):
            # under a device_map
            hidden, labels = hidden.to(weight.device), labels.to(weight.device)
            mask = labels != -100
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
