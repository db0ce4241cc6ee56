"""Which implementation of attention a loaded model computes with."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from percbal.models.weights import first_line

FLASH = "flash_attention_2"


def set_attention(model: PreTrainedModel, wanted: str = "auto") -> str:
    """Sets it, and returns the name of what the language model uses now.

    model: on its device, in its dtype.
    wanted: a name that transformers knows. "auto" is FlashAttention where it is installed and
        computes this model (on CUDA, in 16 bits, a family that has it), else what the model was
        loaded with.
    Raises ValueError for one that this model or this machine does not have.
    """
    why = _why_no_flash(model)
    if wanted == "auto" and why is None:
        wanted = FLASH
    elif wanted == FLASH and why is not None:
        raise ValueError(f"attention {FLASH} cannot be used: {why}")
    if wanted != "auto":
        try:
            model.set_attn_implementation(wanted)
        except (ValueError, ImportError) as problem:
            what = first_line(problem)
            raise ValueError(f"attention {wanted} cannot be used: {what}") from None
    return str(model.config.get_text_config()._attn_implementation)


def uses_flash(model: PreTrainedModel) -> bool:
    return "flash" in str(model.config.get_text_config()._attn_implementation)


def _why_no_flash(model: PreTrainedModel) -> str | None:
    if not is_flash_attn_2_available():
        return 'flash-attn is not installed, or there is no GPU: pip install "percbal[flash]"'
    if model.device.type != "cuda":
        return f"the model is on {model.device.type}, not on CUDA"
    if model.dtype not in (torch.float16, torch.bfloat16):
        return f"it computes in 16 bits, and the weights are {str(model.dtype).split('.')[-1]}"
    if not all(m._supports_flash_attn for m in model.modules() if isinstance(m, PreTrainedModel)):
        return f"{type(model).__name__} has a part that it does not compute"
    return None
