"""percbal: find and fix the perception-reasoning imbalance of vision-language models."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {  # public name -> the module that defines it; imported on first use
    "BalancedGRPOConfig": "grpo_config",
    "BalancedGRPOTrainer": "grpo",
    "BalancedSFTConfig": "sft_config",
    "BalancedSFTTrainer": "sft",
    "Diagnosis": "diagnose",
    "EncodedDataset": "collate",
    "NGDiff": "balance",
    "SegmentCollator": "collate",
    "Tags": "segments",
    "build_tiny_vlm": "tinyvlm",
    "encode_examples": "collate",
    "load_vlm": "loading",
    "paired_difference": "metrics",
    "wilson_interval": "metrics",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
