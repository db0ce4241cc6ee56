"""Operators that see segments of tokens: weighted losses, gradient norms, reward coupling."""

from percbal_ops.agreement.api import group_agreement
from percbal_ops.coupling.api import CouplingStats, RewardCoupling, group_advantage, reward_coupling
from percbal_ops.dispatch import implementation, use_cuda_backend
from percbal_ops.linear.api import linear_cross_entropy, linear_segment_cross_entropy
from percbal_ops.linear.logprob import linear_token_logprob
from percbal_ops.losses.api import SegmentOutput, cross_entropy, segment_cross_entropy
from percbal_ops.losses.memory import empty_cache
from percbal_ops.text.api import TextScores, score_text
from percbal_ops.vocab_parallel.api import (
    vocab_parallel_cross_entropy,
    vocab_parallel_segment_cross_entropy,
)

__all__ = [
    "CouplingStats",
    "RewardCoupling",
    "SegmentOutput",
    "TextScores",
    "cross_entropy",
    "empty_cache",
    "group_advantage",
    "group_agreement",
    "implementation",
    "linear_cross_entropy",
    "linear_segment_cross_entropy",
    "linear_token_logprob",
    "reward_coupling",
    "score_text",
    "segment_cross_entropy",
    "use_cuda_backend",
    "vocab_parallel_cross_entropy",
    "vocab_parallel_segment_cross_entropy",
]
