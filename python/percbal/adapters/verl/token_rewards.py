"""Two rewards and a border in one row of token rewards, which is all that verl carries along.

verl's trainer shows an advantage estimator nothing of a response but its token rewards. Let
R = alpha * perception + (1 - alpha) * outcome, a = outcome and e the last token of the perception
span. The row is

    r[e] = R - a + MARK,    r[last] = a - MARK,    zero elsewhere,

so that the sum, which verl logs as the reward, is R, and what is still to come after e is a: the
reward to go, but for the mark. The mark keeps both entries from being zero and so shows where the
border is; both rewards are in [0, 1], so 1 <= r[e] <= 3 and -2 <= r[last] <= -1.

A response without a perception span has its border at token 0, where no span can end, as it needs
tokens for both of its tags. It is judged whole, by R: leaving out the span must not pay.

Where e is the last token, one entry has to tell both: it is R, and a is 0, as nothing follows in
which an answer could be. A reward that finds an outcome all the same has its border one token
earlier.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MARK = 2.0
NO_SPAN = 0


class TokenRewards(NamedTuple):
    """What ``read`` finds in B responses of up to T tokens."""

    mixed: Tensor  # (B,) R
    outcome: Tensor  # (B,) a
    judged_by_mixed: Tensor  # (B, T) bool: tokens up to the end of the perception span, or all


def write(length: int, mixed: float, outcome: float, perception_end: int) -> Tensor:
    """(length,) float32 token rewards of one response.

    perception_end: index of the perception span's last token, ``NO_SPAN`` where there is none.
    Raises ValueError for rewards outside [0, 1] or an index outside the response.
    """
    if not (0 <= mixed <= 1 and 0 <= outcome <= 1):
        raise ValueError(f"rewards must be in [0, 1], got score {mixed} and outcome {outcome}")
    if not 0 <= perception_end < length:
        raise ValueError(f"the perception ends at token {perception_end} of {length}")
    if outcome and perception_end == length - 1 and length > 1:
        perception_end -= 1  # two entries, so that the outcome is not lost
    rewards = torch.zeros(length)
    rewards[perception_end] += mixed - outcome + MARK
    rewards[-1] += outcome - MARK
    return rewards


def read(rewards: Tensor, response_mask: Tensor) -> TokenRewards:
    """The inverse of ``write``; rewards and response_mask (B, T), padded on the right.

    Of a response of one token R alone is known, and stands for the outcome too.
    Raises ValueError for rows that ``write`` did not make, such as rewards with a KL penalty.
    """
    steps = torch.arange(rewards.shape[1], device=rewards.device)
    marked = rewards != 0
    end = marked.int().argmax(1)  # the first entry
    last = (marked * steps).amax(1)
    lengths = response_mask.shape[1] - response_mask.flip(1).int().argmax(1)
    at_end, at_last = (rewards.gather(1, i[:, None])[:, 0] for i in (end, last))
    split = (marked.sum(1) == 2) & (at_end >= MARK - 1) & (at_last <= 1 - MARK)
    whole = (marked.sum(1) <= 1) & ((end == lengths - 1) | ~marked.any(1))
    if not (split | whole).all():
        row = int((~(split | whole)).int().argmax())
        raise ValueError(
            f"the token rewards of response {row} were not written by percbal's agent loop: set "
            "actor_rollout_ref.rollout.agent as in docs/scale.md, and use_kl_in_reward to false"
        )
    mixed = rewards.sum(1)
    alone = torch.where(end == NO_SPAN, mixed, 0.0)
    outcome = torch.where(split, at_last + MARK, alone)
    everything = whole | (end == NO_SPAN)
    return TokenRewards(mixed, outcome, (steps <= end[:, None]) | everything[:, None])
