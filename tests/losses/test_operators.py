"""Every implementation of every cross-entropy operator, against float64, on the same cases."""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from accuracy import assert_within_budget, plain_gradients
from cases import CASES, IGNORE, Case

from percbal_ops import implementation
from percbal_ops.losses import reference
from percbal_ops.losses.triton import launch as triton_kernels

PLAIN = dict(weight=None, label_smoothing=0.0, z_loss=0.0, softcap=0.0)
OPTIONS = {
    "plain": PLAIN,
    "smoothing": PLAIN | dict(label_smoothing=0.1),
    "weights": PLAIN | dict(weight=True),
    "z_loss": PLAIN | dict(z_loss=1e-2),
    "softcap": PLAIN | dict(softcap=30.0),
    "all": dict(weight=True, label_smoothing=0.1, z_loss=1e-2, softcap=30.0),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
IMPLEMENTATIONS = {
    "reference": reference,
    "cpp": torch.ops.percbal,
    "triton": triton_kernels,
}


@pytest.fixture(params=IMPLEMENTATIONS)
def ops(request):
    if request.param == "cpp" and implementation("weighted_cross_entropy", "cpu") != "cpp":
        pytest.skip("the C++ operators are not built")
    if request.param == "triton" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("on the CPU Triton needs its interpreter")
    return IMPLEMENTATIONS[request.param]


def positional(options, vocab):
    weight = torch.linspace(0.2, 2.0, vocab) if options["weight"] else None
    return weight, IGNORE, options["label_smoothing"], options["z_loss"], options["softcap"]


def named(arguments):
    weight, ignore_index, label_smoothing, z_loss, softcap = arguments
    return dict(
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
    )


def hide_what_torch_cannot(case: Case, options, dtype):
    """Cases whose truth is not defined, or not representable in the dtype."""
    if dtype == torch.float16 and case.family == "shifted":
        pytest.skip("3e4 is coarser than the logits in fp16")
    if case.family == "masked" and options["label_smoothing"]:
        pytest.skip("smoothing over -inf logits is infinite")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_gradient_and_norm_match_float64(ops, case, options, dtype):
    if ops is triton_kernels and dtype == "fp16" and case.vocab > 1000:
        pytest.skip("in Triton's interpreter bf16 takes the same way; test_triton_kernels has fp16")
    hide_what_torch_cannot(case, OPTIONS[options], DTYPES[dtype])
    logits, target = case.make(DTYPES[dtype])
    arguments = positional(OPTIONS[options], case.vocab)
    up = torch.linspace(-1.0, 2.0, case.rows)
    truth_loss, truth_grad = plain_gradients(
        logits.double(), target, up.double(), **named(arguments)
    )
    torch_loss, torch_grad = plain_gradients(logits, target, up, **named(arguments))

    loss, grad_sq, stats = ops.token_cross_entropy(logits, target, *arguments)
    grad = ops.token_cross_entropy_backward(up, logits, target, arguments[0], stats, *arguments[1:])
    assert_within_budget(loss, torch_loss, truth_loss, "loss")
    check_gradient(grad, torch_grad, truth_grad)

    total, fused_loss, fused_sq, dlogits = ops.weighted_cross_entropy(
        logits, target, up, *arguments, True
    )
    assert_within_budget(fused_loss, torch_loss, truth_loss, "fused loss")
    check_gradient(dlogits, torch_grad, truth_grad)
    if truth_loss.isfinite().all():
        truth_total = (up.double() * truth_loss).sum()
        torch_total = (up * torch_loss.float()).sum()
        size = (up.double() * truth_loss).abs().sum()
        lost = (torch_total - truth_total).abs().nan_to_num(0.0)  # fp16 sums overflow in torch
        assert (total.double() - truth_total).abs() <= 2 * lost + 1e-6 * size
    torch.testing.assert_close(fused_sq, grad_sq, rtol=1e-5, atol=0)
    check_norm(grad_sq, logits, target, arguments)


def check_gradient(ours, torchs, truth):
    assert ours.dtype == torchs.dtype
    if ours.dtype != torch.float32:  # the best a rounded result can be
        truth = truth.to(ours.dtype)
        torchs = torchs.where(torchs.isfinite(), truth)
        limit = torch.finfo(ours.dtype).eps * truth.double().abs()
        limit = limit + torch.finfo(ours.dtype).smallest_normal
        torchs = torch.maximum((torchs.double() - truth.double()).abs().amax(), limit)
        finite = truth.isfinite()
        assert ((ours.double() - truth.double()).abs()[finite] <= 2 * torchs[finite]).all()
        return
    assert_within_budget(ours, torchs, truth, "gradient")


def check_norm(grad_sq, logits, target, arguments):
    """2e-5 relative: the unscaled gradient's norm, row by row."""
    ones = torch.ones(len(target), dtype=torch.float64)
    _, grad = plain_gradients(logits.double(), target, ones, **named(arguments))
    truth = grad.norm(dim=1)
    finite = truth.isfinite()
    ours = grad_sq.double().sqrt()[finite]
    assert (((ours - truth[finite]).abs()) <= 2e-5 * truth[finite] + 1e-30).all()


def test_norms_hold_at_gpt2_vocabulary(ops):
    case = Case("peaked", 4, 50257)
    logits, target = case.make(torch.float32)
    arguments = positional(OPTIONS["plain"], case.vocab)
    _, grad_sq, _ = ops.token_cross_entropy(logits, target, *arguments)
    check_norm(grad_sq, logits, target, arguments)


def test_ignored_rows_cost_nothing_and_get_zeros(ops):
    logits = torch.full((3, 9), torch.nan)
    target = torch.full((3,), IGNORE)
    arguments = positional(OPTIONS["plain"], 9)
    total, loss, grad_sq, dlogits = ops.weighted_cross_entropy(
        logits, target, torch.ones(3), *arguments, True
    )
    for result in (total, loss, grad_sq, dlogits):
        assert torch.equal(result, torch.zeros_like(result))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("at_target", [False, True])
def test_nan_and_inf_logits_give_nan_as_in_torch(ops, bad, at_target):
    logits = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([7, 8])
    logits[0, 7 if at_target else 20] = bad
    arguments = positional(OPTIONS["plain"], 40)
    loss, _, _ = ops.token_cross_entropy(logits, target, *arguments)
    leaf = logits.clone().requires_grad_()
    expected = torch.nn.functional.cross_entropy(leaf, target, reduction="none")
    (gradient,) = torch.autograd.grad(expected.sum(), leaf)
    assert loss[0].isnan() and expected[0].isnan() and gradient[0].isnan().all()
    torch.testing.assert_close(loss[1], expected[1])
    dlogits = ops.weighted_cross_entropy(logits, target, torch.ones(2), *arguments, True)[3]
    assert dlogits[0].isnan().any(), "a broken row must not train silently"
    torch.testing.assert_close(dlogits[1], gradient[1])


@pytest.mark.parametrize("need_grad", [True, False])
def test_rows_of_any_stride_and_weights_of_stride_zero(ops, need_grad):
    wide = torch.randn(6, 90, generator=torch.Generator().manual_seed(1))
    logits, target = wide[::2, 5:66], torch.tensor([3, IGNORE, 60])
    weight = torch.tensor(0.25).expand(3)
    arguments = positional(OPTIONS["plain"], 61)
    strided = ops.weighted_cross_entropy(logits, target, weight, *arguments, need_grad)
    dense = ops.weighted_cross_entropy(
        logits.contiguous(), target, weight.contiguous(), *arguments, need_grad
    )
    for got, expected in zip(strided, dense, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9)
    assert (strided[3].numel() > 0) == need_grad


def test_float64_is_computed_in_float64(ops):
    logits, target = Case("random", 5, 300).make(torch.float64)
    up = torch.linspace(-1.0, 2.0, 5, dtype=torch.float64)
    for options in OPTIONS.values():
        arguments = positional(options, 300)
        if arguments[0] is not None:
            arguments = (arguments[0].double(), *arguments[1:])
        loss, grad = plain_gradients(logits, target, up, **named(arguments))
        _, ours, _, dlogits = ops.weighted_cross_entropy(logits, target, up, *arguments, True)
        torch.testing.assert_close(ours, loss, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(dlogits, grad, rtol=1e-10, atol=1e-13)


def test_scaling_by_one_changes_nothing_and_by_others_everything(ops):
    for dtype, factor in itertools.product((torch.float32, torch.bfloat16), (1.0, 0.5, -3.0)):
        x = torch.randn(300, 7, generator=torch.Generator().manual_seed(2)).to(dtype)
        expected = x * factor
        ops.scale_(x, torch.tensor(factor))
        # Triton's interpreter truncates to bf16 where a GPU rounds: one unit in the last place
        slack = 2**-7 if ops is triton_kernels and dtype == torch.bfloat16 else 0.0
        torch.testing.assert_close(x, expected, rtol=slack if factor != 1.0 else 0.0, atol=0.0)
