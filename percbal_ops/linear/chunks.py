"""Cross-entropy from hidden states: chunks of rows, one logits buffer, gradients in the forward.

Per chunk (M8): logits z = x W^T (first GEMM), residuals in place of z, dX = residuals W (second),
dW += residuals^T x (third). No more than one chunk of logits is ever alive. Its rows are served by
percbal::weighted_cross_entropy_, on the CPU csrc/cpu/cross_entropy.cpp. There, rows that fit into
the head's gradient take no buffer at all: room.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from percbal_ops.linear.inputs import LinearInputs, Needs
from percbal_ops.linear.norms import HeadGradient, MaskedParts, SortedParts, fresh
from percbal_ops.linear.plan import (
    Chunk,
    Part,
    Plan,
    buffer_rows,
    make_plan,
    may_ask,
    room_rows,
)
from percbal_ops.linear.room import through_room
from percbal_ops.losses.options import LossOptions
from percbal_ops.losses.reference import accumulate_dtype, weighted_sum


class LinearResult(NamedTuple):
    """N rows, V classes, D features, S segments. Gradients not asked for are empty."""

    total: Tensor  # () = sum_t row_weight_t loss_t
    loss: Tensor  # (N,) of each row, unweighted
    square: Tensor  # squared gradient norms of unweighted rows: (N,); (S,) at level "head"
    unit: Tensor  # (): the gradients below are to be multiplied by it
    dhidden: Tensor  # (N, D)
    dhead: Tensor  # (V, D)
    dbias: Tensor  # (V,)


def linear_weighted_cross_entropy(
    inputs: LinearInputs,
    row_weight: Tensor,
    segment: Tensor | None,
    options: LossOptions,
    level: str,
    segments: int,
    needs: Needs,
) -> LinearResult:
    """sum_t row_weight_t loss_t, row_weight (N,), and its gradients.

    level: what `square` is the norm with respect to: "logits", "hidden" or "head". At "head",
    `segment` (N,) holds the segment of each row, and a segment's rows share one row weight.
    """
    hidden, head = inputs.hidden, inputs.head
    with torch.autocast(hidden.device.type, enabled=False):
        valid = inputs.target != options.ignore_index
        sums = needs._replace(head=needs.head or level == "head")
        unit, probe = _units(inputs, row_weight, valid, options.class_weight, sums)
        relative = row_weight / unit
        plan = make_plan(
            valid,
            relative,
            segment,
            level,
            segments,
            buffer_rows(hidden, head, needs.head),
            ask=may_ask(hidden, head),
            room=room_rows(head, needs.head, level),
        )
        weights = (relative, unit, probe)
        work = _Work(inputs, weights, segment, plan, level, segments, needs)
        for chunk in plan.chunks:
            if plan.parts is None:
                work.run(chunk, options)
            else:
                work.run_in_room(chunk, plan.parts, options)
        return work.result(weighted_sum(row_weight, work.loss, valid))


def linear_token_cross_entropy(inputs: LinearInputs, options: LossOptions) -> Tensor:
    """Loss of each row (N,); one GEMM."""
    ones = inputs.hidden.new_ones((), dtype=accumulate_dtype(inputs.hidden))
    row_weight, nothing = ones.expand(inputs.target.shape), Needs(False, False, False)
    return linear_weighted_cross_entropy(
        inputs, row_weight, None, options, "logits", 0, nothing
    ).loss


class _Work:
    """Inputs, results and the one logits buffer of a call."""

    def __init__(
        self,
        inputs: LinearInputs,
        weights: tuple[Tensor, Tensor, Tensor],
        segment: Tensor | None,
        plan: Plan,
        level: str,
        segments: int,
        needs: Needs,
    ) -> None:
        self.hidden, self.head, self.bias, self.target = inputs
        self.segment, self.level, self.needs = segment, level, needs
        hidden, head = self.hidden, self.head
        n, vocab = hidden.shape[0], head.shape[0]
        dtype = accumulate_dtype(hidden)
        relative, self.unit, probe = weights
        # A row of weight 0 still has a norm: its residual is taken at this weight and kept apart.
        self.probed = level != "logits"
        self.kept = (relative != 0) & plan.valid
        self.masked = self.probed or not plan.exact
        self.fold = torch.where(self.kept, relative, probe) if self.probed else relative
        self.loss = torch.zeros(n, dtype=dtype, device=hidden.device)
        in_room = plan.parts is not None
        self.square = self.loss.new_zeros(segments if in_room and level == "head" else n)
        self.dhidden = hidden.new_zeros(hidden.shape if self.needs.hidden else 0)
        self.dbias = torch.zeros(vocab if self.needs.bias else 0, dtype=dtype, device=hidden.device)
        self.buffer = fresh(hidden, (0 if in_room else plan.longest, vocab), hidden.dtype)
        low = dtype != hidden.dtype and (len(plan.chunks) > 1 or level == "head") and not in_room
        self.dhead = HeadGradient(head, dtype if low else head.dtype) if self.needs.head else None
        self.head_parts: SortedParts | MaskedParts | None = None
        if level == "head" and not in_room:
            parts = SortedParts if plan.exact else MaskedParts
            self.head_parts = parts(head, dtype, segments, self.dhead)

    def run(self, chunk: Chunk, options: LossOptions) -> None:
        """One chunk of n rows: losses, squares, and its share of every gradient asked for."""
        x, target, fold = (chunk.take(t) for t in (self.hidden, self.target, self.fold))
        logits = self.buffer[: x.shape[0]]
        if self.bias is None:
            torch.mm(x, self.head.t(), out=logits)
        else:
            torch.addmm(self.bias, x, self.head.t(), out=logits)
        wanted = any(self.needs) or self.probed
        if not (wanted and chunk.gradient):
            _, loss, square, _ = torch.ops.percbal.weighted_cross_entropy(
                logits, target, fold, *options, False
            )
        else:
            loss, square = torch.ops.percbal.weighted_cross_entropy_(logits, target, fold, *options)
        chunk.put(self.loss, loss)
        if chunk.gradient:
            square = self._gradients(chunk, x, logits, fold, square)
        chunk.put(self.square, square)

    def run_in_room(self, chunk: Chunk, parts: list[Part], options: LossOptions) -> None:
        """All rows at once; dW is room and result."""
        assert self.dhead is not None
        x, target, fold, kept = (
            chunk.take(t) for t in (self.hidden, self.target, self.fold, self.kept)
        )
        # "logits" needs no dX of rows without weight, which come last
        rows = len(x) if self.probed else sum(p.stop - p.start for p in parts if p.kept)
        found = through_room(
            self.dhead.sum,
            LinearInputs(x, self.head, self.bias, target),
            fold,
            options,
            parts,
            hidden_rows=rows if self.needs.hidden or self.level == "hidden" else 0,
            need_bias=self.needs.bias,
            part_norms=self.level == "head",
        )
        self.dhead.empty = False
        chunk.put(self.loss, found.loss)
        if self.level == "head":
            for part, square in zip(parts, found.part_squares, strict=True):
                self.square[part.segment] = square / fold[part.start].double() ** 2
        elif self.level == "hidden":
            norm = torch.linalg.vector_norm(found.dx, dim=1)
            chunk.put(self.square, (norm / fold) ** 2)
        else:
            chunk.put(self.square, found.square)
        if self.needs.hidden and rows:
            order = None if chunk.order is None else chunk.order[:rows]
            dx = found.dx.masked_fill_(~kept[:rows, None], 0.0)
            chunk._replace(order=order).put(self.dhidden, dx.to(x.dtype))
        if self.needs.bias:
            self.dbias = found.dbias

    def _gradients(
        self, chunk: Chunk, x: Tensor, residual: Tensor, fold: Tensor, square: Tensor
    ) -> Tensor:
        """Third and second GEMM; residual (n, V) at weights `fold`. Returns the squares (n,)."""
        kept = chunk.take(self.kept)[:, None] if self.masked else None
        if self.needs.hidden or self.level == "hidden":
            dx = torch.mm(residual, self.head)
            if self.level == "hidden":
                norm = torch.linalg.vector_norm(dx, dim=1, dtype=square.dtype)
                square = (norm / fold) ** 2
            if self.needs.hidden:
                chunk.put(self.dhidden, dx if kept is None else torch.where(kept, dx, 0.0))
        if self.needs.bias:
            rows = residual if kept is None else torch.where(kept, residual, 0.0)
            self.dbias += rows.sum(0, dtype=self.dbias.dtype)
        if self.head_parts is not None:
            assert self.segment is not None
            self.head_parts.add(
                chunk, residual, x, fold, chunk.take(self.kept), chunk.take(self.segment)
            )
        elif self.dhead is not None:
            self.dhead.add(residual, x if kept is None else torch.where(kept, x, 0.0))
        return square

    def result(self, total: Tensor) -> LinearResult:
        dtype, nothing = self.head.dtype, self.head.new_empty(0)
        square = self.square if self.head_parts is None else self.head_parts.finish()
        return LinearResult(
            total,
            self.loss,
            square,
            self.unit,
            self.dhidden,
            nothing if self.dhead is None else self.dhead.finish(dtype),
            self.dbias.to(dtype),
        )


def _units(
    inputs: LinearInputs,
    row_weight: Tensor,
    valid: Tensor,
    class_weight: Tensor | None,
    sums: Needs,
) -> tuple[Tensor, Tensor]:
    """What row weights are divided by, (), and the weight of a row that has none, ().

    1 and 1, but for fp16: row weights of 1 / N would underflow in its residuals, those of 1 could
    overflow in their sums over rows, and no loss scale can reach a gradient that is computed before
    the backward pass. So the largest becomes 1, or less, if |dW| or |db| is computed and their
    bound in (M8) is above 2^15. sums: which of them are.
    """
    one, hidden = row_weight.new_ones(()), inputs.hidden
    if hidden.dtype != torch.float16 or hidden.numel() == 0:
        return one, one
    largest = torch.where(valid, row_weight.abs(), 0.0).amax()
    largest = torch.where((largest > 0) & largest.isfinite(), largest, one)
    bound = valid.sum().to(row_weight.dtype)
    if sums.head:
        rows = hidden.masked_fill(~valid[:, None], 0.0)
        features = torch.linalg.vector_norm(rows, dim=0, dtype=row_weight.dtype)
        bound = torch.maximum(bound, bound.sqrt() * features.amax())
    if not (sums.head or sums.bias):
        return largest, one
    if class_weight is not None:
        bound = bound * class_weight.amax()
    room = (torch.where(bound.isfinite(), bound, 1.0) / 2**15).clamp(min=1.0).log2().ceil().exp2()
    return largest * room, 1 / room
