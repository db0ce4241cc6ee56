"""Facts about the tiny model as a user's model directory, and about loading such directories."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import vlm_fixtures as vlm
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    BertConfig,
    LlavaForConditionalGeneration,
)

from percbal.models.loading import LoadingError, load_processor, load_vlm
from percbal.models.tiny import build_tiny_vlm, build_word_tokenizer, pixel_statistics

TAGS = "<perception> </perception> <reasoning> </reasoning> <answer> </answer>".split()
WORDS = ["look", *TAGS, "a", "b", "r1c2=3"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return build_tiny_vlm(tmp_path_factory.mktemp("tiny"), WORDS, image_size=32, hidden=32)


@pytest.fixture(scope="module")
def loaded(directory):
    return load_vlm(directory)


def test_directory_loads_with_the_auto_classes(directory):
    model = AutoModelForImageTextToText.from_pretrained(directory)
    assert isinstance(model, LlavaForConditionalGeneration)
    assert AutoProcessor.from_pretrained(directory).tokenizer.is_fast


def test_tags_are_ordinary_words_that_decoding_keeps(loaded):
    tokenizer = loaded[1].tokenizer
    text = "<perception> a r1c2=3 </perception> <reasoning> b </reasoning> <answer> a </answer>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.split())
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text


def test_a_prompt_holds_one_token_per_patch(loaded):
    model, processor = loaded
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look"}]}]
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    image = Image.new("RGB", (50, 70))
    inputs = processor(images=[image], text=[prompt], return_tensors="pt", add_special_tokens=False)
    names = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    assert names == ["<bos>", *["<image>"] * 4, "look"]
    assert inputs["pixel_values"].shape == (1, 3, 32, 32)
    assert model(**inputs).logits.shape == (1, 6, len(processor.tokenizer))


def test_the_image_reaches_the_logits_and_every_used_matrix_gets_a_gradient(loaded):
    model, processor = loaded
    data = vlm.encoded(
        processor,
        [
            {
                "image": Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)),
                "prompt": [{"role": "user", "content": "look"}],
                "completion": [{"role": "assistant", "content": "<perception> a </perception> b"}],
            }
        ],
    )
    inputs = {k: v if v.ndim > 1 else v[None] for k, v in data[0].items() if k != "segment_ids"}
    model(**inputs).loss.backward()
    silent = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
    assert all("post_layernorm" in name or "k_proj.bias" in name for name in silent), silent


@pytest.mark.parametrize(("init_std", "expected"), [(None, 0.8 / math.sqrt(32)), (0.02, 0.02)])
def test_every_matrix_has_the_initial_spread(tmp_path, init_std, expected):
    path = build_tiny_vlm(tmp_path, WORDS, image_size=32, hidden=32, init_std=init_std)
    for name, parameter in load_vlm(path)[0].state_dict().items():
        if parameter.ndim == 2 and parameter.numel() > 500:
            assert float(parameter.std()) == pytest.approx(expected, rel=0.1), name
        if parameter.ndim == 4:  # a grey image repeats itself in three channels
            assert float(parameter.std()) == pytest.approx(expected / 3, rel=0.1), name


def test_the_seed_alone_decides_the_weights(tmp_path):
    models = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.rand(1)
        models.append(load_vlm(vlm.tiny_llava(tmp_path / name, seed=seed))[0])
    assert vlm.largest_difference(models[0], models[1]) == 0.0
    assert vlm.largest_difference(models[0], models[2]) > 0.0


def test_building_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    vlm.tiny_llava(tmp_path)
    assert torch.equal(torch.rand(1), expected)


def test_tied_models_share_embedding_and_head(tmp_path):
    model, _ = load_vlm(vlm.tiny_llava(tmp_path, tie=True))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_pixels_are_standardised_with_the_given_statistics(tmp_path):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(100, 200, (32, 32), dtype=np.uint8)) for _ in range(8)]
    stats = pixel_statistics(images)
    processor = load_processor(vlm.tiny_llava(tmp_path, pixel_stats=stats))
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    assert float(pixels.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(pixels.std()) == pytest.approx(1.0, abs=1e-3)


def test_a_word_with_a_space_is_refused():
    with pytest.raises(ValueError, match="one piece of text without whitespace, got 'a b'"):
        build_word_tokenizer(["a b"])


# --- loading -----------------------------------------------------------------------------------


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(LoadingError, match="nowhere is not a directory"):
        load_vlm(tmp_path / "nowhere")


def test_a_directory_without_a_model_is_named(tmp_path):
    with pytest.raises(LoadingError, match="holds no model: it has no config.json"):
        load_vlm(tmp_path)


def test_a_model_without_eyes_is_refused(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(LoadingError, match="holds a bert model, which takes no images"):
        load_vlm(tmp_path)


def test_an_unreadable_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(LoadingError, match="config.json cannot be read"):
        load_vlm(tmp_path)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["processor_config.json"], "has no usable processor"),
        (
            ["processor_config.json", "tokenizer.json", "tokenizer_config.json"],
            "has no usable processor",
        ),
    ],
)
def test_a_model_without_a_processor_is_named(directory, tmp_path, removed, message):
    shutil.copytree(directory, tmp_path / "copy")
    for name in removed:
        (tmp_path / "copy" / name).unlink()
    with pytest.raises(LoadingError, match=message):
        load_vlm(tmp_path / "copy")


@pytest.mark.parametrize(
    "error",
    [
        OSError("You are trying to access a gated repo.\nMake sure to have access to it"),
        ValueError("SentencePiece is not installed\nsee its page"),
        OSError(),  # without a word
    ],
)
def test_why_a_processor_cannot_be_had_is_said(directory, error, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("percbal.models.loading.AutoProcessor.from_pretrained", fails)
    first = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
    with pytest.raises(LoadingError, match="has no usable processor .*files") as refusal:
        load_processor(directory)
    assert str(refusal.value).endswith(f": {first}")


def test_a_lone_tokenizer_is_no_processor(loaded, tmp_path):
    loaded[1].tokenizer.save_pretrained(tmp_path)
    with pytest.raises(LoadingError, match="processor"):
        load_processor(tmp_path)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "some/one is no model\nIf this is a private repository, ...",
            "OSError: some/one is no model",
        ),
        ("", "OSError"),
    ],
)
def test_a_name_that_the_hub_does_not_know_is_one_sentence(monkeypatch, said, sentence):
    def unknown(name):
        raise OSError(said)

    monkeypatch.setattr("percbal.models.loading.find_adapter_config_file", unknown)
    with pytest.raises(LoadingError, match=f"^some/one, no directory, .* by name: {sentence}$"):
        load_vlm("some/one")


def test_a_model_is_found_by_its_name_on_the_hub(tmp_path):
    """In the hub's cache, as a download leaves it; nothing is fetched."""
    home = tmp_path / "models--someone--tiny-llava"
    vlm.tiny_llava(home / "snapshots" / "1")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("1")
    script = """
from percbal.models.loading import LoadingError, load_vlm
model, processor = load_vlm("someone/tiny-llava", dtype="bfloat16")
print(type(model).__name__, model.dtype, type(processor).__name__)
try:
    load_vlm("someone/else")
except LoadingError as error:
    print(error)
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert found[0] == "LlavaForConditionalGeneration torch.bfloat16 LlavaProcessor"
    assert found[1].startswith("someone/else, no directory, cannot be had by name: ")
    assert len(found) == 2
