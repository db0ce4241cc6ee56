"""Triton helpers shared by the kernels: the maths of docs/math.md on a tile and on row scalars.

Everything a row needs is a few scalars, so their functions are written for accuracy: the hardware's
approximate logarithm is off by 2^-22 near 1, where a confident row lives.
"""

# mypy: allow-untyped-defs
# Triton reads the annotations of a kernel as the types of its arguments.

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
# Finite, so that a tile of -inf subtracts to -inf and not to NaN.
LOWEST = tl.constexpr(-3.4028234663852886e38)


@triton.constexpr_function
def accumulate_dtype(dtype: tl.dtype) -> tl.dtype:
    """float64 for float64 logits, else float32."""
    return tl.float64 if dtype == tl.float64 else tl.float32


@triton.jit
def exp(x):
    return tl.exp2(x * LOG2E)


@triton.jit
def log1p(x):
    """ln(1 + x) for 0 <= x <= 1, as 2 atanh(x / (2 + x)): digits do not depend on hardware."""
    terms: tl.constexpr = 18 if x.dtype == tl.float64 else 8
    s = x / (2 + x)
    square = s * s
    series = square * 0.0
    for k in tl.static_range(terms):
        series = series * square + 1.0 / (2 * (terms - k) - 1)
    return 2 * s * series


