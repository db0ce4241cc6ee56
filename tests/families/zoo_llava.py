"""Tiny checkpoints of the LLaVA families, PaliGemma 2 and Gemma 3."""

from __future__ import annotations

from pathlib import Path

import transformers as hf
import zoo_templates as templates
from zoo_parts import HIDDEN, VISION, text_options, write
from zoo_tokenizers import gemma_like, llama_like, qwen_like

PINPOINTS = [[32, 64], [64, 32], [64, 64]]
GEMMA = ["<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"]


def llava(directory: Path) -> Path:
    """LLaVA-1.5: CLIP with a class token to drop, Llama, the tokenizer adds <s> and a space."""
    tokenizer = llama_like(["<pad>", "<image>"], pad_token="<pad>", padding_side="left")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=hf.LlamaConfig(**text_options(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    processor = hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=templates.LLAVA,
    )
    return write(directory, hf.LlavaForConditionalGeneration, config, processor)


def llava_next(directory: Path) -> Path:
    """LLaVA-Next on Mistral: an image in tiles, of a number that depends on its shape."""
    tokenizer = llama_like(["<pad>", "<image>"], pad_token="<pad>", padding_side="left")
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=hf.MistralConfig(**text_options(tokenizer), sliding_window=None),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=16,
    )
    processor = hf.LlavaNextProcessor(
        image_processor=hf.LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size=32, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=templates.from_trl("llava_next"),
    )
    return write(directory, hf.LlavaNextForConditionalGeneration, config, processor)


def llava_onevision(directory: Path) -> Path:
    """LLaVA-OneVision on Qwen2."""
    special = ["<|im_start|>", "<|im_end|>", "<image>", "<video>"]
    tokenizer = qwen_like(hf.Qwen2Tokenizer, special, eos_token="<|im_end|>")
    image, video = tokenizer.convert_tokens_to_ids(["<image>", "<video>"])
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=hf.Qwen2Config(**text_options(tokenizer)),
        image_token_index=image,
        video_token_index=video,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=PINPOINTS,
    )
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(
            size={"height": 32, "width": 32}, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer=tokenizer,
        video_processor=hf.LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=templates.LLAVA_ONEVISION,
    )
    return write(directory, hf.LlavaOnevisionForConditionalGeneration, config, processor)


def gemma3(directory: Path) -> Path:
    """Gemma 3: an image is four soft tokens; its processor names the token before them."""
    tokenizer = gemma_like(
        [*GEMMA, "<image_soft_token>"],
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    boi, eoi, image = tokenizer.convert_tokens_to_ids([*GEMMA[2:], "<image_soft_token>"])
    end = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=hf.Gemma3TextConfig(
            **text_options(tokenizer, head_dim=16, eos_token_id=end),
            layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=16,
        ),
        boi_token_index=boi,
        eoi_token_index=eoi,
        image_token_index=image,
        mm_tokens_per_image=4,
    )
    processor = hf.Gemma3Processor(
        image_processor=hf.Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=templates.from_trl("gemma3"),
    )
    return write(directory, hf.Gemma3ForConditionalGeneration, config, processor)


def paligemma2(directory: Path) -> Path:
    """PaliGemma 2: it has no chat template, and attends to the whole prompt both ways."""
    tokenizer = gemma_like(["<image>"], extra_special_tokens={"image_token": "<image>"})
    image_processor = hf.SiglipImageProcessor(size={"height": 32, "width": 32})
    image_processor.image_seq_length = 16
    processor = hf.PaliGemmaProcessor(image_processor, tokenizer)  # it adds <loc> and <seg> tokens
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=hf.Gemma2Config(
            **text_options(tokenizer, head_dim=16), query_pre_attn_scalar=16
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=HIDDEN,
        hidden_size=HIDDEN,
    )
    return write(directory, hf.PaliGemmaForConditionalGeneration, config, processor)
