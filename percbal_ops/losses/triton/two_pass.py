"""Triton kernels for every GPU: statistics of a row in one read, its gradient in a second one.

Where both are wanted, the second read follows the first at once and backwards, so that what the L2
cache still holds is met first. No program reads what another wrote: results are deterministic.
"""

# mypy: allow-untyped-defs
# Triton reads the annotations of a kernel as the types of its arguments.

import triton
import triton.language as tl

from percbal_ops.losses.triton.row_math import (
    LOWEST,
    accumulate_dtype,
    cap,
    exp,
    finish_row,
    gradient_tile,
    inner_tiles,
    load_tile,
    load_weights,
    row_begin,
    target_weights,
)

# Strides of the vectors and the ignored class gain nothing from being known to the compiler.
UNSPECIALIZED = ["target_stride", "ignore_index"]


@triton.jit(do_not_specialize=[*UNSPECIALIZED, "row_weight_stride"])
def loss_kernel(
    logits_ptr,  # (N, V)
    target_ptr,  # (N,)
    row_weight_ptr,  # (N,), or None without dlogits
    class_weight_ptr,  # (V,) or None
    weight_sum_ptr,  # (): sum of the class weights, or None
    loss_ptr,  # (N,)
    grad_sq_ptr,  # (N,)
    stats_ptr,  # (N, 4) or None
    dlogits_ptr,  # (N, V) contiguous, or None
    vocab,  # sizes and strides, in elements
    row_stride,
    target_stride,
    row_weight_stride,
    ignore_index,  # options
    smoothing: tl.float64,
    z_loss: tl.float64,
    softcap: tl.float64,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    SHIFTED: tl.constexpr,  # rows need not start on a 128-bit boundary
    PACKED: tl.constexpr,  # rows of logits and dlogits start at the same offsets
    BLOCK: tl.constexpr,
):
    """One program per row: (M2), (M3), (M5), and row_weight times (M4) where dlogits is given."""
    dtype: tl.constexpr = accumulate_dtype(logits_ptr.dtype.element_ty)
    EVICT: tl.constexpr = "evict_first" if dlogits_ptr is None else "evict_last"
    row = tl.program_id(0).to(tl.int64)
    begin, first = row_begin(row, row_stride, SHIFTED)
    last = first + vocab
    # Aligned as the row that is read, where the compiler can know it.
    out = begin if PACKED else row * vocab - first
    target = tl.load(target_ptr + row * target_stride).to(tl.int64)
    if target == ignore_index:
        store_row(row, 0.0, 0.0, (0.0, 0.0, 0.0, 0.0), loss_ptr, grad_sq_ptr, stats_ptr)
        if dlogits_ptr is not None:
            store_zeros(dlogits_ptr + out, first, last, BLOCK)
        return
    # A target out of range excludes nothing and is not read; its NaN makes the whole row NaN.
    known = (target >= 0) & (target < vocab)
    y = tl.where(known, target, -1).to(tl.int32) + first
    z_y = tl.load(logits_ptr + begin + y, mask=known, other=float("nan")).to(dtype)
    options = tl.full([], smoothing, dtype), tl.full([], z_loss, dtype), tl.full([], softcap, dtype)
    sums = nontarget_sums(
        logits_ptr + begin, class_weight_ptr, first, last, y, options[2],
        BLOCK, SMOOTHED, CAPPED, EVICT,
    )  # fmt: skip
    weights = target_weights(class_weight_ptr, weight_sum_ptr, y - first, known, vocab, z_y)
    loss, grad_sq, stats = finish_row(z_y, sums, weights, options, vocab, SMOOTHED, CAPPED)
    store_row(row, loss, grad_sq, stats, loss_ptr, grad_sq_ptr, stats_ptr)
    if dlogits_ptr is not None:
        upstream = tl.load(row_weight_ptr + row * row_weight_stride).to(dtype)
        write_gradient(
            logits_ptr + begin, dlogits_ptr + out, class_weight_ptr, first, last, y, upstream,
            stats, options[0] / vocab, options[2], SMOOTHED, CAPPED, BLOCK,
        )  # fmt: skip


