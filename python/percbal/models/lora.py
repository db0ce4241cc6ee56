"""Low-rank adapters for the command-line trainers; the adapters themselves are PEFT's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass
class LoRAArguments:
    """``lora_r`` turns low-rank adapters on; only they are trained and saved then."""

    HELP_GROUP: ClassVar[str] = "adapters"

    lora_r: int | None = field(
        default=None, metadata={"help": "Rank of low-rank adapters; none: train all weights."}
    )
    lora_alpha: int = field(default=32, metadata={"help": "Their scale is lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})
    lora_target: list[str] = field(
        default_factory=lambda: ["all-linear"],
        metadata={"help": "Names of the modules to adapt, or all-linear; never the output head."},
    )

    def config(self) -> Any:
        """A ``peft.LoraConfig``, or None where all weights are to be trained.

        Raises ValueError if PEFT is not installed, for a rank below 1, and for options without one.
        """
        if self.lora_r is None:
            if self != LoRAArguments():
                raise ValueError("lora_alpha, lora_dropout and lora_target need lora_r, the rank")
            return None
        if self.lora_r < 1:
            raise ValueError(f"lora_r must be at least 1, got {self.lora_r}")
        every = self.lora_target == ["all-linear"]
        return _peft().LoraConfig(
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules="all-linear" if every else self.lora_target,
            task_type="CAUSAL_LM",
        )


def base_of(config: Path) -> str:
    """The model that adapters belong to, by their adapter_config.json.

    Raises ValueError where they do not say.
    """
    try:
        base = json.loads(config.read_text())["base_model_name_or_path"]
    except (ValueError, KeyError):
        base = None
    if not base:
        raise ValueError(f"{config} does not name the model that its adapters belong to")
    return str(base)


def merged(model: Any, adapters: str) -> Any:
    """The model with the adapters of a directory or a hub name added to its weights, which train.

    Raises ValueError for adapters that are no weights but virtual tokens.
    """
    config = _peft().PeftConfig.from_pretrained(adapters)
    if config.is_prompt_learning:
        raise ValueError(
            f"{adapters} holds virtual tokens ({config.peft_type.value}), which cannot be merged "
            "into a model; train it with LoRA instead"
        )
    trains = {name: weight.requires_grad for name, weight in model.named_parameters()}
    whole = _peft().PeftModel.from_pretrained(model, adapters).merge_and_unload()
    for name, weight in whole.named_parameters():  # PEFT has frozen them for its adapters' sake
        weight.requires_grad_(trains[name])
    return whole


def below_adapters(model: Any) -> str | None:
    """The name of the model that ``load_vlm`` has merged adapters into; None if it has not.

    ``name_or_path`` of such a model is theirs, as adapters on top of it belong to both.
    """
    base = model.config._name_or_path
    return None if model.name_or_path == base else base


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise ValueError('low-rank adapters need PEFT: pip install "percbal[lora]"') from None
    return peft
