"""The same from hidden states, without holding the logits; token log-probabilities.

May import: torch, checks, losses. Never: coupling, text.
"""

from percbal_ops.linear.api import linear_cross_entropy, linear_segment_cross_entropy
from percbal_ops.linear.logprob import linear_token_logprob

__all__ = ["linear_cross_entropy", "linear_segment_cross_entropy", "linear_token_logprob"]
