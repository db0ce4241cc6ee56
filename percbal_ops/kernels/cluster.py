"""Triton kernel for Hopper and later: one read and one write of the logits.

A long row does not fit into one multiprocessor. A cluster of programs holds it in registers, a
slice each, from the read to the write of its gradient; their sums meet in distributed shared
memory.
"""

# mypy: allow-untyped-defs
# Triton reads the annotations of a kernel as the types of its arguments.

from typing import NamedTuple

import triton
import triton.language as tl

from percbal_ops.kernels.online_softmax import exp, finish_row, target_weights
from percbal_ops.kernels.two_pass import store_row

# The compilers of Triton 3.6 and 3.7 fail on it, where they plan the layout of a cluster.
CLUSTERS_COMPILE = tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 8)
LONGEST = 262144
SHORTEST = 16384  # a shorter row is read again from the cache of its own multiprocessor's share


class ClusterShape(NamedTuple):
    """How a row is cut: two tiles of columns, over so many programs of so many warps."""

    first: int
    second: int
    programs: int
    warps: int


def cluster_shape(vocab: int) -> ClusterShape:
    """For SHORTEST < vocab <= LONGEST: 32 to 48 columns a thread, at most 16 programs (what Hopper
    can place), and at most an eighth of the two tiles empty beyond the larger one."""
    whole = triton.next_power_of_2(vocab)
    first = whole // 2
    second = max(triton.next_power_of_2(vocab - first), whole // 8)
    programs = min(16, (first + second) // 8192)
    return ClusterShape(first, second, programs, 8 if first + second <= 196608 else 16)


@triton.jit
def load_rivals(row_ptr, columns, vocab, y):
    """A slice of the row in its own type, and -inf for the target and beyond the end."""
    # The mask is a multiple of 16 columns long; the target is excluded after the load.
    z = tl.load(row_ptr + columns, mask=columns < vocab, other=-float("inf"))
    return tl.where(columns != y, z, -float("inf"))


@triton.jit
def store_gradient(row_ptr, columns, vocab, y, e, spread, at_target):
    grad = tl.where(columns == y, at_target, spread * e)
    tl.store(row_ptr + columns, grad.to(row_ptr.dtype.element_ty), mask=columns < vocab)


@triton.jit(do_not_specialize=["target_stride", "row_weight_stride", "ignore_index"])
def cluster_kernel(
    logits_ptr,  # (N, V), every row on a 128-bit boundary
    target_ptr,  # (N,)
    row_weight_ptr,  # (N,)
    class_weight_ptr,  # (V,) or None
    weight_sum_ptr,  # () or None
    loss_ptr,  # (N,)
    grad_sq_ptr,  # (N,)
    dlogits_ptr,  # (N, V) contiguous
    vocab,  # sizes and strides, in elements
    row_stride,
    target_stride,
    row_weight_stride,
    ignore_index,  # options
    z_loss: tl.float64,
    FIRST: tl.constexpr,  # the row is cut into two tiles, since tiles are powers of two
    SECOND: tl.constexpr,
):
    """One cluster per row: (M2), (M3), (M5) and row_weight times (M4), without smoothing or cap."""
    row = tl.program_id(0).to(tl.int64)
    row_ptr, out_ptr = logits_ptr + row * row_stride, dlogits_ptr + row * vocab
    left, right = tl.arange(0, FIRST), FIRST + tl.arange(0, SECOND)
    target = tl.load(target_ptr + row * target_stride).to(tl.int64)
    if target == ignore_index:
        store_row(row, 0.0, 0.0, (0.0, 0.0, 0.0, 0.0), loss_ptr, grad_sq_ptr, None)
        zero = tl.zeros([1], tl.float32)
        store_gradient(out_ptr, left, vocab, -1, tl.zeros([FIRST], tl.float32), 0.0, zero)
        store_gradient(out_ptr, right, vocab, -1, tl.zeros([SECOND], tl.float32), 0.0, zero)
        return
    known = (target >= 0) & (target < vocab)
    y = tl.where(known, target, -1).to(tl.int32)
    z_y = tl.load(row_ptr + y, mask=known, other=float("nan")).to(tl.float32)
    a, b = load_rivals(row_ptr, left, vocab, y), load_rivals(row_ptr, right, vocab, y)
    peak = tl.maximum(tl.max(a, 0), tl.max(b, 0)).to(tl.float32)
    peak = tl.where(peak == -float("inf"), 0.0, peak)
    a, b = exp(a.to(tl.float32) - peak), exp(b.to(tl.float32) - peak)
    s1 = tl.sum(a, 0) + tl.sum(b, 0)
    s2 = tl.sum(a * a, 0) + tl.sum(b * b, 0)
    zero = tl.full([], 0.0, tl.float32)
    weights = target_weights(class_weight_ptr, weight_sum_ptr, y, known, vocab, zero)
    options = zero, tl.full([], z_loss, tl.float32), zero
    sums = peak, s1, s2, zero, zero, zero
    loss, grad_sq, stats = finish_row(z_y, sums, weights, options, vocab, False, False)
    store_row(row, loss, grad_sq, stats, loss_ptr, grad_sq_ptr, None)
    upstream = tl.load(row_weight_ptr + row * row_weight_stride).to(tl.float32)
    spread, at_target = upstream * stats[1], upstream * stats[2]
    store_gradient(out_ptr, left, vocab, y, a, spread, at_target)
    store_gradient(out_ptr, right, vocab, y, b, spread, at_target)
