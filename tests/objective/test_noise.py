"""What a noisy reward costs, (P15) of docs/theory.md, by sampling: parts with a logit each, paid by
a reward whose correlation with all parts being right is r, with Adam as the dose study has it."""

import math

import pytest
import torch

PARTS, LOGIT = 8, 1.7
CHANCE = 1 / (1 + math.exp(-LOGIT))
ROLLOUTS = 16  # of an update
CURVATURE = PARTS * CHANCE * (1 - CHANCE)  # u of log p, for Adam's steps of size 1 in each logit


def learnt(rate: float, updates: int, r: float = 0.0, copies: int = 600) -> float:
    """The mean change of log p over ``copies`` trainings."""
    chance = torch.Generator().manual_seed(0)
    logits = torch.full((copies, PARTS), LOGIT, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=rate, betas=(0.9, 0.95))
    for _ in range(updates):
        right = torch.sigmoid(logits.detach())[:, None]
        parts = (torch.rand((copies, ROLLOUTS, PARTS), generator=chance) < right).float()
        true = parts.prod(-1)
        spread = true.std(1, keepdim=True).clamp_min(1e-6)
        noise = torch.randn((copies, ROLLOUTS), generator=chance)
        paid = r * (true - true.mean(1, keepdim=True)) / spread + math.sqrt(1 - r * r) * noise
        logits.grad = -(paid[..., None] * (parts - right)).mean(1)
        adam.step()
    change = torch.nn.functional.logsigmoid(logits.detach()).sum(1) - PARTS * math.log(CHANCE)
    return float(change.mean())


def test_a_reward_that_says_nothing_unteaches_by_the_square_of_the_rate():
    harm = learnt(0.04, 100)
    assert harm == pytest.approx(-(0.04**2) * 100 * CURVATURE / 2, rel=0.25)
    assert learnt(0.08, 100) == pytest.approx(4 * harm, rel=0.25)
    assert learnt(0.04, 200) == pytest.approx(2 * harm, rel=0.25)
    assert learnt(0.08, 50) == pytest.approx(2 * harm, rel=0.25)  # as far, in half the updates


def test_the_same_reward_teaches_at_a_low_rate_and_unteaches_at_a_high_one():
    """Over the same distance, so that to first order both learn alike: each logit's step is the
    mean of its gradient over its spread."""
    p, r = CHANCE**PARTS, 0.04
    of_part = math.sqrt(p / (1 - p) * (1 - CHANCE) / CHANCE)  # correlation with all being right
    slope = r * PARTS * (1 - CHANCE) * math.sqrt(ROLLOUTS) * of_part
    for rate, updates, sign in ((0.04, 100, 1), (0.16, 25, -1)):
        found = learnt(rate, updates, r)
        assert found * sign > 0.05
        formula = updates * (rate * slope - rate**2 * CURVATURE / 2)
        assert found == pytest.approx(formula, abs=0.05)
