"""Credit assignment: which tokens of a rollout are credited with which reward, as advantages.

An advantage is a reward minus what the same prompt's other rollouts got, divided by their spread.
Plain GRPO has one for all tokens of a rollout. But the tokens before a reasoning step cannot be
its effect, and a wrong perception is not the fault of the reasoning after it: perception tokens
and reasoning tokens can have advantages of their own. docs/reinforce.md compares the four credits.

All functions take rewards of whole groups, (R,) with R a multiple of the group size, in the order
in which TRL gathers them. NaN is a rollout that was not scored: it is left out of its group's
statistics and has advantage 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from percbal.segments.names import PERCEPTION

Credit = Literal["scalar", "normalized", "segment", "same_perception"]
CREDITS: tuple[str, ...] = get_args(Credit)
Scale = Literal["group", "batch", "none"]
SCALES: tuple[str, ...] = get_args(Scale)
EPS = 1e-4  # TRL's, added to every standard deviation
NO_PERCEPTION = -1  # key of a rollout without a readable perception


class Advantages(NamedTuple):
    """One advantage per rollout and segment, (R,) each."""

    perception: Tensor
    reasoning: Tensor


def mix(outcome: Tensor, perception: Tensor | None, alpha: float) -> Tensor:
    """``alpha * perception + (1 - alpha) * outcome``, (R,): the reward of arXiv:2605.29496.

    Without a perception reward it is the outcome. NaN where a reward is that has any weight.
    """
    if perception is None or alpha == 0:
        return outcome
    return perception if alpha == 1 else alpha * perception + (1 - alpha) * outcome


def group_advantages(rewards: Tensor, group_size: int, scale: Scale = "group") -> Tensor:
    """(R,) ``(r - mean of its group) / (std + 1e-4)``, bit for bit as ``trl.GRPOTrainer``.

    scale: "group" divides by the unbiased standard deviation of the group, "batch" by that of all
    rewards, "none" by nothing.

    `percbal_ops.group_advantage` is the same in float64, for measurement: of groups of any size,
    and NaN stays NaN. They agree to 2e-6, but not where the rewards of a group are all equal: there
    it gives 0, and the float32 rounding of the mean, divided by 1e-4, can be as much as 6e-4 here.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    groups = rewards.view(-1, group_size)
    mean = torch.nanmean(groups, dim=1).repeat_interleave(group_size, dim=0)
    advantages = rewards - mean
    if scale == "group":
        std = _std(groups, dim=1).repeat_interleave(group_size, dim=0)
        advantages = advantages / (std + EPS)
    elif scale == "batch":
        advantages = advantages / (_std(rewards) + EPS)
    return advantages.nan_to_num(0.0)


def normalized_advantages(
    outcome: Tensor, perception: Tensor | None, alpha: float, group_size: int
) -> Tensor:
    """(R,): each reward's own group z-score, mixed, then standardised over the batch.

    A rare success of one reward keeps its size whatever the spread of the other. GDPO,
    arXiv:2601.05242; TRL's ``multi_objective_aggregation="normalize_then_sum"``.
    """
    mixed = mix(
        _z_or_nan(outcome, group_size),
        None if perception is None else _z_or_nan(perception, group_size),
        alpha,
    )
    return ((mixed - torch.nanmean(mixed)) / (_std(mixed) + EPS)).nan_to_num(0.0)


def same_perception_advantages(
    outcome: Tensor, key: Tensor, group_size: int, scale: Scale = "group"
) -> Tensor:
    """(R,) advantages of the outcome among the rollouts of a group that perceived the same.

    With one perception in common, what differs is the reasoning: the baseline no longer holds a
    wrong perception against it. A rollout that is alone with its perception, or has none, gets 0.

    key: (R,) int64 of ``perception_keys``.
    """
    groups = outcome.view(-1, group_size)
    same = _same_perception(outcome, key, group_size)  # (G, size, size)
    count = same.sum(-1)
    values = groups.nan_to_num(0.0)[:, None, :]  # (G, 1, size)
    mean = (same * values).sum(-1) / count.clamp(min=1)
    advantages = torch.where(count > 1, groups - mean, 0.0)
    if scale == "group":
        square = (same * (values - mean[:, :, None]) ** 2).sum(-1)
        advantages = advantages / ((square / (count - 1).clamp(min=1)).sqrt() + EPS)
    elif scale == "batch":
        advantages = advantages / (_std(outcome) + EPS)
    return advantages.nan_to_num(0.0).view(-1)


def has_partner(outcome: Tensor, key: Tensor, group_size: int) -> Tensor:
    """(R,) bool: whether ``same_perception_advantages`` has another rollout to compare with.

    outcome: (R,), NaN where not scored; key: (R,) int64 of ``perception_keys``.
    """
    return (_same_perception(outcome, key, group_size).sum(-1) > 1).view(-1)


