"""Class weights of linear_cross_entropy: the chunks take the dtypes that torch takes, no others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from linear_cases import plain, problem

from percbal_ops.linear import api
from percbal_ops.linear.api import linear_cross_entropy

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture
def whole(monkeypatch):
    """How often the logits were made as a whole."""
    seen, original = [], api._with_whole_logits
    monkeypatch.setattr(api, "_with_whole_logits", lambda *a: (seen.append(1), original(*a))[1])
    return seen


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("of_weight", FLOATS)
def test_takes_the_dtypes_that_torch_takes(dtype, of_weight, autocast, whole):
    hidden, head, bias, target = problem(dtype)
    weight = torch.linspace(0.5, 2, len(head)).to(of_weight)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        try:
            expected = plain(hidden, head, bias, target, weight=weight)
        except RuntimeError as error:
            with pytest.raises(RuntimeError) as ours:
                linear_cross_entropy(hidden, head, target, linear_bias=bias, weight=weight)
            assert str(ours.value).split("\n")[0] == str(error).split("\n")[0]
            return
        loss = linear_cross_entropy(hidden, head, target, linear_bias=bias, weight=weight)
    assert not whole and loss.dtype == expected.dtype
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=0)


def test_autocast_leaves_float64_as_torch_does():
    hidden, head, _, target = problem()
    with torch.autocast("cpu", torch.bfloat16):
        for wrong in ((hidden, head.float()), (hidden.float(), head)):
            with pytest.raises(RuntimeError, match="to have the same dtype"):
                F.linear(*wrong)
            with pytest.raises(RuntimeError, match="to have the same dtype"):
                linear_cross_entropy(*wrong, target)


def test_weights_that_would_need_a_gradient_are_refused_as_by_torch():
    """They were taken as constants, and a training of them would have stood still."""
    hidden, head, bias, target = problem()
    weight = torch.ones(len(head), dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="not differentiable with respect to argument 'weight'"):
        linear_cross_entropy(hidden, head, target, linear_bias=bias, weight=weight)
    with torch.no_grad():
        loss = linear_cross_entropy(hidden, head, target, linear_bias=bias, weight=weight)
        torch.testing.assert_close(loss, plain(hidden, head, bias, target, weight=weight))
