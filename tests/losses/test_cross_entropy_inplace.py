"""inplace=True: the same numbers without memory for a gradient, and nothing wrong in silence."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from percbal_ops import cross_entropy, empty_cache, implementation, segment_cross_entropy

WEIGHTS = torch.tensor([0.3, 0.7])


def make(shape=(6, 50), dtype=torch.float32):
    """Hidden states, a head, and what the logits made of them are to be compared with."""
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(*shape[:-1], 8, generator=g).to(dtype).requires_grad_()
    head = torch.randn(shape[-1], 8, generator=g).to(dtype).requires_grad_()
    target = torch.randint(0, shape[-1], shape[:-1], generator=g)
    target.view(-1)[1:2] = -100
    return hidden, head, target


def plain(logits, target, inplace):
    return cross_entropy(logits, target, inplace=inplace)


def segments(logits, target, inplace):
    ids = torch.arange(target.numel()).view(target.shape) % 3 - 1
    return segment_cross_entropy(
        logits, target, ids, WEIGHTS, label_smoothing=0.1, inplace=inplace
    ).loss


@pytest.mark.parametrize("loss", [plain, segments])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("upstream", [1.0, 0.37])
def test_equals_the_loss_and_gradients_out_of_place(loss, dtype, upstream):
    hidden, head, target = make(dtype=dtype)
    results = []
    for inplace in (False, True):
        logits = F.linear(hidden, head)
        value = loss(logits, target, inplace)
        up = torch.tensor(upstream, dtype=value.dtype)
        results.append((value.detach(), *torch.autograd.grad(value, (hidden, head), up)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("flatten", [True, False])
def test_takes_logits_of_a_batch_and_flattened_views_of_them(flatten):
    hidden, head, target = make((2, 3, 50))
    grads = []
    for inplace in (False, True):
        logits = F.linear(hidden, head)
        if flatten:
            value = cross_entropy(logits.view(-1, 50), target.view(-1), inplace=inplace)
        else:
            value = segments(logits, target, inplace)
        grads.append(torch.autograd.grad(value, hidden)[0])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("shape", [(2, 3, 50), (2, 5, 5), (2, 3, 4, 3), (1, 5)])
@pytest.mark.parametrize("wanted", [True, False], ids=["gradient", "no gradient"])
def test_takes_other_dimensions_where_the_classes_are_last_in_memory(shape, wanted):
    hidden, head, target = make((2, *shape[1:]))
    hidden, target = hidden[: shape[0]], target[: shape[0]]
    results = []
    for inplace in (False, True):
        logits = F.linear(hidden, head)
        if shape == (1, 5):
            logits, target = logits[0], target.view(())
        else:
            logits = logits.movedim(-1, 1)  # (N, C, d1, ...)
        with torch.set_grad_enabled(wanted):
            loss = cross_entropy(logits, target, inplace=inplace)
        results.append((loss, torch.autograd.grad(loss, head)[0] if wanted else logits))
    torch.testing.assert_close(*results)


def test_the_gradient_lies_where_the_logits_lay_and_is_marked():
    hidden, head, target = make()
    logits = F.linear(hidden, head)
    address, version = logits.data_ptr(), logits._version
    seen = []
    logits.register_hook(seen.append)
    loss = cross_entropy(logits, target, inplace=True)
    assert logits._version > version and logits.data_ptr() == address
    loss.backward()
    assert [grad.data_ptr() for grad in seen] == [address]


def test_other_users_of_the_logits_are_told():
    hidden, head, target = make()
    logits = F.linear(hidden, head)
    penalty = logits.square().mean()  # saves the logits for its backward
    loss = cross_entropy(logits, target, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (loss + penalty).backward()


def test_the_operation_that_made_the_logits_is_told_if_it_kept_them():
    hidden, head, target = make()
    loss = cross_entropy(torch.tanh(F.linear(hidden, head)), target, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_an_earlier_use_that_kept_nothing_still_gets_its_gradient():
    hidden, head, target = make()
    results = []
    for inplace in (False, True):
        logits = F.linear(hidden, head)
        mean = logits.mean()
        loss = cross_entropy(logits, target, inplace=inplace) + mean
        results.append(torch.autograd.grad(loss, hidden)[0])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    "misuse, message",
    [
        (lambda logits, loss: (loss + logits.sum()).backward(), "were used after a loss"),
        (lambda logits, loss: [loss.backward(retain_graph=True) for _ in "12"], "one backward"),
        (lambda logits, loss: loss.backward(create_graph=True), "differentiated twice"),
        (lambda logits, loss: (logits.zero_(), loss.backward()), "inplace operation|used after"),
    ],
    ids=["used after", "backward twice", "double backward", "overwritten"],
)
def test_later_misuse_raises(misuse, message):
    hidden, head, target = make()
    logits = F.linear(hidden, head)
    loss = cross_entropy(logits, target, inplace=True)
    with pytest.raises(RuntimeError, match=message):
        misuse(logits, loss)


def refused():
    leaf = torch.randn(6, 50, requires_grad=True)
    yield "leaf", leaf, {}, RuntimeError, "a leaf Variable that requires grad"
    yield "view of a leaf", leaf.view(6, 50), {}, RuntimeError, "a view of a leaf Variable"
    made = 2 * leaf
    yield "none", made, dict(reduction="none"), ValueError, "needs reduction 'mean' or 'sum', got"
    yield "part", (2 * torch.randn(7, 50, requires_grad=True))[1:], {}, ValueError, "all of their"
    yield "transposed", (2 * torch.randn(50, 6, requires_grad=True)).t(), {}, ValueError, "contigu"
    positions_last = 2 * torch.randn(2, 3, 3, requires_grad=True)
    yield "positions last", positions_last, {}, ValueError, "with the classes last"
    retains, hooked = 2 * leaf, (2 * leaf).view(6, 50)
    retains.retain_grad()
    hooked.register_hook(lambda grad: None)
    yield "retain_grad", retains, {}, ValueError, "with retain_grad"
    yield "base retains", retains.view(6, 50), {}, ValueError, "with retain_grad"
    yield "hook on a view", hooked, {}, ValueError, "a view with a hook"
    yield "fp16", made.half(), {}, ValueError, "does not take torch.float16"


@pytest.mark.parametrize(
    "logits, options, kind, sentence", [pytest.param(*r[1:], id=r[0]) for r in refused()]
)
def test_refusals_leave_the_logits_as_they_were(logits, options, kind, sentence):
    before = logits.detach().clone()
    target = torch.zeros(logits.shape[:1] + logits.shape[2:], dtype=torch.int64)
    with pytest.raises(kind, match=sentence):
        cross_entropy(logits, target, inplace=True, **options)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(target=torch.zeros(5).long()), r"target\.shape \(6,\), got \(5,\)"),
        (dict(target=torch.zeros(6).int()), r"target\.dtype torch\.int64, got torch\.int32"),
        (dict(target=torch.rand(6, 50)), r"target\.dtype torch\.int64, got torch\.float32"),
        (dict(target=torch.zeros(6).long().to("meta")), r"target\.device cpu, got meta"),
        (dict(weight=torch.ones(49)), r"weight\.shape \(50,\), got \(49,\)"),
        (dict(weight=torch.ones(50).double()), r"weight\.dtype torch\.float32, got torch\.float64"),
        (dict(weight=torch.ones(50, device="meta")), r"weight\.device cpu, got meta"),
        (dict(weight=torch.ones(50, requires_grad=True)), r"weight\.requires_grad False, got True"),
        (dict(label_smoothing=2), "label_smoothing between 0 and 1, got 2"),
        (dict(label_smoothing=-0.5), "label_smoothing between 0 and 1, got -0.5"),
        (dict(reduction="average"), "reduction 'mean' or 'sum', got 'average'"),
        (dict(reduction="none"), "reduction 'mean' or 'sum', got 'none'"),
        (dict(input=torch.ones(6, 50).int()), r"input\.dtype among .*float16\), got torch\.int32"),
        (dict(input=torch.tensor(1.0)), r"input\.shape \(V,\), .*, got \(\)"),
    ],
)
def test_the_refusal_names_what_does_not_fit(change, sentence):
    given = dict(input=2 * torch.randn(6, 50, requires_grad=True), target=torch.zeros(6).long())
    with pytest.raises(ValueError, match=f"^inplace=True needs {sentence}$"):
        cross_entropy(**(given | change), inplace=True)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_empty_batch_has_nothing_to_overwrite(reduction):
    hidden, head, target = make((0, 50))
    results = []
    for inplace in (False, True):
        loss = cross_entropy(F.linear(hidden, head), target, reduction=reduction, inplace=inplace)
        results.append((loss, torch.autograd.grad(loss, head)[0]))
    torch.testing.assert_close(*results, equal_nan=True)
    assert results[1][0].isnan() == (reduction == "mean")
    with pytest.raises(ValueError, match="to match target batch_size"):  # torch's own
        cross_entropy(F.linear(hidden, head), torch.zeros(1).long(), inplace=True)


def test_nothing_is_written_where_no_gradient_is_wanted():
    logits, target = torch.randn(6, 50), torch.arange(6)
    before = logits.clone()
    loss = cross_entropy(logits, target, inplace=True)
    with torch.no_grad():
        cross_entropy(logits.requires_grad_(), target, inplace=True)
    assert torch.equal(logits, before)
    torch.testing.assert_close(loss, F.cross_entropy(before, target))


def test_a_compiled_model_runs_it_outside_its_graphs_or_refuses():
    torch._dynamo.reset()
    hidden, head, target = make()

    def loss(hidden):
        return cross_entropy(F.linear(hidden, head), target, inplace=True)

    value = torch.compile(loss, backend="aot_eager")(hidden)
    expected = loss(hidden)
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(
        torch.autograd.grad(value, (hidden, head)),
        torch.autograd.grad(expected, (hidden, head)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="inplace=True is for eager mode"):
        torch.compile(loss, backend="aot_eager", fullgraph=True)(hidden)


@pytest.mark.skipif(
    implementation("weighted_cross_entropy_", "cpu") != "cpp", reason="needs the C++ operators"
)
@pytest.mark.parametrize("loss", [plain, segments])
def test_it_takes_no_memory_beyond_the_logits(loss):
    clear = Path("/proc/self/clear_refs")
    if not os.access(clear, os.W_OK):
        pytest.skip("the system does not let a process reset its high-water mark")

    def resident(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(s for s in lines if s.startswith(field)).split()[1]) * 1024

    def extra(inplace):
        hidden, head, target = make((96, 50257))
        head = head.detach()
        logits = F.linear(hidden, head)
        seen = []
        logits.register_hook(lambda grad: seen.append(resident("VmHWM")))
        empty_cache()
        gc.collect()
        clear.write_text("5")
        before = resident("VmRSS")
        loss(logits, target, inplace).backward()
        return seen[0] - before

    extra(True)  # what is loaded on first use
    assert extra(True) < 1 << 20
    assert extra(False) >= 96 * 50257 * 4
