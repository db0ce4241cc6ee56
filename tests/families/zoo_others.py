"""Tiny checkpoints of InternVL, SmolVLM, Idefics3, Mistral 3 and Llama 3.2 Vision."""

from __future__ import annotations

import json
from pathlib import Path

import transformers as hf
import zoo_templates as templates
from zoo_parts import VISION, text_options, write
from zoo_tokenizers import byte_level_with_bos, qwen_like

ROWS = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]


def internvl(directory: Path) -> Path:
    """InternVL 3 in the format of transformers, on Qwen2: an image in tiles and a thumbnail."""
    special = "<|im_start|> <|im_end|> <video> <img> </img> <IMG_CONTEXT>".split()
    tokenizer = qwen_like(
        hf.Qwen2Tokenizer,
        special,
        eos_token="<|im_end|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(**VISION),
        text_config=hf.Qwen2Config(**text_options(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    size = {"height": 32, "width": 32}
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(size=size, max_patches=3),
        tokenizer=tokenizer,
        video_processor=hf.InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=templates.INTERNVL,
    )
    return write(directory, hf.InternVLForConditionalGeneration, config, processor)


def internvl_original(directory: Path) -> Path:
    """What OpenGVLab/InternVL3-1B has in its config.json: a model of code on the hub."""
    name = "OpenGVLab/InternVL3-1B"
    config = {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        "auto_map": {
            "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
            "AutoModel": "modeling_internvl_chat.InternVLChatModel",
        },
        "_name_or_path": name,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "configuration_internvl_chat.py").write_text("raise SystemExit('ran')\n")
    return directory


def smolvlm(directory: Path) -> Path:
    """SmolVLM 2: an image in tiles with their places, on SmolLM2."""
    special = [
        *"<|im_start|> <|im_end|> <fake_token_around_image> <global-img> <image>".split(),
        *("<end_of_utterance>", *ROWS),
    ]
    tokenizer = qwen_like(
        hf.GPT2Tokenizer,
        special,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        extra_special_tokens={
            "fake_image_token": "<fake_token_around_image>",
            "image_token": "<image>",
            "end_of_utterance_token": "<end_of_utterance>",
            "global_image_token": "<global-img>",
        },
    )
    config = hf.SmolVLMConfig(
        vision_config=VISION,
        text_config=hf.LlamaConfig(**text_options(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
    )
    processor = hf.SmolVLMProcessor(
        image_processor=hf.SmolVLMImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tokenizer,
        video_processor=hf.SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=templates.from_trl("smolvlm"),
    )
    return write(directory, hf.SmolVLMForConditionalGeneration, config, processor)


def idefics3(directory: Path) -> Path:
    """Idefics3 on Llama 3: its tokenizer adds <|begin_of_text|>, and so does its template."""
    special = [
        *"<|end_of_text|> <|eot_id|> <|finetune_right_pad_id|> <fake_token_around_image>".split(),
        *("<image>", "<end_of_utterance>", "<global-img>", *ROWS),
    ]
    tokenizer = byte_level_with_bos(
        hf.PreTrainedTokenizerFast,
        "<|begin_of_text|>",
        special,
        eos_token="<end_of_utterance>",
        pad_token="<|finetune_right_pad_id|>",
    )
    config = hf.Idefics3Config(
        vision_config=VISION,
        text_config=hf.LlamaConfig(**text_options(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
    )
    processor = hf.Idefics3Processor(
        image_processor=hf.Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=templates.from_trl("idefics3"),
    )
    return write(directory, hf.Idefics3ForConditionalGeneration, config, processor)


def mistral3(directory: Path) -> Path:
    """Mistral Small 3.1: Pixtral's tower takes images of any shape; a Tekken-like tokenizer."""
    special = "<unk> </s> [INST] [/INST] [IMG] <pad> [IMG_BREAK] [IMG_END]".split()
    tokenizer = byte_level_with_bos(
        hf.PreTrainedTokenizerFast,
        "<s>",
        special,
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    config = hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(**VISION | {"image_size": 64}),
        text_config=hf.MistralConfig(**text_options(tokenizer), head_dim=16, sliding_window=None),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )
    processor = hf.PixtralProcessor(
        image_processor=hf.PixtralImageProcessor(size={"longest_edge": 64}, patch_size=8),
        tokenizer=tokenizer,
        patch_size=8,
        spatial_merge_size=2,
        chat_template=templates.MISTRAL3,
    )
    return write(directory, hf.Mistral3ForConditionalGeneration, config, processor)


def mllama(directory: Path) -> Path:
    """Llama 3.2 Vision: the picture is read by cross attention, not by tokens in the text."""
    special = """
        <|end_of_text|> <|eot_id|> <|start_header_id|> <|end_header_id|> <|python_tag|>
        <|finetune_right_pad_id|> <|image|>
    """.split()
    tokenizer = byte_level_with_bos(
        hf.PreTrainedTokenizerFast,
        "<|begin_of_text|>",
        special,
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
    )
    config = hf.MllamaConfig(
        vision_config=hf.models.mllama.MllamaVisionConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_global_layers=1,
            attention_heads=2,
            intermediate_size=64,
            vision_output_dim=64,
            image_size=32,
            patch_size=8,
            intermediate_layers_indices=[0],
        ),
        text_config=hf.models.mllama.MllamaTextConfig(
            **text_options(tokenizer),
            cross_attention_layers=[1],
            rope_parameters={"rope_type": "default", "rope_theta": 5e5},
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    processor = hf.MllamaProcessor(
        image_processor=hf.MllamaImageProcessor(
            size={"height": 32, "width": 32}, max_image_tiles=4
        ),
        tokenizer=tokenizer,
        chat_template=templates.MLLAMA,
    )
    return write(directory, hf.MllamaForConditionalGeneration, config, processor)
