"""Two processes with half of the vocabulary each know the loss of the whole; (M12)."""

from __future__ import annotations

import math
import socket
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cases import IGNORE, Case

from percbal_ops import cross_entropy, segment_cross_entropy
from percbal_ops.vocab_parallel.api import (
    vocab_parallel_cross_entropy,
    vocab_parallel_segment_cross_entropy,
)
from percbal_ops.vocab_parallel.shard_rows import merge, shard_gradient, shard_statistics

# shard widths of the two ranks: even, uneven, one class alone; rows with targets on either side
SPLITS = {"even": (24, 24), "uneven": (31, 17), "one class": (1, 47)}
FAMILIES = ("random", "peaked", "wrong", "shifted", "masked", "huge")
OPTIONS = {
    "plain": {},
    "smoothing": dict(label_smoothing=0.1),
    "z_loss": dict(z_loss=1e-2),
    "softcap": dict(softcap=30.0),
    "all": dict(label_smoothing=0.1, z_loss=1e-2, softcap=30.0),
}
# one class counts for nothing, one for little: its unlikely target has its own form of (M4)
WEIGHT = torch.linspace(0.5, 2, 48).double().index_fill(0, torch.tensor([5]), 0.0)
WEIGHT[30] = 1e-6


def defined(family, options):
    """Smoothing over logits of -inf is infinite."""
    return not (family == "masked" and options.get("label_smoothing"))


def check_plain(rank, start, stop, logits, target):
    whole = logits.clone().requires_grad_()
    shard = logits[:, start:stop].clone().requires_grad_()
    cases = [("mean", 0.0, None), ("sum", 0.0, None), ("none", 0.0, None), ("none", 0.1, None)]
    cases += [("mean", 0.0, WEIGHT), ("mean", 0.1, WEIGHT), ("none", 0.0, WEIGHT)]
    for reduction, smoothing, weight in cases:
        if smoothing and not logits.isfinite().all():
            continue
        options = dict(reduction=reduction, label_smoothing=smoothing)
        expected = cross_entropy(whole, target, weight, **options)
        part = None if weight is None else weight[start:stop]
        ours = vocab_parallel_cross_entropy(shard, target, start, class_weight=part, **options)
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-14)
        up = torch.linspace(-1, 2, expected.numel(), dtype=torch.float64).reshape(expected.shape)
        (grad,) = torch.autograd.grad(ours, shard, up)
        (truth,) = torch.autograd.grad(expected, whole, up)
        torch.testing.assert_close(grad, truth[:, start:stop], rtol=1e-9, atol=1e-14)


def check_segments(rank, start, stop, logits, target, options, weight):
    whole = logits.clone().requires_grad_()
    shard = logits[:, start:stop].clone().requires_grad_()
    ids = torch.arange(len(target)) % 3 - 1
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    expected = segment_cross_entropy(whole, target, ids, weights, class_weight=weight, **options)
    part = None if weight is None else weight[start:stop]
    ours = vocab_parallel_segment_cross_entropy(
        shard, target, ids, weights, start, class_weight=part, **options
    )
    for name, a, b in zip(ours._fields, ours, expected, strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-9, atol=1e-13, msg=lambda m, n=name: f"{n} {options}: {m}"
        )
    (grad,) = torch.autograd.grad(ours.loss, shard, torch.tensor(0.3).double())
    (truth,) = torch.autograd.grad(expected.loss, whole, torch.tensor(0.3).double())
    torch.testing.assert_close(grad, truth[:, start:stop], rtol=1e-9, atol=1e-13)


def check_one_collective(rank, start, stop, logits, target):
    calls, gather = [], dist.all_gather

    def counted(*args, **kwargs):
        calls.append(args)
        return gather(*args, **kwargs)

    shard = logits[:, start:stop].clone().requires_grad_()
    dist.all_gather = counted
    try:
        loss = vocab_parallel_cross_entropy(shard, target, start, class_weight=WEIGHT[start:stop])
        assert len(calls) == 1
        loss.backward()
        assert len(calls) == 1, "backward needs no collective"
    finally:
        dist.all_gather = gather


def check_refusal_of_second_derivative(rank, start, stop, logits, target):
    shard = logits[:, start:stop].clone().requires_grad_()
    loss = vocab_parallel_cross_entropy(shard, target, start)
    try:
        torch.autograd.grad(loss, shard, create_graph=True)
    except RuntimeError as error:
        assert "cannot be differentiated twice" in str(error)
    else:
        raise AssertionError("a wrong second derivative went unnoticed")


def worker(rank, port):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for widths in SPLITS.values():
        start = 0 if rank == 0 else widths[0]
        place = (rank, start, start + widths[rank])
        for family in FAMILIES:
            logits, target = Case(family, 12, 48).make(torch.float64)
            check_plain(*place, logits, target)
            for options in filter(partial(defined, family), OPTIONS.values()):
                check_segments(*place, logits, target, options, None)
                check_segments(*place, logits, target, options, WEIGHT)
    logits, target = Case("random", 12, 48).make(torch.float64)
    check_one_collective(*place, logits, target)
    check_refusal_of_second_derivative(*place, logits, target)
    dist.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_ranks_agree_with_the_whole_vocabulary():
    mp.spawn(worker, args=(free_port(),), nprocs=2)