@triton.jit
def log(x):
    """ln x for x = 0 or x >= 1, a sum of exponentials that holds its own maximum."""
    if x.dtype == tl.float64:
        bits = x.to(tl.int64, bitcast=True)
        exponent = (bits >> 52) - 1023
        mantissa = (bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000
        mantissa = mantissa.to(tl.float64, bitcast=True)
    else:
        bits = x.to(tl.int32, bitcast=True)
        exponent = (bits >> 23) - 127
        mantissa = ((bits & 0x007FFFFF) | 0x3F800000).to(tl.float32, bitcast=True)
    value = exponent.to(x.dtype) * LN2 + log1p(mantissa - 1)
    return tl.where(x > 0, value, tl.where(x == 0, -float("inf"), x))


@triton.jit
def tanh_and_slope(x):
    """tanh x and 1 - tanh^2 x, both to the last digits, for one exponential and one division.

    Near 0, where (1 - exp(-2x)) / (1 + exp(-2x)) would cancel, tanh x is the continued fraction
    x / (1 + x^2 / (3 + x^2 / (5 + x^2 / (7 + x^2 / 9)))); away from it, the slope must not be
    taken from 1 - tanh^2.
    """
    # The continued fraction's error is about x^10 / 1e7 of tanh x.
    near: tl.constexpr = 0.1 if x.dtype == tl.float64 else 0.5
    small = tl.abs(x) < near
    square = x * x
    fall = exp(-2 * tl.abs(x))
    num = tl.where(x < 0, fall - 1, 1 - fall)
    num = tl.where(small, x * ((square + 105) * square + 945), num)
    inverse = 1 / tl.where(small, (15 * square + 420) * square + 945, 1 + fall)
    t = num * inverse
    return t, tl.where(small, 1 - t * t, 4 * fall * inverse * inverse)


@triton.jit
def cap(z, softcap, CAPPED: tl.constexpr):
    """u and s of (M1); without a softcap the slope is the constant 1."""
    if CAPPED:
        t, slope = tanh_and_slope(z / softcap)
        return softcap * t, slope
    else:
        return z, 1.0


@triton.jit
def row_begin(row, stride, SHIFTED: tl.constexpr):
    """Where to start reading a row, and how many elements before the row that is.

    A row that need not start on a 128-bit boundary is read from the one before it, in a form the
    compiler can prove aligned.
    """
    # int64: row * stride passes 2^31 once N * V does
    begin = row.to(tl.int64) * stride
    if SHIFTED:
        aligned = begin // 16 * 16
        return aligned, (begin - aligned).to(tl.int32)
    else:
        return begin, 0


@triton.jit
def load_tile(row_ptr, start, first, last, BLOCK: tl.constexpr):
    """Columns [start, start + BLOCK) of a row that lives in [first, last); 0 outside it.

    An inner tile is loaded without a mask: a mask the compiler cannot reason about (an odd length)
    would turn every 128-bit load into eight narrow ones.
    """
    columns = start + tl.arange(0, BLOCK)
    if (start >= first) & (start + BLOCK <= last):
        z = tl.load(row_ptr + columns, eviction_policy="evict_first")
    else:
        inside = (columns >= first) & (columns < last)
        z = tl.load(row_ptr + columns, mask=inside, other=0.0, eviction_policy="evict_first")
    return z


@triton.jit
def store_tile(row_ptr, values, start, first, last, BLOCK: tl.constexpr):
    """Columns [start, start + BLOCK) of a row that lives in [first, last), in its dtype."""
    columns = start + tl.arange(0, BLOCK)
    values = values.to(row_ptr.dtype.element_ty)
    if (start >= first) & (start + BLOCK <= last):
        tl.store(row_ptr + columns, values, eviction_policy="evict_first")
    else:
        inside = (columns >= first) & (columns < last)
        tl.store(row_ptr + columns, values, mask=inside, eviction_policy="evict_first")


@triton.jit
def inner_tiles(first, last, BLOCK: tl.constexpr):
    """[lo, hi): the tiles within [first, last), whose loads need no mask. Those that are left begin
    at k * hi for k in range(some, end)."""
    lo = tl.where(first > 0, BLOCK, 0)
    hi = tl.maximum(lo, last // BLOCK * BLOCK)
    return lo, hi, tl.where(first > 0, 0, 1), tl.where(hi < last, 2, 1)


@triton.jit
def load_weights(weight_ptr, columns, inside, like):
    """Class weights w of a tile in the type of `like`, 0 outside; 1 if there are none."""
    if weight_ptr is None:
        return tl.where(inside, tl.full([], 1.0, like.dtype), 0.0)
    else:
        return tl.load(weight_ptr + columns, mask=inside, other=0.0).to(like.dtype)


@triton.jit
def shares(ahead, log_s1):
    """q, p_y, nll = -ln p_y and -ln q of (M2), from how far the target is ahead of m, and ln S1."""
    # In this order: m + ln S1 would round away the digits of a huge m.
    lead = ahead - log_s1
    fall = exp(-tl.abs(lead))
    tail = log1p(fall)
    one_minus_p = tl.where(lead > 0, fall, 1.0) / (1 + fall)
    p_target = tl.where(lead > 0, 1.0, fall) / (1 + fall)
    return one_minus_p, p_target, tl.maximum(-lead, 0.0) + tail, tl.maximum(lead, 0.0) + tail


@triton.jit
def target_against_others(u_y, max_logit, s1):
    """nll, q, p_y, L and L - m of (M2), and m with 0 for "no other class", as in the reference."""
    max_logit = tl.where(s1 == 0, 0.0, max_logit)
    log_s1 = log(s1)
    one_minus_p, p_target, nll, nll_others = shares(u_y - max_logit, log_s1)
    # A NaN loss has a NaN gradient.
    nll = tl.where(u_y == float("inf"), float("nan"), nll)
    one_minus_p = tl.where(u_y == float("inf"), float("nan"), one_minus_p)
    above = log_s1 + nll_others
    lse = tl.where(u_y - max_logit > log_s1, u_y + nll, max_logit + above)
    rest = tl.where(s1 == 0, lse - max_logit, above)
    return max_logit, nll, one_minus_p, p_target, lse, rest


@triton.jit
def target_weights(weight_ptr, weight_sum_ptr, y, known, vocab, like):
    """w_y and W in the type of `like`; a target out of range weighs 1, for its NaN to survive."""
    if weight_ptr is None:
        return tl.full([], 1.0, like.dtype), tl.full([], vocab, like.dtype)
    else:
        w_y = tl.load(weight_ptr + y, mask=known, other=1.0)
        return w_y.to(like.dtype), tl.load(weight_sum_ptr).to(like.dtype)


@triton.jit
def finish_row(z_y, sums, weights, options, vocab, SMOOTHED: tl.constexpr, CAPPED: tl.constexpr):
    """From the sums of a row to its loss (M3), its squared gradient norm (M5), and its statistics:
    what turns its logits into their gradient, (m, A q / S1, dl/dz_y before its slope, L)."""
    max_logit, s1, s2, s3, s4, gaps = sums
    w_y, w_sum = weights
    smoothing, z_loss, softcap = options
    share = smoothing / vocab
    u_y, slope_y = cap(z_y, softcap, CAPPED)
    max_logit, nll, one_minus_p, p_target, lse, rest = target_against_others(u_y, max_logit, s1)
    pull = tl.where(z_loss == 0, 0.0, 2 * z_loss * lse)
    mass = (1 - smoothing) * w_y + share * w_sum + pull
    spread = tl.where(s1 == 0, 0.0, mass * (one_minus_p / s1))
    # Twice the second line of (M4), each where it does not cancel.
    at_target = tl.where(
        p_target > 0.5,
        -mass * one_minus_p + share * (w_sum - w_y) + pull,
        mass * p_target - (1 - smoothing + share) * w_y,
    )
    loss = (1 - smoothing) * w_y * nll + tl.where(z_loss == 0, 0.0, z_loss * lse * lse)
    grad_sq = (slope_y * at_target) * (slope_y * at_target) + spread * spread * s2
    if SMOOTHED:
        loss += share * (gaps + rest * (w_sum - w_y) + w_y * nll)
        grad_sq += share * (share * s4 - 2 * spread * s3)
        grad_sq = tl.where(grad_sq < 0, 0.0, grad_sq)
    return loss, grad_sq, (max_logit, spread, at_target, lse)


@triton.jit
def gradient_tile(
    z,
    out_ptr,
    weight_ptr,
    start,
    first,  # the row is [first, last), its target at column y; all relative to out_ptr
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
    """upstream times (M4) for the logits z of columns [start, start + BLOCK), stored at out_ptr."""
    columns = start + tl.arange(0, BLOCK)
    inside = (columns >= first) & (columns < last)
    max_logit, spread, at_target, lse = stats
    u, slope = cap(z, softcap, CAPPED)
    grad = upstream * spread * exp(u - max_logit)
    if SMOOTHED:
        grad -= upstream * share * load_weights(weight_ptr, columns - first, inside, z)
    if (y >= start) & (y < start + BLOCK):
        grad = tl.where(columns == y, upstream * at_target, grad)
    store_tile(out_ptr, slope * grad, start, first, last, BLOCK)
