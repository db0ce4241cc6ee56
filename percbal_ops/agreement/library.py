"""Schema and shape under tracing of the operator behind api.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from percbal_ops.agreement import reference

SCHEMAS = {
    "group_agreement": (
        "(Tensor tokens, Tensor offsets, Tensor order, Tensor group_offsets, int kind, "
        "int longest) -> Tensor"
    ),
}
_library = torch.library.Library("percbal", "FRAGMENT")
for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema)
    _library.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")


@torch.library.register_fake("percbal::group_agreement")
def _(tokens: Tensor, offsets: Tensor, *rest: Any) -> Tensor:
    return tokens.new_empty(offsets.shape[0] - 1, dtype=torch.float32)
