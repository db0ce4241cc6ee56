"""Triton kernels of a token's log-probability and entropy, and the gradient of both; (M2), (M11).

A row is read once for its statistics. Its gradient takes the place of its logits, tile by tile,
each read by the program that then writes it. No program reads what another wrote.
"""

# mypy: allow-untyped-defs
# Triton reads the annotations of a kernel as the types of its arguments.

import triton
import triton.language as tl

from percbal_ops.losses.triton.row_math import (
    LN2,
    LOG2E,
    LOWEST,
    accumulate_dtype,
    cap,
    exp,
    inner_tiles,
    load_tile,
    log,
    row_begin,
    shares,
    store_tile,
)

# exp of it is 0 in float64; 0 * -2000 is 0 where 0 * -inf would be NaN
FLOOR = tl.constexpr(-2000.0)


@triton.jit(do_not_specialize=["target_stride"])
def logprob_kernel(
    logits_ptr,  # (N, V)
    target_ptr,  # (N,), all in [0, V)
    logprob_ptr,  # (N,)
    entropy_ptr,  # (N,)
    stats_ptr,  # (N, 5): m before the temperature, q / S1, q, L - m - H, dH/du_y
    vocab,
    row_stride,
    target_stride,
    temperature: tl.float64,
    softcap: tl.float64,
    CAPPED: tl.constexpr,
    SHIFTED: tl.constexpr,  # rows need not start on a 128-bit boundary
    BLOCK: tl.constexpr,
):
    """One program per row."""
    dtype: tl.constexpr = accumulate_dtype(logits_ptr.dtype.element_ty)
    row = tl.program_id(0).to(tl.int64)
    begin, first = row_begin(row, row_stride, SHIFTED)
    target = tl.load(target_ptr + row * target_stride).to(tl.int64)
    known = (target >= 0) & (target < vocab)  # else the row is NaN
    y = tl.where(known, target, -1).to(tl.int32) + first
    z_y = tl.load(logits_ptr + begin + y, mask=known, other=float("nan")).to(dtype)
    inverse = 1 / tl.full([], temperature, dtype)
    softcap = tl.full([], softcap, dtype)
    max_logit, s1, s5 = nontarget_sums(
        logits_ptr + begin, first, first + vocab, y, inverse, softcap, BLOCK, CAPPED
    )
    u_y, _ = cap(z_y, softcap, CAPPED)
    max_logit = tl.where(s1 == 0, 0.0, max_logit)
    ahead = (u_y - max_logit) * inverse
    ahead = tl.where(u_y == float("inf"), float("nan"), ahead)
    log_s1 = log(s1)
    one_minus_p, p_target, nll, nll_others = shares(ahead, log_s1)
    rest = tl.where(s1 == 0, ahead + nll, log_s1 + nll_others)  # L - m
    depth = tl.where(s1 == 0, 0.0, s5 / s1)
    entropy = tl.where(p_target == 0, 0.0, p_target * nll)
    entropy += tl.where(one_minus_p == 0, 0.0, one_minus_p * (rest + depth))
    pull = p_target * one_minus_p * (nll - rest - depth)
    pull = tl.where((p_target == 0) | (one_minus_p == 0), 0.0, pull)
    tl.store(logprob_ptr + row, -nll)
    tl.store(entropy_ptr + row, entropy)
    saved = stats_ptr + row * 5
    tl.store(saved, max_logit)
    tl.store(saved + 1, tl.where(one_minus_p == 0, 0.0, one_minus_p / s1))
    tl.store(saved + 2, one_minus_p)
    tl.store(saved + 3, rest - entropy)
    tl.store(saved + 4, pull)


