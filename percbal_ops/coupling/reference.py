"""The maths of reward coupling in plain torch; (C1), (C2), ... are formulas of docs/coupling.md.

Every function has the signature of the operator of its name; the C++ kernels compute the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Fields of one pair (reward x, target y): sums over groups, so batches merge by addition (C6).
COUNT = slice(0, 6)  # n, x, y, xx, xy, yy about the origin
MOMENTS = slice(6, 27)  # sum of M M', upper triangle (C4)
WITHIN = slice(27, 30)  # sum of W = central moments xx, xy, yy (C2)
WITHIN_OUTER = slice(30, 36)  # sum of W W', upper triangle (C5)
GROUPS, INFORMATIVE, ECHO_WITHIN, BINARY = range(36, 40)
PAIR_FIELDS = 40

# Fields of one candidate's signal. Cells: right perception and advantage +, right -, wrong +, -.
SCORED, SCORED_GROUPS, SILENT_GROUPS = range(3)
CELLS = slice(3, 7)
KNOWN, KNOWN_RIGHT = 7, 8
MASS_CENTRED = slice(9, 13)
MASS_SCALED = slice(13, 17)
SIGNAL_FIELDS = 17

ZERO_ADVANTAGE = 1e-6  # beside the group's std: rounding, not a signal


def group_layout(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(R,) int64 -> order (R,) or (0,) int32, offsets (G + 1,) int64, ids (G,) int64."""
    order = group.new_empty(0, dtype=torch.int32)
    ids, counts = group.unique_consecutive(return_counts=True)
    if ids.unique().numel() != ids.numel():
        ids, inverse, counts = group.unique(return_inverse=True, return_counts=True)
        order = inverse.sort(stable=True).indices.to(torch.int32)
    return order, torch.cat([counts.new_zeros(1), counts.cumsum(0)]), ids


def coupling_stats(
    outcome: Tensor,
    perception: Tensor,
    reasoning: Tensor | None,
    order: Tensor,
    offsets: Tensor,
    origin_outcome: Tensor,
    origin_target: Tensor,
    eps: float,
    right_at: float,
) -> tuple[Tensor, Tensor]:
    """-> pair (K, C, PAIR_FIELDS), signal (C, SIGNAL_FIELDS), float64."""
    x, group = _sorted(outcome, order, offsets)
    targets = [
        _sorted(t[:, None], order, offsets)[0] for t in (perception, reasoning) if t is not None
    ]
    groups = offsets.numel() - 1
    pair = torch.stack(
        [
            _pair_fields(x, y.expand_as(x), group, groups, origin_outcome, origin)
            for y, origin in zip(targets, origin_target, strict=True)
        ]
    )
    signal = _signal_fields(x, targets[0].expand_as(x), group, groups, eps, right_at)
    return pair, signal


def coupling_stats_by_id(
    outcome: Tensor,
    perception: Tensor,
    reasoning: Tensor | None,
    group: Tensor,
    origin_outcome: Tensor,
    origin_target: Tensor,
    eps: float,
    right_at: float,
) -> tuple[Tensor, Tensor]:
    """`coupling_stats` of rows in any order, group (R,) int64: one pass fewer where there is a
    kernel for it, which is on the CPU."""
    order, offsets, _ = torch.ops.percbal.group_layout(group)
    tail = (order, offsets, origin_outcome, origin_target, eps, right_at)
    return torch.ops.percbal.coupling_stats(outcome, perception, reasoning, *tail)


