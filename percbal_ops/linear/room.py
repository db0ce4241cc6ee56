"""Cross-entropy from hidden states, the logits in the memory of the head's gradient; (M8).

dW (V, D) is a result and has to be there. Up to D rows of logits fit into it, tile by tile: the
logits of n rows for the classes [a, b) take n (b - a) <= D (b - a) entries of dW[a:b]. Residuals
replace them in place, and at last the tile's gradient replaces its residuals. Nothing of size
(n, V) is ever allocated, and nothing is summed over chunks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from percbal_ops.linear import norms as linear_norms
from percbal_ops.linear.inputs import LinearInputs
from percbal_ops.linear.norms import fresh, square_norm, tiles
from percbal_ops.linear.plan import Part
from percbal_ops.losses.options import LossOptions, packed
from percbal_ops.losses.reference import accumulate_dtype


class RoomResult(NamedTuple):
    """Of n rows in some parts; dx and dbias as accumulated."""

    loss: Tensor  # (n,)
    square: Tensor  # (n,) of each row's gradient with respect to its logits, unweighted
    dx: Tensor  # (m, D) of the first m rows, m = 0 if not wanted
    dbias: Tensor  # (V,), or empty
    part_squares: Tensor  # (parts,) fp64: ||residual^T x||^2 of each, if wanted


def through_room(
    room: Tensor,
    inputs: LinearInputs,
    row_weight: Tensor,
    options: LossOptions,
    parts: list[Part],
    *,
    hidden_rows: int,
    need_bias: bool,
    part_norms: bool,
) -> RoomResult:
    """Losses and gradients of n <= D rows; leaves dW in `room` (V, D), whose content is lost.

    row_weight (n,); `parts` are slices of the rows, of which those that are kept make dW. The first
    `hidden_rows` rows get their dx.
    """
    x, head, bias, target = inputs
    n, dtype = x.shape[0], accumulate_dtype(x)
    for classes in tiles(room):
        columns = head[classes].t()
        if bias is None:
            torch.mm(x, columns, out=tile_logits(room[classes], n))
        else:
            torch.addmm(bias[classes], x, columns, out=tile_logits(room[classes], n))
    # csrc/cpu/cross_entropy.cpp, or tiled_weighted_cross_entropy_ below
    loss, square = torch.ops.percbal.tiled_weighted_cross_entropy_(
        room, target, row_weight, *options, linear_norms.TILE
    )
    result = RoomResult(
        loss,
        square,
        x.new_zeros(hidden_rows, x.shape[1], dtype=dtype),
        x.new_zeros(len(head) if need_bias else 0, dtype=dtype),
        x.new_zeros(len(parts), dtype=torch.float64),
    )
    # residuals leave their place before the gradient takes it
    copy = fresh(x, (n * min(linear_norms.TILE, len(room)),), x.dtype)
    kept = [part.rows for part in parts if part.kept]
    by_parts = _GradientByParts(x, parts, result.part_squares) if part_norms else None
    for classes in tiles(room):
        there = tile_logits(room[classes], n)
        residual = copy[: there.numel()].view_as(there).copy_(there)
        if hidden_rows:
            _add_product(result.dx, residual[:hidden_rows], head[classes])
        if need_bias:
            for rows in kept:
                result.dbias[classes] += residual[rows].sum(0, dtype=dtype)
        if by_parts is not None:
            room[classes] = by_parts(residual)
        elif kept:
            (rows,) = kept  # those with a weight
            torch.mm(residual[rows].t(), x[rows], out=room[classes])
        else:
            room[classes].zero_()
    return result


def tile_logits(tile: Tensor, n: int) -> Tensor:
    """The logits (n, t) of t classes, in the memory of their rows (t, D) of dW."""
    return tile.view(-1)[: n * len(tile)].view(n, len(tile))


def tiled_weighted_cross_entropy_(
    room: Tensor, target: Tensor, row_weight: Tensor, *flat: Any
) -> tuple[Tensor, Tensor]:
    """percbal::weighted_cross_entropy_ for logits in tiles, by a copy that has them in rows."""
    options, tile = packed(flat)
    pieces = [tile_logits(part, target.shape[0]) for part in room.split(tile)]
    logits = torch.cat(pieces, 1)
    loss, grad_sq = torch.ops.percbal.weighted_cross_entropy_(logits, target, row_weight, *options)
    for piece, columns in zip(pieces, logits.split(tile, 1), strict=True):
        piece.copy_(columns)
    return loss, grad_sq


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, in the dtype of the total."""
    if total.dtype == a.dtype:
        torch.addmm(total, a, b, out=total)
    else:
        total += torch.mm(a, b)


class _GradientByParts:
    """residual (n, t) -> (t, D), the sum over kept parts of residual^T x; adds to all squares."""

    def __init__(self, x: Tensor, parts: list[Part], squares: Tensor) -> None:
        self.x, self.parts, self.squares = x, parts, squares
        shape = (linear_norms.TILE, x.shape[1])
        self.product = fresh(x, shape, x.dtype)
        self.total = fresh(x, shape, accumulate_dtype(x))

    def __call__(self, residual: Tensor) -> Tensor:
        product, total = (buffer[: residual.shape[1]] for buffer in (self.product, self.total))
        total.zero_()
        for i, part in enumerate(self.parts):
            torch.mm(residual[part.rows].t(), self.x[part.rows], out=product)
            self.squares[i] += square_norm(product)
            if part.kept:
                total += product
        return total
