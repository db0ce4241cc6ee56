"""No row, or none that counts: what F.linear and a loss of its result give, and their gradients."""

from __future__ import annotations

import pytest
import torch
from cases import IGNORE
from linear_cases import plain

from percbal_ops import linear_cross_entropy, linear_segment_cross_entropy, linear_token_logprob
from percbal_ops.linear import chunks, logprob_chunks

FEATURES, VOCAB = 6, 11
NEEDS = ["hidden", "head", "bias", "hidden head", "head bias", "hidden head bias"]


@pytest.fixture(params=["float64", "float32", "bfloat16", "float16"])
def dtype(request):
    return getattr(torch, request.param)


@pytest.fixture(params=[0, 1])
def rows(request):
    return request.param


@pytest.fixture(params=NEEDS)
def needs(request):
    return request.param.split()


@pytest.fixture(autouse=True, params=["counted", "uncounted"])
def plan(request, monkeypatch):
    if request.param == "uncounted":
        for module in (chunks, logprob_chunks):
            monkeypatch.setattr(module, "may_ask", lambda *_: False)


def nothing_counts(dtype, rows, needs):
    """hidden (rows, D), head, bias, and targets (rows,) that are ignored; those that need a
    gradient."""
    shapes = dict(hidden=(rows, FEATURES), head=(VOCAB, FEATURES), bias=(VOCAB,))
    given = {k: torch.randn(s).to(dtype).requires_grad_(k in needs) for k, s in shapes.items()}
    target = torch.full((rows,), IGNORE)
    return *given.values(), target, [x for k, x in given.items() if k in needs]


def zeros(gradients, leaves):
    for gradient, leaf in zip(gradients, leaves, strict=True):
        assert gradient.dtype == leaf.dtype and torch.equal(gradient, torch.zeros_like(leaf))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy(dtype, rows, needs, reduction):
    *given, target, leaves = nothing_counts(dtype, rows, needs)
    hidden, head, bias = given
    ours = linear_cross_entropy(hidden, head, target, linear_bias=bias, reduction=reduction)
    expected = plain(*given, target, reduction=reduction)
    torch.testing.assert_close(ours, expected, equal_nan=True)
    up = torch.ones_like(ours)
    gradients = torch.autograd.grad(ours, leaves, up)
    zeros(gradients, leaves)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, leaves, up))


@pytest.mark.parametrize("level", ["logits", "hidden", "head", None])
def test_segment_cross_entropy(dtype, rows, needs, level):
    *given, target, leaves = nothing_counts(dtype, rows, needs)
    hidden, head, bias = given
    out = linear_segment_cross_entropy(
        hidden, head, target, torch.zeros_like(target), torch.ones(2), bias=bias, grad_norm=level
    )
    assert out.loss == 0 and out.segment_loss.eq(0).all() and out.segment_count.eq(0).all()
    assert level is None or out.segment_grad_norm.eq(0).all()
    zeros(torch.autograd.grad(out.loss, leaves), leaves)


def test_token_logprob(dtype, rows, needs):
    *given, target, leaves = nothing_counts(dtype, rows, needs)
    hidden, head, bias = given
    logprob, entropy = linear_token_logprob(hidden, head, target, bias=bias)
    assert logprob.shape == entropy.shape == (rows,)
    assert logprob.eq(0).all() and entropy.eq(0).all()
    zeros(torch.autograd.grad((logprob + entropy).sum(), leaves), leaves)
