"""What the builders share: sizes, seeded weights, and writing a checkpoint as a user's would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from percbal.models.tiny import initialise

HIDDEN, LAYERS, HEADS = 64, 2, 4  # of the language models
VISION = {  # of a CLIP, SigLIP or Idefics tower: 4 x 4 patches
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def text_options(tokenizer: PreTrainedTokenizerBase, **more: Any) -> dict[str, Any]:
    """Of a language model's config; as in real checkpoints, the table has rows without a token."""
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    } | more


def write(directory: Path, kind: type, config: Any, processor: Any, seed: int = 0) -> Path:
    """Save a model of that class with seeded weights, and its processor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
        for weight in model.parameters():  # some matrices start at zero, which no trained one is
            if weight.dim() > 1 and not weight.any():
                torch.nn.init.normal_(weight, std=0.1)
    initialise(model, std=None, seed=seed)  # wide enough to learn from in some hundred steps
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
