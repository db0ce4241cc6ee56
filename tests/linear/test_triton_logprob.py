"""Triton's row kernels of linear_token_logprob against plain PyTorch in float64.

They run on a GPU where there is one and TRITON_INTERPRET is unset, else under Triton's interpreter.
"""

from __future__ import annotations

import os

import pytest
import torch
from cases import CASES, IGNORE

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("Triton needs a GPU or TRITON_INTERPRET=1", allow_module_level=True)

from percbal_ops.linear import logprob_rows  # noqa: E402
from percbal_ops.linear.triton import logprob as kernels  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
OPTIONS = {"plain": (1.0, 0.0), "temperature": (0.6, 0.0), "both": (1.7, 5.0)}
# rounding of a result, of a gradient (the interpreter cuts where a GPU rounds)
TOLERANCES = {
    torch.float64: (1e-10, 1e-10),
    torch.float32: (3e-6, 2e-5),
    torch.bfloat16: (3e-6, 2**-7),
    torch.float16: (3e-6, 2**-9),
}


def both_passes(module, logits, target, options):
    """Log-probability, entropy, and the gradient of a mixture of both."""
    logprob, entropy, stats = module.token_logprob_rows(logits, target, *options)
    up = torch.linspace(-1, 2, len(target), dtype=logprob.dtype, device=logits.device)
    grad = logits.clone(memory_format=torch.contiguous_format)
    module.token_logprob_gradient_(grad, target, stats, up, up.flip(0), *options)
    return logprob, entropy, grad


def check(logits, target, options, rtol=None):
    logits, target = logits.to(DEVICE), target.to(DEVICE)
    ours = both_passes(kernels, logits, target, options)
    truth = both_passes(logprob_rows, logits.double(), target, options)
    rough, of_gradient = rtol or TOLERANCES[logits.dtype]
    for a, b, limit in zip(ours, truth, (rough, rough, of_gradient), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=limit, atol=0.1 * limit, equal_nan=True)


def random_rows(vocab, dtype, rows=4):
    generator = torch.Generator().manual_seed(vocab)
    logits = 4 * torch.randn(rows, vocab, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.linspace(0, vocab - 1, rows).long()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("vocab", [1, 2, 31, 1024, 2049, 4101])
def test_rows_of_any_length_in_every_dtype(vocab, dtype, options):
    check(*random_rows(vocab, dtype), OPTIONS[options])


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("case", [c for c in CASES if c.vocab < 3000], ids=str)
def test_special_rows_are_those_of_the_reference(case, options):
    """-inf, huge and equal logits, nearly certain and hopeless targets."""
    logits, target = case.make(torch.float64)
    check(logits, target.where(target != IGNORE, 0), OPTIONS[options], (1e-9, 1e-9))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("column", [0, 1])
def test_nan_and_infinity_make_a_row_nan_and_no_other(bad, column):
    logits = torch.zeros(3, 40)
    logits[1, column] = bad
    target = torch.zeros(3, dtype=torch.int64)
    for result in both_passes(kernels, logits.to(DEVICE), target.to(DEVICE), (1.0, 0.0)):
        result = result if result.dim() == 1 else result.sum(1)
        assert result[1].isnan() and result[[0, 2]].isfinite().all()


def test_a_maximum_that_rises_from_tile_to_tile():
    """The sums so far are rescaled, and their gaps grow with the maximum."""
    logits = torch.linspace(-50, 50, 9000, dtype=torch.float64).repeat(3, 1)
    logits[1] *= 10
    logits[2, :4096] = -torch.inf
    for options in OPTIONS.values():
        check(logits.float(), torch.tensor([8999, 0, 5000]), options)


def test_rows_with_a_stride_and_none_at_all():
    logits, target = random_rows(1031, torch.float32)
    check(logits[:, 5:1009], target.clamp(max=1003), OPTIONS["both"])
    check(logits[:0], target[:0], OPTIONS["plain"])


def test_rows_that_were_left_out_get_no_gradient():
    """Statistics of zeros below a maximum of +inf: what linear_token_logprob gives such rows."""
    logits = torch.full((2, 300), 1e30, device=DEVICE)
    stats = torch.zeros(2, 5, device=DEVICE)
    stats[:, 0] = torch.inf
    nothing = torch.zeros(2, device=DEVICE)
    target = torch.zeros(2, dtype=torch.int64, device=DEVICE)
    kernels.token_logprob_gradient_(logits, target, stats, nothing, nothing, 0.7, 0.0)
    assert logits.eq(0).all()


def test_logits_that_are_not_contiguous_are_not_overwritten():
    logits, target = random_rows(40, torch.float32)
    logits = logits.to(DEVICE).t().contiguous().t()
    up, stats = torch.zeros(4, device=DEVICE), torch.zeros(4, 5, device=DEVICE)
    with pytest.raises(ValueError, match=r"contiguous.*shape \(4, 40\) with strides \(1, 4\)"):
        kernels.token_logprob_gradient_(logits, target.to(DEVICE), stats, up, up, 1.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocab", [4096, 4101, 6145])
@pytest.mark.parametrize("low", [-3e38, None])
def test_whole_tiles_of_the_lowest_numbers_weigh_nothing(low, vocab, dtype):
    """As a bias leaves them that masks classes: in front, at the end, everywhere but there."""
    logits, _ = random_rows(vocab, dtype, rows=3)
    low = torch.finfo(dtype).min if low is None else low
    logits[0, :2100] = low
    logits[1, -2100:] = low
    logits[2, 5:-5] = low
    target = torch.tensor([vocab - 1, 0, 2])
    for options in (OPTIONS["plain"], OPTIONS["temperature"]):
        check(logits, target, options)
