"""Triton kernels of what surrounds a segment loss: which rows are in a segment, and its sums.

One program each, hence one order of addition. A tile is (rows, segments), S rounded up to a power
of two: N rows take microseconds where the logits take milliseconds.
"""

# mypy: allow-untyped-defs
# Triton reads the annotations of a kernel as the types of its arguments.

import triton
import triton.language as tl


@triton.jit
def rows_of(
    target_ptr, ids_ptr, start, n_rows, strides, ignore_index, segment, known, BLOCK: tl.constexpr
):
    """Row numbers, those that exist, targets, ids, and (BLOCK, S): whether the row is in s."""
    rows = start + tl.arange(0, BLOCK).to(tl.int64)
    there = rows < n_rows
    target = tl.load(target_ptr + rows * strides[0], mask=there, other=0).to(tl.int64)
    ids = tl.load(ids_ptr + rows * strides[1], mask=there, other=-1).to(tl.int64)
    counts = there & (target != ignore_index)
    member = (ids[:, None] == segment[None, :]) & counts[:, None] & known[None, :]
    return rows, there, target, ids, member


@triton.jit(do_not_specialize=["n_rows", "segments", "target_stride", "ids_stride", "ignore_index"])
def split_kernel(
    target_ptr,  # (N,)
    ids_ptr,  # (N,)
    weights_ptr,  # (S,)
    given_ptr,  # (S,) counts, or None
    count_ptr,  # (S,)
    inverse_ptr,  # (S,)
    row_weight_ptr,  # (N,)
    masked_target_ptr,  # (N,)
    masked_ids_ptr,  # (N,)
    n_rows,
    segments,
    target_stride,
    ids_stride,
    ignore_index,
    SEGMENTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The fields of losses.segments.Segments."""
    s = tl.arange(0, SEGMENTS)
    known = s < segments
    strides = target_stride, ids_stride
    count = tl.zeros([SEGMENTS], tl.int64)
    for start in range(0, n_rows, BLOCK):
        _rows, _there, _target, _ids, member = rows_of(
            target_ptr, ids_ptr, start, n_rows, strides, ignore_index, s, known, BLOCK
        )
        count += tl.sum(member.to(tl.int32), 0)
    weight = tl.load(weights_ptr + s, mask=known, other=0.0).to(tl.float64)
    if given_ptr is None:
        divisor = count.to(tl.float64)
    else:
        divisor = tl.load(given_ptr + s, mask=known, other=0).to(tl.float64)
    inverse = tl.where(divisor > 0, 1 / divisor, 0.0)
    share = tl.where(divisor > 0, weight / divisor, 0.0)
    tl.store(count_ptr + s, count, mask=known)
    tl.store(inverse_ptr + s, inverse, mask=known)
    for start in range(0, n_rows, BLOCK):
        rows, there, target, ids, member = rows_of(
            target_ptr, ids_ptr, start, n_rows, strides, ignore_index, s, known, BLOCK
        )
        inside = tl.max(member.to(tl.int32), 1) > 0
        row_weight = tl.sum(tl.where(member, share[None, :], 0.0), 1)
        tl.store(row_weight_ptr + rows, row_weight.to(row_weight_ptr.dtype.element_ty), mask=there)
        tl.store(masked_target_ptr + rows, tl.where(inside, target, ignore_index), mask=there)
        tl.store(masked_ids_ptr + rows, tl.where(inside, ids, -1), mask=there)


@triton.jit(do_not_specialize=["n_rows", "segments"])
def results_kernel(
    loss_ptr,  # (N,)
    square_ptr,  # (N,)
    ids_ptr,  # (N,)
    inverse_ptr,  # (S,)
    mean_ptr,  # (S,)
    norm_ptr,  # (S,)
    n_rows,
    segments,
    SEGMENTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Mean loss and norm of its gradient; sums in float64."""
    s = tl.arange(0, SEGMENTS)
    losses = tl.zeros([SEGMENTS], tl.float64)
    squares = tl.zeros([SEGMENTS], tl.float64)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK).to(tl.int64)
        there = rows < n_rows
        member = tl.load(ids_ptr + rows, mask=there, other=-1)[:, None] == s[None, :]
        loss = tl.load(loss_ptr + rows, mask=there, other=0.0).to(tl.float64)
        square = tl.load(square_ptr + rows, mask=there, other=0.0).to(tl.float64)
        losses += tl.sum(tl.where(member, loss[:, None], 0.0), 0)
        squares += tl.sum(tl.where(member, square[:, None], 0.0), 0)
    known = s < segments
    inverse = tl.load(inverse_ptr + s, mask=known, other=0.0)
    dtype: tl.constexpr = mean_ptr.dtype.element_ty
    tl.store(mean_ptr + s, (losses * inverse).to(dtype), mask=known)
    tl.store(norm_ptr + s, (tl.sqrt(squares) * inverse).to(dtype), mask=known)
