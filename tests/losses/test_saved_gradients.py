"""A gradient that is finished in the forward pass goes where hooks on saved tensors send it, and
takes a batch of upstream gradients."""

from __future__ import annotations

import gc
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from percbal_ops import (
    cross_entropy,
    linear_cross_entropy,
    linear_segment_cross_entropy,
    segment_cross_entropy,
)

ROWS, FEATURES, VOCAB = 31, 7, 53
TARGET = torch.randint(0, VOCAB, (ROWS,), generator=torch.Generator().manual_seed(0))
IDS, WEIGHTS = torch.arange(ROWS) % 2, torch.tensor([0.3, 0.7])


def from_logits(hidden, head):
    return cross_entropy(hidden @ head.t(), TARGET)


def segments_from_logits(hidden, head):
    return segment_cross_entropy(hidden @ head.t(), TARGET, IDS, WEIGHTS).loss


def from_hidden(hidden, head):
    return linear_cross_entropy(hidden, head, TARGET, reduction="sum")


def segments_from_hidden(hidden, head):
    return linear_segment_cross_entropy(hidden, head, TARGET, IDS, WEIGHTS).loss


LOSSES = [from_logits, segments_from_logits, from_hidden, segments_from_hidden]


@pytest.fixture
def leaves():
    generator = torch.Generator().manual_seed(1)
    hidden, head = (torch.randn(n, FEATURES, generator=generator) for n in (ROWS, VOCAB))
    return hidden.requires_grad_(), head.requires_grad_()


def alive(shape):
    """Tensors that Python or a graph's node holds."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old names that are looked at
        return sum(isinstance(x, torch.Tensor) and x.shape == shape for x in gc.get_objects())


@pytest.mark.parametrize("loss", LOSSES)
def test_a_checkpoint_keeps_no_gradient(loss, leaves):
    shape = torch.Size((ROWS, VOCAB) if "logits" in loss.__name__ else (VOCAB, FEATURES))
    before = alive(shape)
    made = checkpoint(loss, *leaves, use_reentrant=False)
    assert alive(shape) == before
    found = torch.autograd.grad(made, leaves)
    expected = torch.autograd.grad(loss(*leaves), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_graph_under_hooks_has_more_than_one_backward(loss, leaves):
    expected = torch.autograd.grad(loss(*leaves), leaves)
    with save_on_cpu():
        made = loss(*leaves)
    for factor in (1.0, 2.0):
        up = torch.tensor(factor)
        for a, b in zip(
            torch.autograd.grad(made, leaves, up, retain_graph=True), expected, strict=True
        ):
            torch.testing.assert_close(a, factor * b)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_of_upstream_gradients(loss, leaves):
    expected = torch.autograd.grad(loss(*leaves), leaves)
    ups = torch.tensor([1.0, -0.5, 3.0])
    batch = torch.autograd.grad(loss(*leaves), leaves, ups, is_grads_batched=True)
    for a, b in zip(batch, expected, strict=True):
        torch.testing.assert_close(a, ups[:, None, None] * b)


@pytest.mark.parametrize("z", [[[1.0, -torch.inf, -torch.inf]], [[2.0]], [[-torch.inf, 0.5]]])
def test_second_derivatives_are_those_of_torch_where_no_other_class_is_left(z):
    target = torch.tensor([0])

    def second(of):
        logits = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(of(logits, target), logits, create_graph=True)
        return first, torch.autograd.grad(first[first.isfinite()].sum(), logits)[0]

    for a, b in zip(second(cross_entropy), second(F.cross_entropy), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)
