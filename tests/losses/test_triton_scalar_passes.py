"""The Triton kernels around the loss, and the elementary functions that all kernels share.

They run on a GPU where there is one and TRITON_INTERPRET is unset, else under Triton's interpreter.
"""

import os

import pytest
import torch

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("Triton needs a GPU or TRITON_INTERPRET=1", allow_module_level=True)

from percbal_ops.losses import reference  # noqa: E402
from percbal_ops.losses.triton import launch as kernels  # noqa: E402
from percbal_ops.losses.triton import row_math as helpers  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
IGNORE = -100
NAN = float("nan")
BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64


def test_weighted_sum_adds_in_float64_and_skips_ignored_rows() -> None:
    rows = 5000
    loss = torch.rand(rows, device=DEVICE) * 10
    target = torch.where(torch.arange(rows, device=DEVICE) % 3 == 0, IGNORE, 1)
    row_weight = torch.randn(1, device=DEVICE).expand(rows)
    loss[0] = NAN
    total = kernels.weighted_sum(loss, target, row_weight, IGNORE)
    expected = reference.weighted_sum(row_weight, loss, target != IGNORE)
    torch.testing.assert_close(total, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [F32, BF16, F64])
def test_scale_multiplies_in_place(dtype: torch.dtype) -> None:
    x = torch.randn(3, 4099, device=DEVICE).to(dtype)
    factor = torch.tensor(0.3, dtype=reference.accumulate_dtype(x), device=DEVICE)
    expected = (x.to(factor.dtype) * factor).to(dtype)
    kernels.scale_(x, factor)
    # one ulp: the interpreter cuts where a GPU rounds
    torch.testing.assert_close(x, expected, rtol=torch.finfo(dtype).eps, atol=0)
    columns = x.clone().T
    kernels.scale_(columns, factor)
    torch.testing.assert_close(columns.T, x * factor.to(dtype), rtol=1e-2, atol=1e-3)


def test_scale_by_one_writes_nothing() -> None:
    # A signalling NaN would become a quiet one on the way through a multiplication.
    bits = torch.tensor([0x7FA00001, 0x3F800000], dtype=torch.int32, device=DEVICE)
    kernels.scale_(bits.view(F32), torch.tensor(1.0, device=DEVICE))
    assert bits.tolist() == [0x7FA00001, 0x3F800000]


@triton.jit
def apply_kernel(x_ptr, y_ptr, NAME: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    if NAME == "log1p":
        y = helpers.log1p(x)
    elif NAME == "log":
        y = helpers.log(x)
    elif NAME == "tanh":
        y, _slope = helpers.tanh_and_slope(x)
    else:
        _t, y = helpers.tanh_and_slope(x)
    tl.store(y_ptr + offsets, y)


EXACT = {
    "log1p": torch.log1p,
    "log": torch.log,
    "tanh": torch.tanh,
    "slope of tanh": lambda x: torch.cosh(x) ** -2,
}


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", EXACT)
def test_helpers_are_exact_to_a_few_ulp(name: str, dtype: torch.dtype) -> None:
    x = torch.linspace(0, 1, 1024, dtype=F64) ** 8
    if name == "log":
        x = 1 + x * 1e6
    if "tanh" in name:
        x = torch.cat((-5 * x[:512], 5 * x[512:]))
    x = x.to(DEVICE, dtype)
    y = torch.empty_like(x)
    apply_kernel[(1,)](x, y, name, BLOCK=1024)
    # exp2 of a rounded argument: up to 10 log2(e) / 2 ulp
    rtol = 12 * torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), EXACT[name](x.double()), rtol=rtol, atol=0)
