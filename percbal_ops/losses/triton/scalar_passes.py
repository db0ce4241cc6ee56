"""Triton kernels for what remains around the loss: the weighted sum of rows, a scale in place."""

# mypy: allow-untyped-defs
# Triton reads the annotations of a kernel as the types of its arguments.

import triton
import triton.language as tl

from percbal_ops.losses.triton.row_math import accumulate_dtype


@triton.jit(do_not_specialize=["n_rows", "target_stride", "row_weight_stride", "ignore_index"])
def weighted_sum_kernel(
    loss_ptr,  # (N,)
    target_ptr,  # (N,)
    row_weight_ptr,  # (N,)
    total_ptr,  # ()
    n_rows,
    target_stride,
    row_weight_stride,
    ignore_index,
    BLOCK: tl.constexpr,
):
    """One program, hence one order of addition, in float64: sum of row_weight * loss."""
    total = tl.zeros([BLOCK], tl.float64)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK).to(tl.int64)
        inside = rows < n_rows
        target = tl.load(target_ptr + rows * target_stride, mask=inside, other=0)
        weight = tl.load(row_weight_ptr + rows * row_weight_stride, mask=inside, other=0.0)
        loss = tl.load(loss_ptr + rows, mask=inside, other=0.0)
        terms = weight.to(tl.float64) * loss.to(tl.float64)
        total += tl.where(inside & (target != ignore_index), terms, 0.0)
    tl.store(total_ptr, tl.sum(total, 0).to(total_ptr.dtype.element_ty))


@triton.jit(do_not_specialize=["n_elements"])
def scale_kernel(
    x_ptr,  # contiguous
    factor_ptr,  # ()
    n_elements,
    BLOCK: tl.constexpr,
):
    """x *= factor by a fixed number of programs, which all leave at once where it is 1: the usual
    upstream gradient of a loss, known only on the device."""
    factor = tl.load(factor_ptr)
    if factor == 1.0:
        return
    dtype: tl.constexpr = accumulate_dtype(x_ptr.dtype.element_ty)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    for start in range(first, n_elements, step):
        offsets = start + tl.arange(0, BLOCK)
        if start + BLOCK <= n_elements:  # without a mask, hence 128 bits at a time
            x = tl.load(x_ptr + offsets)
            tl.store(x_ptr + offsets, (x.to(dtype) * factor.to(dtype)).to(x.dtype))
        else:
            inside = offsets < n_elements
            x = tl.load(x_ptr + offsets, mask=inside)
            tl.store(x_ptr + offsets, (x.to(dtype) * factor.to(dtype)).to(x.dtype), mask=inside)