@pytest.fixture
def lonely_group():
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiles_into_one_graph(lonely_group, reduction):
    torch._dynamo.reset()
    logits, target = Case("random", 12, 48).make(torch.float32)
    logits.requires_grad_()
    eager = vocab_parallel_cross_entropy(logits, target, 0, reduction=reduction)
    compiled = torch.compile(vocab_parallel_cross_entropy, fullgraph=True, backend="aot_eager")
    ours = compiled(logits, target, 0, reduction=reduction)
    torch.testing.assert_close(ours, eager)
    up = torch.linspace(-1, 2, eager.numel()).reshape(eager.shape)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits, up), torch.autograd.grad(eager, logits, up)
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mean_over_targets_that_weigh_nothing_is_torchs(lonely_group, smoothing):
    logits = torch.randn(3, 4, requires_grad=True)
    target, weight = torch.tensor([0, IGNORE, 0]), torch.tensor([0.0, 1.0, 2.0, 0.5])
    ours = vocab_parallel_cross_entropy(
        logits, target, 0, class_weight=weight, label_smoothing=smoothing
    )
    expected = torch.nn.functional.cross_entropy(logits, target, weight, label_smoothing=smoothing)
    torch.testing.assert_close(ours, expected, equal_nan=True)
    gradients = (torch.autograd.grad(loss, logits) for loss in (ours, expected))
    torch.testing.assert_close(*gradients, equal_nan=True)


def in_shards(logits, target, widths, smoothing=0.0, z_loss=0.0, softcap=0.0, weight=None):
    """What the ranks of a group would compute, in this process."""
    weights = [None] * len(widths) if weight is None else weight.split(widths)
    valid, starts = target != IGNORE, [0, *torch.tensor(widths).cumsum(0).tolist()]
    shards, local = logits.split(widths, 1), []
    for start, width in zip(starts, widths, strict=False):
        inside = valid & (target >= start) & (target < start + width)
        local.append(torch.where(inside, target - start, -1))
    parts = [
        shard_statistics(z, y, w, softcap, smoothing != 0)
        for z, y, w in zip(shards, local, weights, strict=True)
    ]
    rows = merge(torch.stack(parts), valid, smoothing, z_loss)
    up = valid.to(rows.loss)
    grads = [
        shard_gradient(up, z, y, w, rows, softcap)
        for z, y, w in zip(shards, local, weights, strict=True)
    ]
    return rows, torch.cat(grads, 1)


@pytest.mark.parametrize("widths", [(4099,), (4000, 99), (1, 4098), (1000, 1, 3000, 98)])
def test_certain_tokens_keep_their_digits_however_the_vocabulary_is_cut(widths):
    logits, target = Case("peaked", 8, 4099).make(torch.float32)
    rows, grad = in_shards(logits, target, widths)
    whole = logits.double().requires_grad_()
    truth = torch.ops.percbal.token_cross_entropy(whole, target, None, IGNORE, 0.0, 0.0, 0.0)
    (truth_grad,) = torch.autograd.grad(truth[0].sum(), whole)
    torch.testing.assert_close(rows.loss.double(), truth[0], rtol=2e-6, atol=0)
    torch.testing.assert_close(rows.grad_sq.double(), truth[1], rtol=4e-6, atol=0)
    torch.testing.assert_close(grad.double(), truth_grad, rtol=4e-6, atol=1e-12)


def test_targets_at_minus_infinity_and_rivals_at_minus_infinity():
    logits = torch.full((2, 6), -math.inf, dtype=torch.float64)
    logits[0, 4] = logits[1, 1] = 0.5
    rows, _ = in_shards(logits, torch.tensor([4, 3]), (3, 3))
    assert rows.loss[0] == 0 and rows.loss[1] == math.inf


def test_a_target_that_no_rank_holds_has_an_infinite_loss():
    for weight in (None, torch.ones(6)):
        rows, _ = in_shards(torch.zeros(2, 6), torch.tensor([1, 9]), (3, 3), weight=weight)
        assert rows.loss[0].isfinite() and rows.loss[1] == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("column", [1, 4])
def test_nan_and_inf_on_either_rank_reach_the_loss(bad, column):
    logits = torch.zeros(2, 6)
    logits[0, column] = bad
    rows, _ = in_shards(logits, torch.tensor([1, 1]), (3, 3))
    assert rows.loss[0].isnan() and rows.loss[1].isfinite()


def test_blocks_of_rows_do_not_change_the_result(monkeypatch):
    logits, target = Case("random", 9, 40).make(torch.float64)
    whole = in_shards(logits, target, (30, 10), 0.1, 0.01, 30.0)
    monkeypatch.setattr("percbal_ops.vocab_parallel.shard_rows.BLOCK", 80)
    blocks = in_shards(logits, target, (30, 10), 0.1, 0.01, 30.0)
    for a, b in zip((*whole[0], whole[1]), (*blocks[0], blocks[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(target=torch.zeros(5, dtype=torch.long)), r"target must have shape \(4,\), got \(5"),
        (dict(target=torch.zeros(4)), "target must hold integers, got torch.float32"),
        (dict(logits_shard=torch.zeros(4, 0)), r"V_r > 0, got \(4, 0\)"),
        (dict(logits_shard=torch.ones(4, 3).int()), "floating point, got torch.int32"),
        (dict(class_weight=torch.ones(4)), r"class_weight must be \(3,\), .* got \(4,\)"),
        (dict(reduction="average"), "reduction must be 'none', 'mean' or 'sum', got 'average'"),
        (dict(softcap=-1.0), "softcap must be positive and finite, got -1.0"),
        ({}, "needs torch.distributed.init_process_group first"),
    ],
)
def test_bad_input_gets_one_sentence(change, sentence):
    good = dict(logits_shard=torch.zeros(4, 3), target=torch.zeros(4).long(), vocab_start=0)
    with pytest.raises(ValueError, match=sentence):
        vocab_parallel_cross_entropy(**(good | change))
