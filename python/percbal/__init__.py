"""percbal: find and fix the perception-reasoning imbalance of vision-language models."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from percbal import moved  # noqa: F401  old dotted paths

_HOME = {  # public name -> the module that defines it; imported on first use
    "BalancedGRPOConfig": "grpo.config",
    "BalancedGRPOTrainer": "grpo.trainer",
    "BalancedSFTConfig": "sft.config",
    "BalancedSFTTrainer": "sft.trainer",
    "Diagnosis": "evaluate.diagnosis",
    "EncodedDataset": "sft.encoded",
    "NGDiff": "objective.ngdiff",
    "SegmentCollator": "sft.collate",
    "Tags": "responses.spans",
    "build_tiny_vlm": "models.tiny",
    "encode_examples": "sft.encoded",
    "load_vlm": "models.loading",
    "paired_difference": "evaluate.intervals",
    "read_dataset": "data.reading",
    "wilson_interval": "evaluate.intervals",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
