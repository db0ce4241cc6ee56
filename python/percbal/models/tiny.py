"""A vision-language model small enough to train from scratch on one core, and quite real.

It is a ``LlavaForConditionalGeneration`` (SigLIP tower, two-layer projector, Llama) with a fast
word-level tokenizer and a processor, written to a directory like any published model, and loaded
back by ``AutoModelForImageTextToText`` and ``AutoProcessor``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>", "<image>")

# One turn per line of thought: prompt "<bos> <image>query words", then the response and <eos>.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<bos>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}<eos>{% else %} {% endif %}"
    "{% endfor %}"
)


def build_tiny_vlm(
    out_dir: str | Path,
    words: Iterable[str],
    *,
    image_size: int = 64,
    patch_size: int = 16,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    mlp: int = 128,
    vision_hidden: int | None = None,
    vision_layers: int | None = None,
    tie: bool = False,
    init_std: float | None = None,
    pixel_stats: tuple[float, float] = (0.5, 0.5),
    max_positions: int = 1024,
    seed: int = 0,
) -> Path:
    """Write a freshly initialised tiny VLM to ``out_dir`` and return the path.

    words: every whitespace-separated word of queries and responses, tags included; each becomes
        one ordinary token that decoding does not skip. Unknown words become <unk>.
    image_size, patch_size: pixels; images of another size are resized to a square.
    vision_hidden, vision_layers: of the vision tower; as in the language model if None.
    tie: share the input embedding and the head.
    init_std: standard deviation of every matrix; None is 0.8 / sqrt(width). The usual 0.02 keeps
        so narrow a model on a plateau on which it does not learn to see.
    pixel_stats: mean and standard deviation of the pixels in [0, 1] (see ``pixel_statistics``):
        the model sees standardised pixels, without which it learns to see much later.
    max_positions: tokens in a sequence, image included.
    """
    path = Path(out_dir)
    tokenizer = build_word_tokenizer(words)
    config = LlavaConfig(
        vision_config=_vision_config(
            image_size, patch_size, vision_hidden or hidden, vision_layers or layers, heads
        ),
        text_config=_text_config(tokenizer, hidden, layers, heads, mlp, max_positions, tie),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=(image_size // patch_size) ** 2,
        vision_feature_select_strategy="full",  # SigLIP has no class token to drop
        vision_feature_layer=-1,
        tie_word_embeddings=tie,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlavaForConditionalGeneration(config)
    initialise(model, std=init_std, seed=seed)
    model.save_pretrained(path)
    processor = LlavaProcessor(
        image_processor=_image_processor(image_size, pixel_stats),
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(path)
    return path


def _vision_config(
    image_size: int, patch_size: int, hidden: int, layers: int, heads: int
) -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=image_size,
        patch_size=patch_size,
        vision_use_head=False,  # a pooled summary that LLaVA does not read
    )


def _text_config(
    tokenizer: PreTrainedTokenizerFast,
    hidden: int,
    layers: int,
    heads: int,
    mlp: int,
    max_positions: int,
    tie: bool,
) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=tie,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def build_word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A fast tokenizer with one token per word, split at whitespace; special tokens come first."""
    vocabulary = list(dict.fromkeys((*SPECIAL_TOKENS, *words)))
    spaced = [word for word in vocabulary if len(word.split()) != 1]
    if spaced:
        raise ValueError(f"a word is one piece of text without whitespace, got {spaced[0]!r}")
    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens={"image_token": "<image>"},
    )


def initialise(model: nn.Module, *, std: float | None, seed: int) -> None:
    """Draw every matrix from a normal distribution and set biases to 0, in place.

    std: None is 0.8 / sqrt(width), width the matrix's number of outputs in the trunk. The patch
    embedding's is divided by its input channels: a grey image repeats itself in each of them.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if not isinstance(module, (nn.Linear, nn.Embedding, nn.Conv2d)):
            continue
        width = _trunk_width(module)
        scale = 0.8 / math.sqrt(width) if std is None else std
        if isinstance(module, nn.Conv2d):
            scale /= module.in_channels
        with torch.no_grad():
            module.weight.normal_(0.0, scale, generator=generator)
            if not isinstance(module, nn.Embedding) and module.bias is not None:
                module.bias.zero_()


def pixel_statistics(images: Sequence[Image.Image]) -> tuple[float, float]:
    """Mean and standard deviation of the pixels of some images, on the scale [0, 1]."""
    pixels = np.concatenate([np.asarray(image.convert("L")).reshape(-1) for image in images]) / 255
    return float(pixels.mean()), float(pixels.std())


def _trunk_width(module: nn.Linear | nn.Embedding | nn.Conv2d) -> int:
    """The width of the residual stream that a matrix reads or writes."""
    if isinstance(module, nn.Embedding):
        return module.embedding_dim
    if isinstance(module, nn.Conv2d):
        return module.out_channels
    return min(module.in_features, module.out_features)


def _image_processor(size: int, stats: tuple[float, float]) -> SiglipImageProcessorPil:
    mean, std = stats
    return SiglipImageProcessorPil(
        size={"height": size, "width": size}, image_mean=[mean] * 3, image_std=[std] * 3
    )