def perception_keys(perceived: Sequence[str | None]) -> list[int]:
    """A number for each perceived text, in every process the same; ``NO_PERCEPTION`` for None.

    63 bits of a hash of the words: space around and between them does not count. Two different
    texts of one group share a key with probability 1e-19.
    """
    return [NO_PERCEPTION if text is None else _key(text) for text in perceived]


def assign_credit(
    credit: Credit,
    outcome: Tensor,
    perception: Tensor | None,
    key: Tensor,
    *,
    alpha: float,
    group_size: int,
    scale: Scale = "group",
) -> Advantages:
    """The advantages of both segments, (R,) each.

    outcome, perception: (R,) float, NaN where not scored; R a multiple of ``group_size``.
    key: (R,) int64 of ``perception_keys``.
    scale: of the groups' advantages, see ``group_advantages``; ``normalized`` has its own.
    ValueError for another ``credit`` or ``scale``.

    scalar: that of ``mix`` for all tokens (the paper).
    normalized: that of ``normalized_advantages`` for all tokens.
    segment: perception tokens have that of ``mix``, reasoning tokens that of the outcome.
    same_perception: reasoning tokens have that of ``same_perception_advantages``; but a rollout
        without a readable perception is judged whole, by ``mix``: it has nothing in common with
        any other.
    """
    if credit == "normalized":
        whole = normalized_advantages(outcome, perception, alpha, group_size)
        return Advantages(whole, whole)
    whole = group_advantages(mix(outcome, perception, alpha), group_size, scale)
    if credit == "scalar":
        return Advantages(whole, whole)
    if credit == "segment":
        return Advantages(whole, group_advantages(outcome, group_size, scale))
    if credit == "same_perception":
        among = same_perception_advantages(outcome, key, group_size, scale)
        return Advantages(whole, torch.where(key == NO_PERCEPTION, whole, among))
    raise ValueError(f"credit must be one of {', '.join(CREDITS)}, got {credit!r}")


def by_segment(credit: str) -> bool:
    """Whether it gives the segments of a rollout advantages of their own."""
    return credit in ("segment", "same_perception")


def token_advantages(
    advantages: Advantages,
    segment_ids: Tensor,
    segment_scale: Tensor | None = None,
    perception: int = PERCEPTION,
) -> Tensor:
    """(B, T): each token has its segment's advantage, times the segment's scale if given.

    Every segment but the perception has the reasoning's advantage.

    advantages: (B,) each; segment_ids: (B, T) int64 in [0, S); segment_scale: (S,) or (B, S).
    perception: its id.
    """
    is_perception = segment_ids == perception
    per_token = torch.where(
        is_perception, advantages.perception[:, None], advantages.reasoning[:, None]
    )
    if segment_scale is None:
        return per_token
    return per_token * segment_scale.expand(len(segment_ids), -1).gather(1, segment_ids)


def segment_scale(weights: Tensor, counts: Tensor) -> Tensor:
    """(..., S) factors that turn a mean over all tokens into the weighted sum of segment means.

    ``sum_t f[s_t] x_t / N = sum_s weights[s] * mean of x over segment s``, so
    ``f[s] = weights[s] * N / N_s``, and 0 for an empty segment. All policy losses of TRL that are
    supported are homogeneous in the advantage, so the factor can ride on it.

    weights: (S,); counts: (..., S) tokens of each segment, in the batch or in each rollout.
    """
    counts = counts.to(weights.dtype)
    total = counts.sum(-1, keepdim=True)
    return torch.where(counts > 0, weights * total / counts.clamp(min=1), 0.0)


def _same_perception(outcome: Tensor, key: Tensor, group_size: int) -> Tensor:
    """(G, size, size) bool: is sibling j in the baseline of rollout i. Rollouts without a score
    or a readable perception are in none, not even their own."""
    groups, keys = outcome.view(-1, group_size), key.view(-1, group_size)
    scored = ~groups.isnan() & (keys != NO_PERCEPTION)  # (G, size)
    return (keys[:, :, None] == keys[:, None, :]) & scored[:, :, None] & scored[:, None, :]


def _z_or_nan(rewards: Tensor, group_size: int) -> Tensor:
    """Group z-scores that stay NaN where the reward is."""
    scores = group_advantages(rewards, group_size)
    return torch.where(rewards.isnan(), rewards, scores)


def _key(text: str) -> int:
    words = " ".join(text.split()).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big") >> 1


def _std(rewards: Tensor, dim: int | None = None) -> Tensor:
    """The unbiased standard deviation of what is not NaN: TRL's own, bit for bit."""
    from trl.trainer.utils import nanstd  # here: it loads much, and the options need only `CREDITS`

    return nanstd(rewards, dim=dim)
