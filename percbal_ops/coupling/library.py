"""Schemas and shapes under tracing of the operators behind api.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal_ops.coupling import reference
from percbal_ops.coupling import summary_reference as summary

SCHEMAS = {
    "group_layout": "(Tensor group) -> (Tensor order, Tensor offsets, Tensor ids)",
    "coupling_stats": (
        "(Tensor outcome, Tensor perception, Tensor? reasoning, Tensor order, Tensor offsets, "
        "Tensor origin_outcome, Tensor origin_target, float eps, float right_at) "
        "-> (Tensor pair, Tensor signal)"
    ),
    "coupling_stats_by_id": (
        "(Tensor outcome, Tensor perception, Tensor? reasoning, Tensor group, "
        "Tensor origin_outcome, Tensor origin_target, float eps, float right_at) "
        "-> (Tensor pair, Tensor signal)"
    ),
    "coupling_summary": (
        "(Tensor pair, Tensor signal, Tensor origin_outcome, Tensor origin_target, "
        "float confidence) -> (Tensor pair_numbers, Tensor signal_numbers)"
    ),
    "group_coupling": (
        "(Tensor outcome, Tensor perception, Tensor? reasoning, Tensor order, Tensor offsets) "
        "-> (Tensor correlation, Tensor count)"
    ),
    "group_advantage": (
        "(Tensor outcome, Tensor order, Tensor offsets, float eps) "
        "-> (Tensor scaled, Tensor centred)"
    ),
}
_library = torch.library.Library("percbal", "FRAGMENT")
for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema)
    _plain = getattr(summary if _name == "coupling_summary" else reference, _name)
    _library.impl(_name, _plain, "CompositeExplicitAutograd")


@torch.library.register_fake("percbal::group_layout")
def _(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    groups, ordered = context.new_dynamic_size(), context.new_dynamic_size()
    offsets = group.new_empty(groups + 1)
    return group.new_empty(ordered, dtype=torch.int32), offsets, group.new_empty(groups)


@torch.library.register_fake("percbal::coupling_stats_by_id")
@torch.library.register_fake("percbal::coupling_stats")
def _(
    outcome: Tensor, perception: Tensor, reasoning: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor]:
    targets, candidates = 1 + (reasoning is not None), outcome.shape[1]
    sums = outcome.new_empty(targets, candidates, reference.PAIR_FIELDS, dtype=torch.float64)
    return sums, sums.new_empty(candidates, reference.SIGNAL_FIELDS)


@torch.library.register_fake("percbal::coupling_summary")
def _(pair: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    targets, candidates, _ = pair.shape
    numbers = pair.new_empty(targets, summary.PAIR_NUMBERS, candidates)
    return numbers, pair.new_empty(summary.SIGNAL_NUMBERS, candidates)


@torch.library.register_fake("percbal::group_coupling")
def _(
    outcome: Tensor, perception: Tensor, reasoning: Tensor | None, order: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    shape = (1 + (reasoning is not None), outcome.shape[1], offsets.shape[0] - 1)
    correlation = outcome.new_empty(shape, dtype=torch.float64)
    return correlation, correlation.new_empty(shape, dtype=torch.int64)


@torch.library.register_fake("percbal::group_advantage")
def _(outcome: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return outcome.new_empty(outcome.shape), outcome.new_empty(outcome.shape)
