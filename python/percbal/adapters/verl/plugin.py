"""What verl loads at ``import verl``: a rollout and an estimator named ``percbal_segment``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from verl.experimental.agent_loop.agent_loop import register
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, register_adv_est

from percbal.adapters.verl.agent_loop import SegmentAgentLoop
from percbal.adapters.verl.token_rewards import read

register("percbal_segment")(SegmentAgentLoop)


@register_adv_est("percbal_segment")
def segment_advantages(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray,
    config: Any = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """GRPO's advantage of the mixed reward for perception tokens, of the outcome for the others.

    Perception tokens are those up to the end of the perception span. A response without that span
    has the mixed reward's advantage everywhere.

    token_level_rewards: (B, T), written by ``agent_loop.SegmentAgentLoop``; response_mask: (B, T);
    index: (B,) the prompt of each response. Returns advantages and returns, (B, T) both, equal.
    Raises ValueError for other token rewards.
    """
    mixed, outcome, judged_by_mixed = read(token_level_rewards, response_mask)
    scaled = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
    whole, reasoning = (
        compute_grpo_outcome_advantage(
            reward[:, None], response_mask, index, norm_adv_by_std_in_grpo=scaled
        )[0]
        for reward in (mixed, outcome)
    )
    advantages = torch.where(judged_by_mixed, whole, reasoning)
    return advantages, advantages