def group_coupling(
    outcome: Tensor, perception: Tensor, reasoning: Tensor | None, order: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """-> correlation (K, C, G) float64 (C1), count (K, C, G) int64."""
    x, group = _sorted(outcome, order, offsets)
    groups = offsets.numel() - 1
    correlations, counts = [], []
    for target in (perception, reasoning):
        if target is None:
            continue
        y = _sorted(target[:, None], order, offsets)[0].expand_as(x)
        n, w, _, _ = _group_moments(x, y, group, groups)
        correlations.append((w[1] / (w[0] * w[2]).sqrt()).clamp(-1, 1).T)
        counts.append(n.long().T)
    return torch.stack(correlations), torch.stack(counts)


def group_advantage(
    outcome: Tensor, order: Tensor, offsets: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """-> z-score (R, C) (C11), centred (R, C) (C10), in the dtype of ``outcome``."""
    x, group = _sorted(outcome, order, offsets)
    centred, std, _ = _centred(x, group, offsets.numel() - 1)
    scaled = torch.where(std[group] > 0, centred / (std[group] + eps), centred)
    both = []
    for advantage in (scaled, centred):
        out = torch.empty_like(outcome)
        rows = order.long() if order.numel() else slice(None)
        out[rows] = advantage.to(outcome.dtype)
        both.append(out)
    return both[0], both[1]


def _sorted(values: Tensor, order: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows by group, in float64, and the group number of each."""
    if order.numel():
        values = values[order.long()]
    number = torch.arange(offsets.numel() - 1, device=values.device)
    return values.double(), number.repeat_interleave(offsets.diff(), output_size=len(values))


def _per_group(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sums of (R, C) over the rows of each group: (G, C)."""
    return values.new_zeros(groups, values.shape[1]).index_add(0, group, values)


def _lowest(values: Tensor, keep: Tensor, group: Tensor, groups: int) -> Tensor:
    """A kept value of each group, so that differences from it are exactly 0 when it is constant."""
    start = values.new_full((groups, values.shape[1]), torch.inf)
    rows = group[:, None].expand_as(values)
    low = start.scatter_reduce(0, rows, values.where(keep, torch.inf), "amin")
    return low.where(low.isfinite(), 0)


def _group_moments(
    x: Tensor, y: Tensor, group: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """n (G, C), W (3, G, C), then about a value x0, y0 of each group: sx, sy, x0, y0 (4, G, C) and
    xx, xy, yy (3, G, C)."""
    both = ~(x.isnan() | y.isnan())
    x0, y0 = _lowest(x, both, group, groups), _lowest(y, both, group, groups)
    dx = (x - x0[group]).where(both, 0)
    dy = (y - y0[group]).where(both, 0)
    n, sx, sy, xx, xy, yy = (
        _per_group(v, group, groups) for v in (both.double(), dx, dy, dx * dx, dx * dy, dy * dy)
    )
    some = n.clamp(min=1)
    w = torch.stack(
        [
            (xx - sx * sx / some).clamp(min=0),
            xy - sx * sy / some,
            (yy - sy * sy / some).clamp(min=0),
        ]
    )
    return n, w, torch.stack([sx, sy, x0, y0]), torch.stack([xx, xy, yy])


def _pair_fields(
    x: Tensor, y: Tensor, group: Tensor, groups: int, origin_x: Tensor, origin_y: Tensor
) -> Tensor:
    n, w, (sx, sy, x0, y0), (xx, xy, yy) = _group_moments(x, y, group, groups)
    ax, ay = x0 - origin_x, y0 - origin_y
    m = torch.stack(
        [
            n,
            sx + n * ax,
            sy + n * ay,
            xx + 2 * ax * sx + n * ax * ax,
            xy + ax * sy + ay * sx + n * ax * ay,
            yy + 2 * ay * sy + n * ay * ay,
        ]
    )
    binary = ((x == 0) | (x == 1)) & ((y == 0) | (y == 1))
    total_x, total_y = sx + n * x0, sy + n * y0
    fields = [
        m.sum(1),
        _upper_outer(m),
        w.sum(1),
        _upper_outer(w),
        torch.stack([(n > 0).sum(0), ((w[0] > 0) | (w[2] > 0)).sum(0)]),
        (total_x - total_x * total_y / n.clamp(min=1)).sum(0, keepdim=True),
        binary.sum(0, keepdim=True),
    ]
    return torch.cat([f.double() for f in fields]).T


def _upper_outer(v: Tensor) -> Tensor:
    """Sum over groups of v v', v (n, G, C): its upper triangle (n (n + 1) / 2, C)."""
    i, j = torch.triu_indices(len(v), len(v))
    return (v[i] * v[j]).sum(1)


def _centred(x: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centred outcome (R, C), unbiased std (G, C), scored count (G, C)."""
    scored = ~x.isnan()
    x0 = _lowest(x, scored, group, groups)
    d = (x - x0[group]).where(scored, 0)
    n, s, ss = (_per_group(v, group, groups) for v in (scored.double(), d, d * d))
    mean = s / n.clamp(min=1)
    std = ((ss - s * mean).clamp(min=0) / (n - 1).clamp(min=1)).sqrt().where(n > 1, 0)
    centred = (x - x0[group] - mean[group]).where((std[group] != 0) | x.isnan(), 0)
    return centred, std, n


def _signal_fields(
    x: Tensor, y: Tensor, group: Tensor, groups: int, eps: float, right_at: float
) -> Tensor:
    centred, std, n = _centred(x, group, groups)
    known = ~(x.isnan() | y.isnan())
    tiny = ZERO_ADVANTAGE * std[group]
    right, up, down = y >= right_at, centred > tiny, centred < -tiny
    scale = std.where(std == 0, 1 / (std + eps))[group]
    cells = [known & p & a for p in (right, ~right) for a in (up, down)]
    fields = [
        torch.stack([n.sum(0), (n > 0).sum(0), ((n > 0) & (std == 0)).sum(0)]),
        torch.stack([c.sum(0) for c in cells]),
        torch.stack([known.sum(0), (known & right).sum(0)]),
        torch.stack([centred.abs().where(c, 0).sum(0) for c in cells]),
        torch.stack([(centred.abs() * scale).where(c, 0).sum(0) for c in cells]),
    ]
    return torch.cat([f.double() for f in fields]).T
