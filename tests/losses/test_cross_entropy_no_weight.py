"""Means over targets that together weigh nothing: 0 / 0, with the gradients that torch has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from percbal_ops import cross_entropy, linear_cross_entropy

LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0]])


def from_logits(logits, target, weight, **options):
    return cross_entropy(logits, target, weight, **options)


def over_logits(logits, target, weight, **options):
    return cross_entropy(1 * logits, target, weight, inplace=True, **options)


def from_hidden(logits, target, weight, **options):
    """The bias is one row of logits, and its gradient the sum of theirs."""
    hidden = logits.new_zeros(len(target), 2)
    head = hidden.new_zeros(3, 2)
    return linear_cross_entropy(hidden, head, target, linear_bias=logits, weight=weight, **options)


@pytest.mark.parametrize("loss", [from_logits, over_logits, from_hidden])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
@pytest.mark.parametrize("target", [[0, 0], [0, -100], [-100, 0], [-100, -100]])
def test_a_mean_over_targets_that_weigh_nothing_is_torchs(loss, dtype, smoothing, weight, target):
    if loss is over_logits and dtype == torch.float16:
        pytest.skip("fp16 is refused in place")
    leaf = LOGITS.to(dtype) if loss is not from_hidden else LOGITS[0].to(dtype)
    leaf.requires_grad_()
    call = (torch.tensor(target), torch.tensor(weight, dtype=dtype))
    ours = loss(leaf, *call, label_smoothing=smoothing)
    expected = F.cross_entropy(leaf.expand(2, 3), *call, label_smoothing=smoothing)
    torch.testing.assert_close(ours, expected, equal_nan=True)
    gradients = (torch.autograd.grad(value, leaf) for value in (ours, expected))
    torch.testing.assert_close(*gradients, equal_nan=True)
