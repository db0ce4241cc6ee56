"""Modules under the dotted paths that they had at first: until 0.2 these import, with a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

KEPT = {"diagnose": "evaluate.diagnose"}  # public under both paths
MOVED = {  # without "percbal."; to go with 0.2
    "alpha": "objective.alpha",
    "balance": "objective.balance",
    "checkpoint": "models.checkpoint",
    "collate": "sft.collate",
    "coupling": "cli.coupling",
    "credit": "objective.credit",
    "generated_segments": "segments.sampled",
    "grpo_config": "grpo.config",
    "loading": "models.loading",
    "lora": "models.lora",
    "metrics": "evaluate.intervals",
    "output_head": "models.output_head",
    "presets": "study.presets",
    "refusals": "sft.refusals",
    "reward_failures": "grpo.failures",
    "reward_guard": "grpo.guard",
    "rl_evaluate": "evaluate.sampled",
    "rl_presets": "study.presets",
    "rollout_files": "evaluate.rollout_files",
    "sampling": "sft.order",
    "sft_config": "sft.config",
    "sft_metrics": "sft.metrics",
    "tinyvlm": "models.tiny",
}


class _Finder(MetaPathFinder, Loader):
    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        known = package == "percbal" and (old in MOVED or old in KEPT)
        return ModuleSpec(name, self) if known else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        old = spec.name.partition(".")[2]
        new = f"percbal.{MOVED.get(old) or KEPT[old]}"
        if old in MOVED:
            warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = import_module(new)
        self._specs[module.__name__] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run under its own name, and keeps it."""
        module.__spec__ = self._specs.pop(module.__name__)


sys.meta_path.append(_Finder())
