"""Gradients of three segments that are kept apart, against autograd of each alone."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from percbal.objective.ngdiff import NGDiff
from percbal.sft.segment_gradients import make_segment_gradients
from percbal_ops import segment_cross_entropy

SEGMENTS, FEATURES, CLASSES = 3, 5, 7


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(n, FEATURES, generator=generator),
            torch.randint(CLASSES, (n,), generator=generator),
            torch.randint(SEGMENTS, (n,), generator=generator),
        )
        for n in (9, 14)
    ]


def kept_apart(model, batches):
    gradients = make_segment_gradients(Accelerator(cpu=True), SEGMENTS)
    counts = torch.stack([torch.cat([s for *_, s in batches]).eq(i).sum() for i in range(SEGMENTS)])
    for x, target, segment in batches:

        def loss(logits, i, target=target, segment=segment):
            alone = target.masked_fill(segment != i, -100)
            weights = torch.eye(SEGMENTS)[i]
            return segment_cross_entropy(logits, alone, segment, weights, segment_counts=counts)

        _, results = gradients.backward(model, lambda x=x: model(x), loss)
        assert len(results) == SEGMENTS
    return gradients


def own_gradients(model, batches) -> list[list[torch.Tensor]]:
    """Of each segment's mean loss over both batches at once."""
    x, target, segment = (torch.cat(parts) for parts in zip(*batches, strict=True))
    nll = nn.functional.cross_entropy(model(x), target, reduction="none")
    return [
        list(torch.autograd.grad(nll[segment == i].mean(), model.parameters(), retain_graph=True))
        for i in range(SEGMENTS)
    ]


def test_norms_and_step_are_those_of_each_segments_own_gradient(model, batches):
    own = own_gradients(model, batches)
    norms = torch.stack([torch.cat([g.flatten() for g in of]).norm() for of in own])
    gradients = kept_apart(model, batches)
    found = gradients.reduce()
    torch.testing.assert_close(found, norms)
    balance = NGDiff(shares=(None, 0.2, None))
    balance.update(found)
    weights = balance.weights(torch.ones(SEGMENTS))
    assert float(weights[0] * norms[0]) == pytest.approx(float(weights[2] * norms[2]), rel=1e-5)
    gradients.combine(weights)
    for i, parameter in enumerate(model.parameters()):
        wanted = sum(w * of[i] for w, of in zip(weights, own, strict=True))
        torch.testing.assert_close(parameter.grad, wanted)


def test_nothing_is_left_for_the_next_step(model, batches):
    for _ in range(2):
        model.zero_grad()
        gradients = kept_apart(model, batches)
        norms = gradients.reduce()
        losses = gradients.combine(torch.ones(SEGMENTS))
    model.zero_grad()
    once = kept_apart(model, batches)
    torch.testing.assert_close(once.reduce(), norms)
    torch.testing.assert_close(once.combine(torch.ones(SEGMENTS)), losses)
