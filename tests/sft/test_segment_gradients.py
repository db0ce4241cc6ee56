"""Gradients of three segments that are kept apart, against autograd of each alone."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from percbal.objective.ngdiff import NGDiff
from percbal.sft import segment_gradients
from percbal.sft.part_norms import PartNorms
from percbal.sft.segment_gradients import ShardedGradients, WholeGradients
from percbal_ops import SegmentOutput, segment_cross_entropy

SEGMENTS, FEATURES, CLASSES = 3, 5, 7


KINDS = {"whole": WholeGradients, "sharded": ShardedGradients}


class Model(nn.Sequential):
    """With what FSDP2 adds to a model, which does nothing for one process."""

    def set_requires_gradient_sync(self, wanted):
        pass


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, CLASSES))


@pytest.fixture(params=[(k, p) for k in KINDS for p in (False, True)], ids=str)
def gradients(request):
    """Of either engine, without and with the norms of parts."""
    kind, by_parts = request.param
    accelerator = Accelerator(cpu=True)
    parts = PartNorms(accelerator, of_all_ranks=kind == "sharded") if by_parts else None
    return KINDS[kind](accelerator, SEGMENTS, parts)


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


def keep_apart(gradients, model, batches):
    counts = torch.stack([torch.cat([s for *_, s in batches]).eq(i).sum() for i in range(SEGMENTS)])
    for x, target, segment in batches:

        def loss(logits, i, target=target, segment=segment):
            alone = target.masked_fill(segment != i, -100)
            weights = torch.eye(SEGMENTS)[i]
            return segment_cross_entropy(logits, alone, segment, weights, segment_counts=counts)

        _, results = gradients.backward(model, lambda x=x: model(x), loss)
        assert len(results) == SEGMENTS


def own_gradients(model, batches) -> list[list[torch.Tensor]]:
    """Of each segment's mean loss over both batches at once."""
    x, target, segment = (torch.cat(parts) for parts in zip(*batches, strict=True))
    nll = nn.functional.cross_entropy(model(x), target, reduction="none")
    return [
        list(torch.autograd.grad(nll[segment == i].mean(), model.parameters(), retain_graph=True))
        for i in range(SEGMENTS)
    ]


def test_norms_and_step_are_those_of_each_segments_own_gradient(gradients, model, batches):
    own = own_gradients(model, batches)
    norms = torch.stack([torch.cat([g.flatten() for g in of]).norm() for of in own])
    keep_apart(gradients, model, batches)
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


def test_nothing_is_left_for_the_next_step(gradients, model, batches):
    found = []
    for _ in range(2):
        model.zero_grad()
        keep_apart(gradients, model, batches)
        norms = gradients.reduce()
        pairs = None if gradients.parts is None else gradients.parts.take(norms)
        found.append((norms, gradients.combine(torch.ones(SEGMENTS)), pairs))
    torch.testing.assert_close(*found)


def test_a_step_that_was_interrupted_leaves_nothing(gradients, model, batches):
    keep_apart(gradients, model, batches)
    wanted = gradients.reduce()
    gradients.reset()
    model.zero_grad()  # as the Trainer does where its loop begins
    keep_apart(gradients, model, batches[:1])  # and no more: an interrupted step
    gradients.reset()
    model.zero_grad()
    keep_apart(gradients, model, batches)
    torch.testing.assert_close(gradients.reduce(), wanted)
    if gradients.parts is not None:
        pairs = gradients.parts.take(wanted)
        keep_apart(gradients, model, batches)
        torch.testing.assert_close(gradients.parts.take(wanted), pairs)


def test_a_parameter_that_no_loss_reaches_has_no_gradient(gradients, model, batches):
    """Zeros would let weight decay and old momentum move it, which a plain step does not.

    Under FSDP2 it has zeros, so that the optimizer has a state of it, which resuming asks for.
    """
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    keep_apart(gradients, model, batches)
    gradients.reduce()
    gradients.combine(torch.ones(SEGMENTS))
    lacking = [name for name, p in model.named_parameters() if p.grad is None]
    whole = isinstance(gradients, WholeGradients)
    assert lacking == (["unused"] if whole else [])
    assert whole or not model.unused.grad.any()


def losses_of(parameters):
    """For each parameter a segment whose loss is its sum; the last one's is that of all."""

    def loss(_, segment):
        chosen = parameters if segment == SEGMENTS - 1 else parameters[segment : segment + 1]
        value = sum(p.float().sum() for p in chosen)
        alone = torch.eye(SEGMENTS)[segment] * value.detach()
        return SegmentOutput(value, alone, torch.ones(SEGMENTS), alone)

    return loss


def test_a_gradient_is_there_where_a_loss_of_any_rank_reaches_and_is_zero_elsewhere(gradients):
    model = Model()
    for name in "abcd":
        model.register_parameter(name, nn.Parameter(torch.ones(2)))
    a, b, c, _ = model.parameters()
    gradients.backward(model, lambda: None, losses_of([a, b]))
    asked = []

    def with_another_rank(tensor, op=None):
        asked.append(tensor.shape)
        if op is not None:  # the mask: the other rank's losses reach a and c
            tensor.copy_(torch.maximum(tensor, torch.tensor([1, 0, 1, 0], dtype=tensor.dtype)))

    if isinstance(gradients, WholeGradients):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(segment_gradients.dist, "all_reduce", with_another_rank)
            patch.setattr(type(gradients.accelerator), "num_processes", 2)
            gradients.reduce()
        assert asked == [(4,), *[(6,)] * SEGMENTS], "of a, b and c"
    else:  # ranks have shards of the same gradients, and zeros where there is none
        gradients.reduce()
    gradients.combine(torch.tensor([2.0, 3.0, 5.0]))
    of_d = None if isinstance(gradients, WholeGradients) else [0.0, 0.0]
    wanted = [[7.0, 7.0], [8.0, 8.0], [0.0, 0.0], of_d]
    found = [None if p.grad is None else p.grad.tolist() for p in model.parameters()]
    assert found == wanted


@pytest.mark.parametrize("first", range(3))
def test_ranks_reduce_in_the_order_of_the_parameters(first, monkeypatch):
    """A set's order is that of addresses, which every process has of its own."""
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
    kinds = kinds[first:] + kinds[:first]
    tensors = [torch.ones(3, dtype=kind) for kind in (*kinds, *reversed(kinds))]
    seen = []

    def twice(flat):
        seen.append((flat.dtype, flat.numel()))
        flat.mul_(2)

    monkeypatch.setattr(segment_gradients.dist, "all_reduce", twice)
    segment_gradients._sum_over_ranks(tensors)
    assert seen == [(kind, 6) for kind in kinds]
    assert all(tensor.tolist() == [2.0] * 3 for tensor in tensors)


def test_gradients_on_several_devices_are_weighed_on_their_own(monkeypatch):
    """As CUDA wants it: the other device is the meta device, whose tensors have no values."""
    devices = ("cpu", "meta", "cpu")
    gradients = [[torch.full((2,), float(s), device=d) for d in devices] for s in (1, 2)]
    multiply, seen = torch._foreach_mul_, []

    def on_one_device(tensors, weight):
        seen.append({tensor.device.type for tensor in tensors} | {weight.device.type})
        multiply(tensors, weight)

    monkeypatch.setattr(torch, "_foreach_mul_", on_one_device)
    segment_gradients._weigh(gradients, torch.tensor([3.0, 10.0]))
    assert sorted(map(sorted, seen)) == [["cpu"]] * 2 + [["meta"]] * 2
    assert [g.tolist() for g in gradients[-1] if g.device.type == "cpu"] == [[23.0, 23.0]] * 2
