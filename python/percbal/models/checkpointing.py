"""One option, two names: transformers 5.23 renamed gradient to activation checkpointing."""

from __future__ import annotations

from typing import Any

NAMES = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}


class CheckpointingNames:
    """For a config of TRL, listed before it: the old names stand for the new ones, if there are.

    TRL itself sets the old one by default, so that every run would warn of it.
    """

    def __post_init__(self) -> None:
        config: Any = self
        for old, new in NAMES.items():
            if getattr(config, new, config) is None:  # it exists, and nobody set it
                setattr(config, new, getattr(config, old))
        super().__post_init__()  # type: ignore[misc]