@triton.jit
def write_gradient(
    row_ptr,
    out_ptr,
    weight_ptr,
    first,  # the row is [first, last), its target at column y; all relative to row_ptr, out_ptr
    last,
    y,
    upstream,
    stats,
    share,
    softcap,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """upstream times (M4) of a whole row, last tile first."""
    dtype: tl.constexpr = accumulate_dtype(row_ptr.dtype.element_ty)
    tiles = tl.cdiv(last, BLOCK)
    ahead = load_tile(row_ptr, (tiles - 1) * BLOCK, first, last, BLOCK)
    for i in range(tiles):
        start = (tiles - 1 - i) * BLOCK
        z = ahead
        # asked for now, needed after this tile's arithmetic; before the row there is nothing
        ahead = load_tile(row_ptr, start - BLOCK, first, last, BLOCK)
        gradient_tile(
            z.to(dtype), out_ptr, weight_ptr, start, first, last, y,
            upstream, stats, share, softcap, SMOOTHED, CAPPED, BLOCK,
        )  # fmt: skip


@triton.jit
def nontarget_sums(
    row_ptr,
    weight_ptr,
    first,  # the row is [first, last), its target at column y; all relative to row_ptr
    last,
    y,
    softcap,
    BLOCK: tl.constexpr,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    EVICT: tl.constexpr,
):
    """One pass over a row -> m, S1, S2 of (M2), (M5) and, if SMOOTHED, S3, S4 and the gaps
    sum w (m - u), all over the non-target classes. One exponential a logit, one maximum a tile."""
    dtype: tl.constexpr = accumulate_dtype(row_ptr.dtype.element_ty)
    zeros = tl.zeros([BLOCK], dtype)
    max_logit = tl.full([], LOWEST, dtype)
    s1, s2, s3, s4, gaps, seen = zeros, zeros, zeros, zeros, zeros, zeros
    lo, hi, some, end = inner_tiles(first, last, BLOCK)
    for k in range(some, end):  # what is no whole tile of the row: before lo, after hi
        start = k * hi
        columns = start + tl.arange(0, BLOCK)
        inside = (columns >= first) & (columns < last)
        z = tl.load(row_ptr + columns, mask=inside, other=0.0, eviction_policy=EVICT)
        max_logit, s1, s2, s3, s4, gaps, seen = add_tile(
            z.to(dtype), columns, inside & (columns != y), True,
            max_logit, s1, s2, s3, s4, gaps, seen, weight_ptr, first, softcap, SMOOTHED, CAPPED,
        )  # fmt: skip
    # more stages, through shared memory, take longer at 8192 x 152064 (H200)
    for start in tl.range(lo, hi, BLOCK, num_stages=1):
        columns = start + tl.arange(0, BLOCK)
        z = tl.load(row_ptr + columns, eviction_policy=EVICT)
        max_logit, s1, s2, s3, s4, gaps, seen = add_tile(
            z.to(dtype), columns, columns != y, (y >= start) & (y < start + BLOCK),
            max_logit, s1, s2, s3, s4, gaps, seen, weight_ptr, first, softcap, SMOOTHED, CAPPED,
        )  # fmt: skip
    s1, s2 = tl.sum(s1, 0), tl.sum(s2, 0)
    if SMOOTHED:
        s3, s4, gaps = tl.sum(s3, 0), tl.sum(s4, 0), tl.sum(gaps, 0)
    else:
        s3, s4, gaps = s1 * 0.0, s1 * 0.0, s1 * 0.0
    return max_logit, s1, s2, s3, s4, gaps


@triton.jit
def add_tile(
    z,
    columns,
    nontarget,
    excludes,  # whether nontarget is False anywhere
    max_logit,
    s1,
    s2,
    s3,
    s4,
    gaps,
    seen,
    weight_ptr,
    first,
    softcap,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """The sums with the tile z in them."""
    u, slope = cap(z, softcap, CAPPED)
    if excludes:
        u = tl.where(nontarget, u, -float("inf"))
    tile_max = tl.max(u, 0)
    if tile_max > max_logit:  # rare after the first tiles, and the same for the whole block
        scale = exp(max_logit - tile_max)
        s1, s2, s3 = s1 * scale, s2 * (scale * scale), s3 * scale
        gaps += tl.where(max_logit == LOWEST, 0.0, tile_max - max_logit) * seen
        max_logit = tile_max
    e = exp(u - max_logit)
    s1 += e
    s2 += (slope * e) * (slope * e)
    if SMOOTHED:
        w = load_weights(weight_ptr, columns - first, nontarget, s1)
        s3 += slope * slope * w * e
        s4 += slope * slope * w * w
        gaps += tl.where(nontarget, w * (max_logit - u), 0.0)
        seen += w
    return max_logit, s1, s2, s3, s4, gaps, seen


@triton.jit
def store_row(row, loss, grad_sq, stats, loss_ptr, grad_sq_ptr, stats_ptr):
    tl.store(loss_ptr + row, loss)
    tl.store(grad_sq_ptr + row, grad_sq)
    if stats_ptr is not None:
        for i in tl.static_range(4):
            tl.store(stats_ptr + row * 4 + i, stats[i])


@triton.jit
def store_zeros(out_ptr, first, last, BLOCK: tl.constexpr):
    """Zero gradient for columns [first, last)."""
    zeros = tl.zeros([BLOCK], out_ptr.dtype.element_ty)
    for start in range(0, last, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        tl.store(out_ptr + columns, zeros, mask=(columns >= first) & (columns < last))


@triton.jit(do_not_specialize=[*UNSPECIALIZED, "row_grad_stride"])
def gradient_kernel(
    row_grad_ptr,  # (N,)
    logits_ptr,  # (N, V)
    target_ptr,  # (N,)
    class_weight_ptr,  # (V,) or None
    stats_ptr,  # (N, 4)
    dlogits_ptr,  # (N, V) contiguous
    vocab,  # sizes and strides, in elements
    row_stride,
    target_stride,
    row_grad_stride,
    ignore_index,  # options
    smoothing: tl.float64,
    softcap: tl.float64,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    SHIFTED: tl.constexpr,
    PACKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program per tile of a row: (M4) times row_grad, from the saved statistics."""
    dtype: tl.constexpr = accumulate_dtype(logits_ptr.dtype.element_ty)
    # a row that starts early may need one tile more than vocab says; it then finds nothing to do
    tiles = tl.cdiv(vocab + 15, BLOCK) if SHIFTED else tl.cdiv(vocab, BLOCK)
    row = tl.program_id(0).to(tl.int64) // tiles
    start = (tl.program_id(0) % tiles) * BLOCK
    begin, first = row_begin(row, row_stride, SHIFTED)
    last = first + vocab
    out = begin if PACKED else row * vocab - first
    target = tl.load(target_ptr + row * target_stride).to(tl.int64)
    if target == ignore_index:
        columns = start + tl.arange(0, BLOCK)
        zeros = tl.zeros([BLOCK], dlogits_ptr.dtype.element_ty)
        tl.store(dlogits_ptr + out + columns, zeros, mask=(columns >= first) & (columns < last))
        return
    z = load_tile(logits_ptr + begin, start, first, last, BLOCK)
    known = (target >= 0) & (target < vocab)
    y = tl.where(known, target, -1).to(tl.int32) + first
    saved = stats_ptr + row * 4
    stats = tl.load(saved), tl.load(saved + 1), tl.load(saved + 2), tl.load(saved + 3)
    upstream = tl.load(row_grad_ptr + row * row_grad_stride).to(dtype)
    gradient_tile(
        z.to(dtype), dlogits_ptr + out, class_weight_ptr, start, first, last, y,
        upstream, stats, tl.full([], smoothing, dtype) / vocab, tl.full([], softcap, dtype),
        SMOOTHED, CAPPED, BLOCK,
    )  # fmt: skip
