"""fp16 gradients, finished before a loss scale can reach them, neither vanish nor overflow (M8)."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from linear_cases import double, gradients, lay_out, plain, problem

from percbal_ops.linear.api import linear_cross_entropy, linear_segment_cross_entropy

HALF = torch.float16


@pytest.fixture(params=["chunks", "one chunk", "room", "in order"])
def layout(request, monkeypatch):
    """Several uneven chunks, one, or the room of the head's gradient; rows in order, as where the
    host may not ask which of them count."""
    lay_out(monkeypatch, request.param, 10_000 if request.param == "one chunk" else 700)
    if request.param == "in order":
        monkeypatch.setattr("percbal_ops.linear.chunks.may_ask", lambda *_: False)
        monkeypatch.setattr("percbal_ops.linear.chunks.room_rows", lambda *_: range(0))
    return request.param


def test_gradients_of_many_rows_do_not_underflow():
    """Row weights of 1 / N vanish in fp16 unless they are kept apart from the residuals."""
    hidden, head, _, target = problem(torch.float16, rows=3000, features=4, vocab=50)
    exact = double(hidden, head)
    scale = 2.0**12  # what a gradient scaler multiplies the loss by
    ours = gradients(linear_cross_entropy(hidden, head, target).float() * scale, (hidden, head))
    truth = gradients(plain(*exact, None, target) * scale, exact)
    for a, b in zip(ours, truth, strict=True):
        assert ((a - b).norm() / b.norm()) < 1e-3


def agreeing(rows=4096, features=64, vocab=8, size=20.0):
    """Tokens that all pull the same way: dW summed over rows of weight 1 is 0.5 * rows * size."""
    hidden = torch.full((rows, features), size, dtype=HALF, requires_grad=True)
    head = torch.zeros(vocab, features, dtype=HALF, requires_grad=True)
    bias = torch.zeros(vocab, dtype=HALF, requires_grad=True)
    return hidden, head, bias, torch.zeros(rows, dtype=torch.long)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_rows_that_agree_do_not_overflow(layout, reduction, weighted):
    features = 5000 if layout == "room" else 64
    hidden, head, bias, target = agreeing(features=features)
    weight = torch.full((8,), 30.0, dtype=HALF) if weighted else None
    ours = linear_cross_entropy(
        hidden, head, target, linear_bias=bias, weight=weight, reduction=reduction
    )
    exact = double(hidden, head, bias)
    wide = None if weight is None else weight.double()
    truth = plain(*exact, target, weight=wide, reduction=reduction)
    if reduction == "none":
        ours, truth = ours.float().mean(), truth.mean()
    for a, b in zip(gradients(ours, (hidden, head, bias)), gradients(truth, exact), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=4e-3, atol=1e-5)


@pytest.mark.parametrize("kept", [True, False])
def test_norms_of_rows_that_agree_do_not_overflow(layout, kept):
    """Of a segment that counts, and of one of weight 0."""
    hidden, head, _, target = agreeing(6000, 5 if layout != "room" else 6400, 50, 70.0)
    found = linear_segment_cross_entropy(
        hidden, head, target, target, torch.tensor([float(kept), 1.0]), grad_norm="head"
    )
    exact = double(hidden, head)
    loss = F.cross_entropy(exact[0] @ exact[1].t(), target)
    (gradient,) = gradients(loss, exact[1:])
    assert float(found.segment_grad_norm[0]) == pytest.approx(float(gradient.norm()), rel=2e-3)
    (ours,) = gradients(found.loss, (head,))
    torch.testing.assert_close(ours.double(), gradient * kept, rtol=4e-3, atol=1e-5)


@pytest.mark.parametrize("ignored", [torch.inf, torch.nan, 6e4])
def test_rows_that_do_not_count_decide_nothing(layout, ignored):
    features = 5000 if layout == "room" else 64
    hidden, head, _, target = agreeing(features=features)
    (expected,) = gradients(linear_cross_entropy(hidden, head, target), (head,))
    with torch.no_grad():
        more = torch.cat((hidden, torch.full((1, features), ignored, dtype=HALF)))
    target = torch.cat((target, torch.tensor([-100])))
    (found,) = gradients(linear_cross_entropy(more.requires_grad_(), head, target), (head,))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)


def test_a_frozen_head_costs_no_digits(layout):
    """Nothing is summed over rows, however large a feature is."""
    hidden, head, _, target = problem(HALF, rows=64, features=80, vocab=30_000)
    with torch.no_grad():
        hidden[:, 0], head[:, 0] = 60_000.0, 0.0
    frozen = head.detach()
    ours = linear_cross_entropy(hidden, frozen, target, reduction="sum")
    exact, wide = double(hidden, head)
    truth = plain(exact, wide, None, target, reduction="sum")
    (a,), (b,) = gradients(ours.float(), (hidden,)), gradients(truth, (exact,))
    assert float((a - b).norm() / b.norm()) < 3e-3


@pytest.mark.parametrize("dtype", [HALF, torch.bfloat16])
def test_hidden_states_without_features(dtype):
    hidden, head = torch.zeros(3, 0, dtype=dtype), torch.zeros(5, 0, dtype=dtype)
    found = linear_cross_entropy(hidden.requires_grad_(), head, torch.tensor([0, 1, -100]))
    assert found.item() == pytest.approx(math.log(5), rel=1e-2)
