"""Which rows go into which chunk: rows that count for nothing never meet a GEMM."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Rows of a chunk. Each chunk reads and writes dW once, so the chunk must be long enough for its
# GEMM to outweigh that, and no longer: the buffer is what the operator costs in memory.
CPU_ROWS = 224
CPU_LOW_PRECISION_ROWS = 1024  # bf16 GEMMs run several times faster, dW is still summed in fp32
CUDA_ROWS = 4096
# On CUDA the host waits for the device to learn which rows count, where the products of all rows,
# each of so many multiplications, take about a millisecond or more; the wait takes 0.1.
WORTH_ASKING = 10**11
# A chunk has this many logits at least (16 MiB in fp32): with a small vocabulary a product of a few
# hundred rows takes less time than it takes to call it.
LOGITS = 1 << 22


class Chunk(NamedTuple):
    """Rows of one pass through the buffer."""

    start: int
    stop: int
    order: Tensor | None  # (n,) row indices to gather; None: the rows [start, stop) themselves
    gradient: bool  # False: the rows count for statistics alone
    segment: int | None = None  # level "head", sizes known: all rows are of this segment
    kept: bool = True  # False: of a segment without weight, not part of dW
    first: bool = True  # of its segment
    last: bool = True

    def take(self, rows: Tensor) -> Tensor:
        """(N, ...) -> (n, ...)"""
        return rows[self.start : self.stop] if self.order is None else rows[self.order]

    def put(self, rows: Tensor, values: Tensor) -> None:
        if self.order is None:
            rows[self.start : self.stop] = values
        else:
            rows[self.order] = values


class Part(NamedTuple):
    """Rows of the one chunk of a plan."""

    start: int
    stop: int
    kept: bool  # False: not part of dW
    segment: int | None = None  # level "head": all rows are of this segment

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


class Plan(NamedTuple):
    chunks: list[Chunk]
    longest: int  # rows of the longest chunk
    valid: Tensor  # (N,) bool
    exact: bool  # chunks hold the rows that count and no others
    parts: list[Part] | None = None  # of the only chunk, with logits in the memory of dW


def buffer_rows(hidden: Tensor, head: Tensor, need_head: bool) -> int:
    """Rows of a chunk. In low precision one long chunk needs no fp32 dW: it is taken wherever its
    buffer is no larger than buffer and fp32 dW (V, D) together would be."""
    if hidden.device.type != "cpu":
        rows = CUDA_ROWS
    else:
        rows = CPU_ROWS if hidden.element_size() >= 4 else CPU_LOW_PRECISION_ROWS
    rows = max(rows, LOGITS // head.shape[0])
    if hidden.element_size() < 4 and need_head:
        alone = rows + 4 * head.shape[1] // hidden.element_size()
        return max(1, hidden.shape[0]) if hidden.shape[0] <= alone else rows
    return rows


def may_ask(hidden: Tensor, head: Tensor) -> bool:
    """Whether the host may learn which rows count: on the CPU always, on CUDA where that pays and
    no graph is being captured, whose replays may have other rows."""
    if hidden.device.type != "cuda":
        return hidden.device.type == "cpu"
    worth = hidden.shape[0] * head.numel() >= WORTH_ASKING
    return worth and not torch.cuda.is_current_stream_capturing()


def room_rows(head: Tensor, need_head: bool, level: str) -> range:
    """Which numbers of rows have their logits in the memory of dW (V, D): as many as fit, and more
    than one chunk. One chunk needs no sum over chunks and is a bit faster, but at level "head".
    On the CPU alone."""
    if head.device.type != "cpu":
        return range(0)
    few = 0 if level == "head" else max(CPU_ROWS, LOGITS // head.shape[0])
    return range(few + 1, head.shape[1] + 1) if need_head else range(0)


def make_plan(
    valid: Tensor,
    row_weight: Tensor,
    segment: Tensor | None,
    level: str,
    segments: int,
    rows: int,
    *,
    ask: bool,
    room: range = range(0),
) -> Plan:
    """Exactly the rows that count, those of weight 0 last (level "head": by segment), in chunks of
    `rows`, or in one chunk if their number is in `room`. Without `ask` all rows in order: which of
    them count is known to the device alone.
    """
    n = valid.shape[0]
    if not ask:
        return plan_of(in_order(n, rows), valid, exact=False)
    if room and int(valid.sum()) in room:
        return _room_plan(valid, row_weight, segment if level == "head" else None, segments)
    weighted = valid & (row_weight != 0)
    if level == "head":
        assert segment is not None
        return plan_of(_by_segment(valid, weighted, segment, segments, rows), valid)
    weighted = weighted if level == "logits" else valid
    if bool(weighted.all()):
        return plan_of(in_order(n, rows), valid)
    chunks = _cut(weighted.nonzero()[:, 0], rows, True)
    return plan_of(chunks + _cut((valid & ~weighted).nonzero()[:, 0], rows, False), valid)


def plan_of(chunks: list[Chunk], valid: Tensor, exact: bool = True) -> Plan:
    return Plan(chunks, max((c.stop - c.start for c in chunks), default=0), valid, exact)


def in_order(n: int, rows: int) -> list[Chunk]:
    return [Chunk(start, min(start + rows, n), None, True) for start in range(0, n, rows)]


def _cut(order: Tensor, rows: int, gradient: bool) -> list[Chunk]:
    pieces = order.split(rows) if len(order) else ()
    return [Chunk(0, len(piece), piece, gradient) for piece in pieces]


def _by_segment(
    valid: Tensor, weighted: Tensor, segment: Tensor, segments: int, rows: int
) -> list[Chunk]:
    """The largest segment first: its part of dW is read off dW before anything is added to it."""
    orders = _rows_of_segments(valid, segment, segments)
    chunks = []
    for s in sorted(range(segments), key=lambda s: -len(orders[s])):
        kept = len(orders[s]) > 0 and bool(weighted[orders[s][0]])  # as all of its rows
        pieces = _cut(orders[s], rows, True)
        for i, piece in enumerate(pieces):
            first, last = i == 0, i == len(pieces) - 1
            chunks.append(piece._replace(segment=s, kept=kept, first=first, last=last))
    return chunks


def _rows_of_segments(valid: Tensor, segment: Tensor, segments: int) -> list[Tensor]:
    return [(valid & (segment == s)).nonzero()[:, 0] for s in range(segments)]


def _room_plan(valid: Tensor, row_weight: Tensor, segment: Tensor | None, segments: int) -> Plan:
    """One chunk: its parts are the rows with a weight and those without, or the segments."""
    weighted = valid & (row_weight != 0)
    if segment is None:
        orders = [rows.nonzero()[:, 0] for rows in (weighted, valid & ~weighted)]
    else:
        orders = _rows_of_segments(valid, segment, segments)
    parts, start = [], 0
    for i, order in enumerate(orders):
        if len(order):
            kept = bool(weighted[order[0]])  # as all of them
            parts.append(Part(start, start + len(order), kept, None if segment is None else i))
            start += len(order)
    whole = len(parts) == 1 and start == len(valid)
    chunk = Chunk(0, start, None if whole else torch.cat(orders), True)
    return Plan([chunk], start, valid, True, parts)
