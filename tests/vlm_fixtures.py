"""Tiny vision-language models and examples for the tests of trainers and diagnosis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor

from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm, initialise
from percbal.sft.collate import SegmentCollator
from percbal.sft.encoded import EncodedDataset, encode_examples
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer

WORDS = [f"w{i}" for i in range(24)]
TAG_WORDS = "<perception> </perception> <reasoning> </reasoning> <answer> </answer>".split()
QWEN_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class ImageOnlyQwenProcessor(Qwen2_5_VLProcessor):
    """The video processor needs torchvision, which a CPU build of torch may lack."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str) -> None:
        super().__init__(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=None,
            chat_template=chat_template,
        )


def tiny_llava(directory: Path, **options: Any) -> Path:
    sizes = {"image_size": 32, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
    return build_tiny_vlm(directory, ["look", *TAG_WORDS, *WORDS], **(sizes | options))


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on our own words, so that tokens cross word borders as real ones."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = [example_at(i)["completion"][0]["content"] for i in range(20)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=400, special_tokens=QWEN_SPECIAL, initial_alphabet=alphabet),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )


def tiny_qwen() -> tuple[Qwen2_5_VLForConditionalGeneration, ImageOnlyQwenProcessor]:
    """A model class with ``accepts_loss_kwargs = False``, which Trainer divides wrongly."""
    tokenizer = byte_tokenizer()
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("vision_start", "vision_end", "image_pad", "video_pad")
    }
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 3, 3],
            },
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of what initialise leaves alone, the patch embedding
        model = Qwen2_5_VLForConditionalGeneration(config)
    initialise(model, std=0.1, seed=0)
    image_processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 56 * 56}
    )
    return model, ImageOnlyQwenProcessor(image_processor, tokenizer, QWEN_TEMPLATE)


def example_at(index: int, *, perception: int | None = None, reasoning: int | None = None) -> dict:
    """A tagged example whose segments have unequal lengths that change with the index."""
    rng = np.random.default_rng(index)
    n_p = 2 + 3 * (index % 4) if perception is None else perception
    n_r = 4 + 5 * (index % 3) if reasoning is None else reasoning
    image = Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).convert("RGB")
    words = [" ".join(rng.choice(WORDS, size)) for size in (n_p, n_r)]
    response = (
        f"<perception> {words[0]} </perception> <reasoning> {words[1]} </reasoning> "
        f"<answer> {rng.choice(WORDS)} </answer>"
    )
    return {
        "image": image,
        "prompt": [{"role": "user", "content": "look"}],
        "completion": [{"role": "assistant", "content": response}],
    }


def dataset(examples: list[dict]) -> Dataset:
    return Dataset.from_list(examples).cast_column("image", ImageFeature())


def encoded(processor: Any, examples: list[dict]) -> EncodedDataset:
    return encode_examples(examples, SegmentCollator(processor))


def model_and_data(kind: str, directory: Path, examples: list[dict]) -> tuple[Any, Any, Any]:
    """Model, processor and encoded examples of a "llava" or a "qwen"."""
    model, processor = load_vlm(tiny_llava(directory)) if kind == "llava" else tiny_qwen()
    return model, processor, encoded(processor, examples)


def history(trainer: Any, name: str) -> list[float]:
    """What a trainer logged under a name."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def batch(processor: Any, examples: list[dict]) -> dict[str, Any]:
    """What a model takes of these examples."""
    inputs = SegmentCollator(processor)(examples)
    return {k: v for k, v in inputs.items() if k not in ("labels", "segment_ids")}


SGD_ON_CPU = {  # plain SGD in float32, so that two runs can be compared to rounding error
    "optim": "sgd",
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "logging_steps": 1,
    "save_strategy": "no",
    "bf16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
    "train_sampling_strategy": "sequential",
    "max_length": None,
}


def config(out: Path, **options: Any) -> BalancedSFTConfig:
    return BalancedSFTConfig(str(out), **(SGD_ON_CPU | options))


def train(model: Any, processor: Any, data: Any, args: BalancedSFTConfig) -> BalancedSFTTrainer:
    trainer = BalancedSFTTrainer(model, args, train_dataset=data, processing_class=processor)
    trainer.train()
    return trainer


def largest_difference(ours: torch.nn.Module, theirs: torch.nn.Module) -> float:
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)
