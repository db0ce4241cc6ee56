"""Group agreement: how much a rollout says what its group's others say, without any label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from percbal_ops.agreement import library  # noqa: F401  defines the operator
from percbal_ops.checks import check_one_device
from percbal_ops.coupling import library as coupling_library  # noqa: F401  defines group_layout

KINDS = ("edit", "exact", "set")


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

    Returns (R,) float32, NaN for a rollout that is alone in its group; on CUDA the host waits for
    the offsets. For "exact", with ``rollouts = tokens.tensor_split(offsets[1:-1])``, it is::

        [mean(float(a.equal(b)) for j, b in enumerate(rollouts) if group[j] == group[i] and j != i)
         for i, a in enumerate(rollouts)]

    Raises ValueError for wrong
    shapes, dtypes, devices or offsets, or an unknown kind. Give it the perception span's tokens
    alone: over whole completions it rewards agreeing answers, not agreeing perception.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    check_one_device(tokens=tokens, offsets=offsets, group=group)
    for name, value in {"tokens": tokens, "offsets": offsets, "group": group}.items():
        if value.dim() != 1:
            raise ValueError(f"{name} must have 1 dim, got {value.dim()}")
        if value.is_floating_point() or value.dtype == torch.bool or value.is_complex():
            raise ValueError(f"{name} must hold integers, got {value.dtype}")
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