@triton.jit
def nontarget_sums(
    row_ptr,
    first,  # the row is [first, last), its target at column y; all relative to row_ptr
    last,
    y,
    inverse,  # of the temperature
    softcap,
    BLOCK: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """One pass over a row -> m before the temperature, S1 and S5 of (M11), over the non-target
    classes. One exponential a logit, one maximum a tile."""
    dtype: tl.constexpr = accumulate_dtype(row_ptr.dtype.element_ty)
    s1, s5 = tl.zeros([BLOCK], dtype), tl.zeros([BLOCK], dtype)
    max_logit = tl.full([], LOWEST, dtype)
    halving = inverse * LOG2E  # exp(x / temperature) = 2^(x halving)
    lo, hi, some, end = inner_tiles(first, last, BLOCK)
    for k in range(some, end):  # what is no whole tile of the row: before lo, after hi
        columns = k * hi + tl.arange(0, BLOCK)
        inside = (columns >= first) & (columns < last)
        z = tl.load(row_ptr + columns, mask=inside, other=0.0, eviction_policy="evict_first")
        max_logit, s1, s5 = add_tile(
            z.to(dtype), inside & (columns != y), True, max_logit, s1, s5, halving, softcap, CAPPED
        )
    for start in tl.range(lo, hi, BLOCK, num_stages=1):
        columns = start + tl.arange(0, BLOCK)
        z = tl.load(row_ptr + columns, eviction_policy="evict_first")
        has_target = (y >= start) & (y < start + BLOCK)
        max_logit, s1, s5 = add_tile(
            z.to(dtype), columns != y, has_target, max_logit, s1, s5, halving, softcap, CAPPED
        )
    return max_logit, tl.sum(s1, 0), tl.sum(s5, 0) * LN2


@triton.jit
def add_tile(z, nontarget, excludes, max_logit, s1, s5, halving, softcap, CAPPED: tl.constexpr):
    """m, S1 and S5 / ln 2 with the tile z in them; excludes: nontarget is False somewhere."""
    u, _ = cap(z, softcap, CAPPED)
    if excludes:
        u = tl.where(nontarget, u, -float("inf"))
    tile_max = tl.max(u, 0)
    if tile_max > max_logit:  # rare after the first tiles, and the same for the whole block
        # gaps of what was summed so far grow by how far the maximum rose
        rise = tl.minimum((tile_max - max_logit) * halving, -FLOOR)  # finite: 0 * inf is NaN
        scale = tl.exp2(-rise)
        s5 = (s5 + s1 * rise) * scale
        s1 = s1 * scale
        max_logit = tile_max
    gap = (u - max_logit) * halving
    e = tl.exp2(gap)
    s1 += e
    s5 -= e * tl.maximum(gap, FLOOR)  # a NaN is in S1
    return max_logit, s1, s5


@triton.jit(do_not_specialize=["target_stride"])
def logprob_gradient_kernel(
    logits_ptr,  # (N, V) contiguous, overwritten
    target_ptr,  # (N,)
    stats_ptr,  # (N, 5) contiguous
    grad_logprob_ptr,  # (N,)
    grad_entropy_ptr,  # (N,)
    vocab,
    target_stride,
    temperature: tl.float64,
    softcap: tl.float64,
    CAPPED: tl.constexpr,
    SHIFTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program per tile of a row: d(a logprob + b H) / d logits."""
    dtype: tl.constexpr = accumulate_dtype(logits_ptr.dtype.element_ty)
    # a row that starts early may need one tile more than vocab says; it then finds nothing to do
    tiles = tl.cdiv(vocab + 15, BLOCK) if SHIFTED else tl.cdiv(vocab, BLOCK)
    row = tl.program_id(0).to(tl.int64) // tiles
    start = (tl.program_id(0) % tiles) * BLOCK
    begin, first = row_begin(row, vocab, SHIFTED)
    last = first + vocab
    z = load_tile(logits_ptr + begin, start, first, last, BLOCK).to(dtype)
    y = tl.load(target_ptr + row * target_stride).to(tl.int32) + first
    saved = stats_ptr + row * 5
    a, b = tl.load(grad_logprob_ptr + row), tl.load(grad_entropy_ptr + row)
    inverse = 1 / tl.full([], temperature, dtype)
    u, slope = cap(z, tl.full([], softcap, dtype), CAPPED)
    gap = (u - tl.load(saved)) * inverse
    gap = tl.where(gap < FLOOR, FLOOR, gap)
    level = b * tl.load(saved + 3) - a
    grad = exp(gap) * tl.load(saved + 1) * (level - b * gap)
    columns = start + tl.arange(0, BLOCK)
    if (y >= start) & (y < start + BLOCK):
        grad = tl.where(columns == y, a * tl.load(saved + 2) + b * tl.load(saved + 4), grad)
    store_tile(logits_ptr + begin, grad * slope * inverse, start, first, last, BLOCK)
