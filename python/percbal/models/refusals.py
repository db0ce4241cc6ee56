"""What neither trainer can work with, in one sentence that says what to pass instead."""

from __future__ import annotations

from typing import Any

from transformers import ProcessorMixin

# model_type -> why neither trainer nor diagnosis can feed it, and what to do.
FAMILIES = {
    "paligemma": "has no chat template and reads its whole prompt in both directions, which takes "
    "token types that TRL's batches do not have; take another model, such as Gemma 3",
    "mllama": "reads its picture by cross attention, whose inputs (aspect_ratio_ids, "
    "cross_attention_mask) end with the prompt in TRL's batches; take a model that has the "
    "picture among its tokens, such as Qwen3-VL",
}


def check_arguments(args: Any, config: type, model: Any, processor: Any, adapters: Any) -> None:
    """What a trainer is made of, before TRL looks at it; a model by name is loaded safely."""
    refuse_other_arguments(args, config, processor)
    refuse_device_means(args)
    refuse_family(type(processor).__name__.removesuffix("Processor").lower(), "the model")
    refuse_prompt_learning(model, adapters)
    load_safetensors_alone(args, model)


def refuse_other_arguments(args: Any, config: type, processor: Any) -> None:
    """TypeError for a config of another trainer, and for a tokenizer in place of a processor."""
    if not isinstance(args, config):
        raise TypeError(
            f"args must be a {config.__name__}, which takes all options of "
            f"{config.__mro__[1].__name__} and its own, got {type(args).__name__}"
        )
    if not isinstance(processor, ProcessorMixin):
        raise TypeError(
            "processing_class must be the processor of a vision-language model, as load_vlm and "
            f"AutoProcessor.from_pretrained return it, got {type(processor).__name__}"
        )


def refuse_device_means(args: Any) -> None:
    """ValueError for means over each device's own tokens, where there are several devices."""
    name = "average_tokens_across_devices"
    default = type(args).__dataclass_fields__[name].default
    if args.world_size > 1 and getattr(args, name) is False and default is True:
        raise ValueError(
            f"{name}=False would change nothing: counts of tokens are those of all devices"
        )


def refuse_family(model_type: str, name: str) -> None:
    """ValueError for the families that TRL's batches do not fit."""
    if model_type in FAMILIES:
        raise ValueError(f"{name} is of the family {model_type}: it {FAMILIES[model_type]}")


def load_safetensors_alone(args: Any, model: Any) -> None:
    """For a model by name, which TRL loads: no pickled weights, unless the config asks for them."""
    if isinstance(model, str):
        args.model_init_kwargs = {"use_safetensors": True, **(args.model_init_kwargs or {})}


def refuse_prompt_learning(model: Any, adapters: Any) -> None:
    """ValueError for PEFT's adapters that put virtual tokens before the prompt.

    adapters: a ``peft_config``, or None. model: perhaps a ``PeftModel`` already.
    """
    own = getattr(model, "peft_config", None)
    for config in (adapters, *(own.values() if isinstance(own, dict) else ())):
        if getattr(config, "is_prompt_learning", False):
            raise ValueError(
                f"{type(config).__name__} is not supported: its virtual tokens stand before the "
                "prompt, so logits and segments would no longer be of the same tokens; use LoRA"
            )
