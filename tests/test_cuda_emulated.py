"""The CUDA cross-entropy executed on the CPU: indexing, exchanges and values, without a GPU."""

import ctypes

import pytest
import torch
from cuda_emulation_build import Emulated, build_kernels

from percbal_ops import reference

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # enum Dtype


class Args(ctypes.Structure):
    """struct CrossEntropyArgs, csrc/cuda/cross_entropy.h."""

    _fields_ = [
        ("dtype", ctypes.c_int),
        ("logits", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("classes", ctypes.c_int),
        ("target", ctypes.c_void_p),
        ("target_stride", ctypes.c_int64),
        ("row_weight", ctypes.c_void_p),
        ("row_weight_stride", ctypes.c_int64),
        ("class_weight", ctypes.c_void_p),
        ("loss", ctypes.c_void_p),
        ("grad_sq", ctypes.c_void_p),
        ("dlogits", ctypes.c_void_p),
        ("ignore_index", ctypes.c_int64),
        ("z_loss", ctypes.c_float),
    ]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return build_kernels("cross_entropy", tmp_path_factory)


@pytest.mark.parametrize(
    "dtype, classes, cluster",
    [
        (torch.bfloat16, 4000, 4),
        (torch.float16, 2056, 4),
        (torch.float32, 20, 8),  # fewer slices than blocks: some blocks hold nothing
    ],
)
def test_kernel_agrees_with_float64(
    emulated: Emulated, dtype: torch.dtype, classes: int, cluster: int
) -> None:
    torch.manual_seed(0)
    rows, ignored = 6, -7
    logits = (torch.randn(rows, classes + 16) * 3).to(dtype)[:, :classes]
    logits[1, : classes // 2] = -torch.inf
    logits[2, 9] = 24.0  # nearly certain
    logits[3, 3] = torch.nan
    target = torch.tensor([classes - 1, classes - 2, 9, 0, ignored, classes])
    row_weight, weight = torch.randn(2 * rows)[::2], torch.rand(classes) + 0.1
    z_loss = 1e-3
    args = Args(
        DTYPES[dtype], logits.data_ptr(), rows, logits.stride(0), classes,
        target.data_ptr(), target.stride(0), row_weight.data_ptr(), row_weight.stride(0),
        weight.data_ptr(), None, None, None, ignored, z_loss,
    )  # fmt: skip
    outputs = [((rows,), torch.float32), ((rows,), torch.float32), ((rows, classes), dtype)]
    loss, grad_sq, dlogits = emulated.run("cross_entropy", args, cluster, outputs=outputs)
    # the last target is out of range: NaN by the kernel's own rule, an error in the reference
    inside = (logits[:5].double(), target[:5], weight.double(), ignored, 0.0, z_loss, 0.0)
    true_loss, true_sq, _ = reference.token_cross_entropy(*inside)
    true_dlogits = reference.logit_gradient(row_weight[:5].double(), *inside)
    same = {"atol": 0.0, "equal_nan": True}
    torch.testing.assert_close(loss[:5].double(), true_loss, rtol=2e-6, **same)
    torch.testing.assert_close(grad_sq[:5].double(), true_sq, rtol=4e-6, **same)
    rtol = max(2 * torch.finfo(dtype).eps, 2e-5)
    atol = torch.finfo(dtype).tiny if dtype != torch.float16 else 1e-7
    torch.testing.assert_close(
        dlogits[:5].double(), true_dlogits, rtol=rtol, atol=atol, equal_nan=True
    )
    assert loss[5].isnan() and dlogits[5].isnan().all()
    assert loss[4] == 0 and not dlogits[4].any()
