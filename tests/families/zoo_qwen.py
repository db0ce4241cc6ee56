"""Tiny checkpoints of the Qwen families."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import transformers as hf
import zoo_templates as templates
from zoo_parts import HIDDEN, text_options, write
from zoo_tokenizers import qwen_like

SPECIAL = """
    <|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|>
    <|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|>
    <|image_pad|> <|video_pad|>
""".split()
THINK = ["<think>", "</think>"]  # ordinary words to Qwen3's tokenizers: decoding keeps them


def _tokenizer(kind: type = hf.Qwen2Tokenizer, think: bool = False) -> Any:
    tokenizer = qwen_like(kind, SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    if think:
        tokenizer.add_tokens(THINK)
    return tokenizer


def _token_ids(tokenizer: Any) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _image_processor(patch: int, **options: Any) -> Any:
    """Between 4 and 16 merged patches of twice that side."""
    side = 2 * patch
    size = {"shortest_edge": 4 * side**2, "longest_edge": 16 * side**2}
    return hf.Qwen2VLImageProcessor(size=size, patch_size=patch, **options)


def qwen2_vl(directory: Path) -> Path:
    tokenizer = _tokenizer()
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    config = hf.Qwen2VLConfig(
        text_config=text_options(tokenizer, rope_parameters=rope),
        vision_config={"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": HIDDEN},
        **_token_ids(tokenizer),
    )
    processor = hf.Qwen2VLProcessor(
        image_processor=_image_processor(14),
        tokenizer=tokenizer,
        video_processor=hf.Qwen2VLVideoProcessor(),
        chat_template=templates.from_trl("qwen2_5_vl"),  # Qwen2-VL's is the same string
    )
    return write(directory, hf.Qwen2VLForConditionalGeneration, config, processor)


def qwen2_5_vl(directory: Path) -> Path:
    tokenizer = _tokenizer()
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    config = hf.Qwen2_5_VLConfig(
        text_config=text_options(tokenizer, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        **_token_ids(tokenizer),
    )
    processor = hf.Qwen2_5_VLProcessor(
        image_processor=_image_processor(14),
        tokenizer=tokenizer,
        video_processor=hf.Qwen2VLVideoProcessor(),
        chat_template=templates.from_trl("qwen2_5_vl"),
    )
    return write(directory, hf.Qwen2_5_VLForConditionalGeneration, config, processor)


VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": HIDDEN,
    "num_position_embeddings": 64,
}


def _processor3(tokenizer: Any, template: str) -> Any:
    return hf.Qwen3VLProcessor(
        image_processor=_image_processor(16, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        tokenizer=tokenizer,
        video_processor=hf.Qwen3VLVideoProcessor(),
        chat_template=template,
    )


def qwen3_vl(directory: Path, *, tied: bool = False, thinking: bool = False) -> Path:
    """Qwen3-VL; image features enter the first language layers too (deepstack)."""
    tokenizer = _tokenizer(think=True)
    rope = {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    }
    config = hf.Qwen3VLConfig(
        text_config=text_options(tokenizer, head_dim=16, rope_parameters=rope)
        | {"tie_word_embeddings": tied},
        vision_config=VISION | {"deepstack_visual_indexes": [0]},
        tie_word_embeddings=tied,
        **_token_ids(tokenizer),
    )
    template = templates.QWEN3_VL_THINKING if thinking else templates.from_trl("qwen3_vl")
    processor = _processor3(tokenizer, template)
    return write(directory, hf.Qwen3VLForConditionalGeneration, config, processor)


qwen3_vl_tied = partial(qwen3_vl, tied=True)
qwen3_vl_thinking = partial(qwen3_vl, thinking=True)


def qwen3_5(directory: Path, *, template: str = "qwen3_5_think") -> Path:
    """Qwen3.5: one layer of linear attention, one of full attention."""
    tokenizer = _tokenizer(hf.Qwen3_5Tokenizer, think=True)
    rope = {
        "rope_type": "default",
        "rope_theta": 1e7,
        "partial_rotary_factor": 0.25,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    }
    config = hf.Qwen3_5Config(
        text_config=text_options(tokenizer, head_dim=32, rope_parameters=rope)
        | {
            "layer_types": ["linear_attention", "full_attention"],
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
        vision_config=VISION,
        **_token_ids(tokenizer),
    )
    processor = _processor3(tokenizer, templates.from_trl(template))
    return write(directory, hf.Qwen3_5ForConditionalGeneration, config, processor)


qwen3_5_nothink = partial(qwen3_5, template="qwen3_5_nothink")
