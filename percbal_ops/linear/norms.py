"""The head's gradient, and the norm of each segment's part of it; (M8), (M10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from percbal_ops.linear.plan import Chunk
from percbal_ops.losses.reference import accumulate_dtype

TILE = 4096  # classes of a partial product: large for a GEMM, small beside dW


class HeadGradient:
    """dW (V, D) = sum over chunks of residual^T x, summed in `dtype`."""

    def __init__(self, head: Tensor, dtype: torch.dtype) -> None:
        self.sum = fresh(head, head.shape, dtype)
        self.empty = True

    def add(self, residual: Tensor, x: Tensor) -> None:
        """residual (n, V), x (n, D)"""
        beta, self.empty = 0 if self.empty else 1, False
        if self.sum.dtype == x.dtype:
            torch.addmm(self.sum, residual.t(), x, beta=beta, out=self.sum)
        elif x.is_cuda:
            torch.addmm(
                self.sum, residual.t(), x, out_dtype=self.sum.dtype, beta=beta, out=self.sum
            )
        else:
            for classes in tiles(self.sum):
                self.add_tile(classes, tile_product(residual, x, classes), beta)

    def add_tile(self, classes: slice, product: Tensor, beta: int) -> None:
        part = self.sum[classes]
        part.add_(product) if beta else part.copy_(product)

    def finish(self, dtype: torch.dtype) -> Tensor:
        total = self.sum.zero_() if self.empty else self.sum
        return total if dtype == total.dtype else fresh(total, total.shape, dtype).copy_(total)


class SortedParts:
    """square[s] = ||sum_{t in s} residual_t x_t^T||_F^2 at row weight 1, any number of segments.

    Rows come sorted by segment. A segment of one chunk is complete in its own partial products. The
    first of several chunks is summed in dW itself while nothing else is in it; each further one
    in a scratch sum, added to dW at its end. Nothing is subtracted, so nothing cancels (M10).
    """

    def __init__(
        self, head: Tensor, dtype: torch.dtype, segments: int, total: HeadGradient | None
    ) -> None:
        self.head, self.dtype, self.total = head, dtype, total
        self.square = torch.zeros(segments, dtype=dtype, device=head.device)
        self.scratch: HeadGradient | None = None
        self.current: HeadGradient | None = None

    def add(
        self, chunk: Chunk, residual: Tensor, x: Tensor, fold: Tensor, kept: Tensor, rows: Tensor
    ) -> None:
        """One chunk; fold, kept, rows (n,): weight in the residual, whether it counts, segment."""
        total = self.total if chunk.kept else None  # None: only the norm is wanted
        if chunk.first and chunk.last:
            square = _whole(residual, x, total)
        else:
            if chunk.first:
                self.current = total if total and total.empty else self._free_scratch()
            assert self.current is not None
            self.current.add(residual, x)
            if not chunk.last:
                return
            square = square_norm(self.current.sum)
            if total and self.current is not total:
                total.sum.add_(self.current.sum)
        self.square[chunk.segment] = (square / fold[0].double() ** 2).to(self.dtype)

    def finish(self) -> Tensor:
        return self.square

    def _free_scratch(self) -> HeadGradient:
        if self.scratch is None:
            self.scratch = HeadGradient(self.head, self.dtype)
        self.scratch.empty = True
        return self.scratch


class MaskedParts:
    """The same where only the device knows which row is in which segment: one sum (V, D) and one
    product for each segment, rather than wait for the device."""

    def __init__(
        self, head: Tensor, dtype: torch.dtype, segments: int, total: HeadGradient | None
    ) -> None:
        self.total = total
        self.sums = [HeadGradient(head, dtype) for _ in range(segments)]
        self.fold = torch.zeros(segments, dtype=dtype, device=head.device)
        self.keep = torch.zeros(segments, dtype=torch.bool, device=head.device)

    def add(
        self, chunk: Chunk, residual: Tensor, x: Tensor, fold: Tensor, kept: Tensor, rows: Tensor
    ) -> None:
        for s, part in enumerate(self.sums):
            inside = rows == s
            part.add(residual, torch.where(inside[:, None], x, 0.0))
            largest = torch.where(inside, fold.abs(), 0.0).amax()
            self.fold[s] = torch.maximum(self.fold[s], largest)
            self.keep[s] |= (inside & kept).any()

    def finish(self) -> Tensor:
        """(S,), and dW = the sum of the parts whose segment has a weight."""
        square = torch.stack([square_norm(part.sum) for part in self.sums])
        if self.total is not None:
            self.total.empty = False
            self.total.sum.zero_()
            for part, keep in zip(self.sums, self.keep, strict=True):
                self.total.sum.add_(torch.where(keep, part.sum, 0.0))
        return torch.where(self.fold > 0, square / self.fold**2, 0.0).to(self.fold.dtype)


def _whole(residual: Tensor, x: Tensor, total: HeadGradient | None) -> Tensor:
    """The squared norm of residual^T x, added to `total` on the way."""
    square = torch.zeros((), dtype=torch.float64, device=x.device)
    beta = 0 if total is None or total.empty else 1
    for classes in tiles(residual.t()):
        product = tile_product(residual, x, classes)
        square += square_norm(product)
        if total is not None:
            total.add_tile(classes, product, beta)
    if total is not None:
        total.empty = False
    return square


def fresh(like: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor whose first writing is cheap."""
    x = torch.empty(shape, dtype=dtype, device=like.device)
    torch.ops.percbal.advise_huge_pages_(x)
    return x


def tiles(head: Tensor) -> Iterator[slice]:
    for start in range(0, head.shape[0], TILE):
        yield slice(start, start + TILE)


def tile_product(residual: Tensor, x: Tensor, classes: slice) -> Tensor:
    """Rows `classes` of residual^T x, (tile, D) in the dtype of x."""
    return torch.mm(residual[:, classes].t(), x)


def square_norm(part: Tensor) -> Tensor:
    """() float64. Row by row, then in float64: a running fp32 sum over 10^8 entries would drift."""
    square = torch.zeros((), dtype=torch.float64, device=part.device)
    dtype = accumulate_dtype(part)
    for classes in tiles(part):
        rows = torch.linalg.vector_norm(part[classes], dim=1, dtype=dtype)
        square += rows.double().square().sum()
    return square
