"""No code of a model's directory runs: weights come from safetensors, classes from transformers."""

from __future__ import annotations

import json
import os

import peft
import pytest
import torch
import vlm_fixtures as vlm
from safetensors.torch import load_file

from percbal.models.loading import LoadingError, load_vlm
from percbal.models.lora import LoRAArguments


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def as_pickle(folder, name, pickled, mark, malicious):
    """The weights of a folder in a pickle instead, honest or not."""
    weights = load_file(folder / name)
    (folder / name).unlink()
    torch.save(weights | ({"x": Payload(mark)} if malicious else {}), folder / pickled)


@pytest.mark.parametrize("malicious", [False, True])
def test_a_model_in_a_pickle_is_refused(tmp_path, malicious):
    folder = vlm.tiny_llava(tmp_path / "model")
    as_pickle(folder, "model.safetensors", "pytorch_model.bin", tmp_path / "ran", malicious)
    with pytest.raises(LoadingError, match="has no model.safetensors.*are pickles.*not loaded"):
        load_vlm(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("malicious", [False, True])
def test_adapters_in_a_pickle_are_refused(tmp_path, malicious):
    model, processor = load_vlm(vlm.tiny_llava(tmp_path / "model"))
    folder = tmp_path / "adapters"
    config = LoRAArguments(lora_r=2, lora_target=["q_proj"]).config()
    peft.get_peft_model(model, config).save_pretrained(folder)
    processor.save_pretrained(folder)
    load_vlm(folder)
    name = "adapter_model.safetensors"
    as_pickle(folder, name, "adapter_model.bin", tmp_path / "ran", malicious)
    with pytest.raises(LoadingError, match=f"has no {name}.*are pickles.*not loaded"):
        load_vlm(folder)
    assert not (tmp_path / "ran").exists()


def test_code_of_a_model_is_neither_run_nor_asked_about(tmp_path, monkeypatch):
    def asked(*_):
        raise AssertionError("a prompt: a run without a terminal would wait or stop")

    monkeypatch.setattr("builtins.input", asked)
    folder = vlm.tiny_llava(tmp_path / "model")
    code = f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n"
    for name in ("config", "processor_config"):
        (folder / "theirs.py").write_text(code)
        path = folder / f"{name}.json"
        before = path.read_text()
        auto = {"AutoConfig": "theirs.C", "AutoProcessor": "theirs.P"}
        found = json.loads(before) | {"auto_map": auto, "model_type": "theirs"}
        path.write_text(json.dumps(found | {"processor_class": "Theirs"}))
        with pytest.raises(LoadingError):
            load_vlm(folder)
        path.write_text(before)
    assert not (tmp_path / "ran").exists()
