"""What cannot be trained or diagnosed is refused in one sentence that says what to do."""

from __future__ import annotations

import subprocess
import sys

import peft
import pytest
import vlm_fixtures as vlm
import zoo
from transformers import AutoModelForImageTextToText, AutoProcessor

from percbal.models.loading import LoadingError, load_processor, load_vlm
from percbal.sft.trainer import BalancedSFTTrainer

SENTENCES = {
    "paligemma2": "has no chat template and reads its whole prompt in both directions.*Gemma 3$",
    "mllama": "by cross attention.*aspect_ratio_ids.*such as Qwen3-VL$",
    "internvl_original": "code of its own, which is not run.*OpenGVLab/InternVL3_5-1B-HF",
}


def no_question(*_):
    raise AssertionError("a prompt: a run without a terminal would wait or stop")


@pytest.mark.parametrize("name", sorted(set(zoo.FAMILIES) - set(zoo.WORKING)))
def test_a_family_that_does_not_work_is_refused_at_loading(name, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", no_question)
    directory = zoo.FAMILIES[name].build(tmp_path / "model")
    with pytest.raises(LoadingError, match=SENTENCES[name]) as refusal:
        load_vlm(directory)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["paligemma2", "mllama"])
def test_a_trainer_refuses_it_too(name, tmp_path):
    """Who loads it with transformers comes past load_vlm."""
    directory = zoo.FAMILIES[name].build(tmp_path / "model")
    model = AutoModelForImageTextToText.from_pretrained(directory)
    with pytest.raises(ValueError, match=SENTENCES[name]):
        BalancedSFTTrainer(
            model,
            vlm.config(tmp_path),
            train_dataset=vlm.dataset([vlm.example_at(0)]),
            processing_class=AutoProcessor.from_pretrained(directory),
        )


WITHOUT_TORCHVISION = """
import importlib.util, sys
found = importlib.util.find_spec
hide = lambda name, *rest: None if name == "torchvision" else found(name, *rest)
importlib.util.find_spec, sys.modules["torchvision"] = hide, None
from percbal.models.loading import LoadingError, load_vlm
for directory in sys.argv[1:]:
    try:
        load_vlm(directory)
    except LoadingError as error:
        print(error)
"""


def test_without_torchvision_families_that_need_it_are_refused_in_one_sentence(tmp_path):
    """LLaVA and Gemma 3 do without."""
    names = ["llava", "gemma3", "qwen3_vl", "mistral3"]
    directories = [str(zoo.FAMILIES[name].build(tmp_path / name)) for name in names]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCHVISION, *directories], capture_output=True, text=True
    )
    said = [
        f'the processor of {directory} needs torchvision: pip install "percbal[vision]"'
        for directory in directories[2:]
    ]
    assert done.stdout.splitlines() == said, done.stderr


def test_without_num2words_smolvlm_is_refused_in_one_sentence(tmp_path, monkeypatch):
    directory = zoo.FAMILIES["smolvlm"].build(tmp_path / "model")
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
    with pytest.raises(LoadingError, match=r'needs num2words: pip install "percbal\[vision\]"$'):
        load_vlm(directory)


def test_virtual_tokens_are_refused_by_the_trainer_and_at_loading(tmp_path):
    directory = zoo.FAMILIES["llava"].build(tmp_path / "model")
    model, processor = load_vlm(directory)
    config = peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=2, encoder_hidden_size=64
    )
    with pytest.raises(ValueError, match="PromptEncoderConfig is not supported.*use LoRA"):
        BalancedSFTTrainer(
            model,
            vlm.config(tmp_path),
            train_dataset=vlm.dataset([vlm.example_at(0)]),
            processing_class=processor,
            peft_config=config,
        )
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapters")
    processor.save_pretrained(tmp_path / "adapters")
    assert load_processor(tmp_path / "adapters")
    with pytest.raises(LoadingError, match="holds virtual tokens.*train it with LoRA"):
        load_vlm(tmp_path / "adapters")
