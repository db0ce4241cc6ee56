"""Group agreement: how much a rollout says what its group's others say, without any label."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import torch
from torch import Tensor

from percbal_ops.coupling import library as coupling_library  # noqa: F401  defines group_layout

KINDS = ("edit", "exact", "set")

_library = torch.library.Library("percbal", "FRAGMENT")


def group_agreement(
    tokens: Tensor,
    offsets: Tensor,
    group: Tensor,
    *,
    kind: Literal["edit", "exact", "set"] = "edit",
) -> Tensor:
    """Mean similarity of each rollout's tokens to those of its group's other rollouts (A1).

    Args:
        tokens: (N,) integer token ids of all rollouts, one after another.
        offsets: (R + 1,) integers from 0 to N: rollout r is ``tokens[offsets[r]:offsets[r + 1]]``.
        group: (R,) integer group ids, any ids in any order.
        kind: "edit", one minus the Levenshtein distance over the longer length (A2); "exact", 1 or
            0 (A3); "set", twice the shared tokens, counted with multiplicity, over both lengths
            (A4). Two empty rollouts agree fully.

    Returns (R,) float32, NaN for a rollout that is alone in its group. Raises ValueError for wrong
    shapes, dtypes or offsets, or an unknown kind. Give it the perception span's tokens alone: over
    whole completions it rewards agreeing answers, not agreeing perception.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    for name, value in {"tokens": tokens, "offsets": offsets, "group": group}.items():
        if value.dim() != 1:
            raise ValueError(f"{name} must have 1 dim, got {value.dim()}")
        if value.is_floating_point() or value.dtype == torch.bool or value.is_complex():
            raise ValueError(f"{name} must hold integers, got {value.dtype}")
        if value.device != tokens.device:
            raise ValueError(f"{name} is on {value.device}, tokens on {tokens.device}")
    if len(offsets) != len(group) + 1:
        raise ValueError(
            f"offsets must have one entry more than group, got {len(offsets)} and {len(group)}"
        )
    offsets = offsets.long()
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(tokens) or bool((offsets.diff() < 0).any()):
        raise ValueError(
            f"offsets must rise from 0 to {len(tokens)}, the number of tokens, got "
            f"{offsets.tolist() if len(offsets) < 9 else [*offsets[:4].tolist(), '...']}"
        )
    order, group_offsets, _ = torch.ops.percbal.group_layout(group.long())
    tokens = tokens.long()
    lengths = offsets.diff()
    longest = int(lengths.max()) if len(lengths) else 0
    if kind == "set" and tokens.is_cuda:  # that kernel reads the tokens of a rollout sorted
        rollout = torch.arange(len(lengths), device=tokens.device).repeat_interleave(lengths)
        by_token = tokens.argsort()
        tokens = tokens[by_token][rollout[by_token].argsort(stable=True)]
    return torch.ops.percbal.group_agreement(
        tokens, offsets, order, group_offsets, KINDS.index(kind), longest
    )


def _reference(
    tokens: Tensor, offsets: Tensor, order: Tensor, group_offsets: Tensor, kind: int, longest: int
) -> Tensor:
    """The definition, pair by pair in Python: for tests and for machines without a compiler."""
    flat, bounds = tokens.tolist(), offsets.tolist()
    rollouts = [flat[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    rows = order.tolist() or list(range(len(rollouts)))
    similarity = (_edit, _exact, _multiset)[kind]
    out = [float("nan")] * len(rollouts)
    edges = group_offsets.tolist()
    for begin, end in zip(edges, edges[1:], strict=False):
        members = rows[begin:end]
        for r in members:
            others = [similarity(rollouts[r], rollouts[q]) for q in members if q != r]
            if others:
                out[r] = sum(others) / len(others)
    return torch.tensor(out, dtype=torch.float32, device=tokens.device)


def _edit(a: list[int], b: list[int]) -> float:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return 1 - row[-1] / max(len(a), len(b), 1)


def _exact(a: list[int], b: list[int]) -> float:
    return float(a == b)


def _multiset(a: list[int], b: list[int]) -> float:
    if not a and not b:
        return 1.0
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b))


_library.define(
    "group_agreement"
    "(Tensor tokens, Tensor offsets, Tensor order, Tensor group_offsets, int kind, int longest)"
    " -> Tensor"
)
_library.impl("group_agreement", _reference, "CompositeExplicitAutograd")


@torch.library.register_fake("percbal::group_agreement")
def _(tokens: Tensor, offsets: Tensor, *rest: Tensor) -> Tensor:
    return tokens.new_empty(offsets.shape[0] - 1, dtype=torch.float32)
