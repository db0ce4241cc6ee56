"""Facts about the implementation of attention: what auto takes, and what is refused."""

from __future__ import annotations

import pytest
import torch
import vlm_fixtures as vlm

from percbal.models import attention
from percbal.models.attention import set_attention, uses_flash


@pytest.fixture
def model():
    return vlm.tiny_qwen()[0]


def test_auto_leaves_a_model_on_the_cpu_as_it_is(model):
    before = model.config.get_text_config()._attn_implementation
    assert set_attention(model) == before and not uses_flash(model)


@pytest.mark.parametrize("wanted", ["eager", "sdpa"])
def test_what_is_wanted_is_set_in_every_part(wanted, model):
    set_attention(model, "eager" if wanted == "sdpa" else "sdpa")
    assert set_attention(model, wanted) == wanted
    assert model.config.vision_config._attn_implementation == wanted


def test_auto_takes_flash_attention_where_it_can_be_used(model, monkeypatch):
    """The model is moved in name alone: there is no GPU here."""
    taken = []
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(
        type(model), "set_attn_implementation", lambda self, name: taken.append(name)
    )
    set_attention(model)
    assert not taken  # on the CPU
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    set_attention(model)
    assert not taken  # in 32 bits
    monkeypatch.setattr(type(model), "dtype", torch.bfloat16)
    set_attention(model)
    assert taken == ["flash_attention_2"]
    monkeypatch.setattr(type(model.model.visual), "_supports_flash_attn", False)
    set_attention(model)
    assert len(taken) == 1
    set_attention(model, "sdpa")
    assert taken[1:] == ["sdpa"]


@pytest.mark.parametrize("wanted", ["fast", "flash_attention_2"])
def test_what_cannot_be_had_is_one_sentence(wanted, model, monkeypatch):
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: False)
    with pytest.raises(ValueError, match=f"^attention {wanted} cannot be used: ") as refused:
        set_attention(model, wanted)
    assert "\n" not in str(refused.value)
