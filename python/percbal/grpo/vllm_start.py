"""vLLM in the trainer's process starts from a whole model, and then has the policy's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from percbal.models.lora import below_adapters


@contextmanager
def starts_below_adapters(model: Any, on_top: Any) -> Iterator[None]:
    """Meanwhile a model with merged adapters is called as the one below them.

    TRL starts vLLM by ``model.name_or_path``, and a folder of adapters has no config.json.
    on_top: the ``peft_config`` of adapters that the model gets meanwhile, or None; they still
    belong to both.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    below = None if isinstance(inner, str) else below_adapters(inner)
    if below is None:
        yield
        return
    own = inner.name_or_path
    inner.name_or_path = below
    try:
        yield
    finally:
        inner.name_or_path = own
    if on_top is not None:
        on_top.base_model_name_or_path = own
