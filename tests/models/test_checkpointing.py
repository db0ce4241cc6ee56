"""Facts about the two names of gradient checkpointing, on every version of transformers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest
from trl import SFTConfig

from percbal.grpo.config import BalancedGRPOConfig
from percbal.models.checkpointing import CheckpointingNames
from percbal.sft.config import BalancedSFTConfig

RENAMED = hasattr(SFTConfig, "activation_checkpointing")


@pytest.mark.parametrize("kind", [BalancedSFTConfig, BalancedGRPOConfig])
@pytest.mark.parametrize("given", [None, True, False])
def test_the_old_name_does_what_it_did_and_does_not_warn(kind, given, tmp_path):
    kwargs = {"use_reentrant": False}
    options = {} if given is None else {"gradient_checkpointing": given}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = kind(str(tmp_path), bf16=False, gradient_checkpointing_kwargs=kwargs, **options)
    assert config.gradient_checkpointing is (given is not False)  # TRL's default is True
    assert config.gradient_checkpointing_kwargs == kwargs
    if RENAMED:
        assert config.activation_checkpointing is config.gradient_checkpointing
        assert config.activation_checkpointing_kwargs == kwargs


@pytest.mark.skipif(not RENAMED, reason="new in transformers 5.23")
def test_the_new_name_goes_before_the_old_ones_default(tmp_path):
    config = BalancedSFTConfig(str(tmp_path), bf16=False, activation_checkpointing=False)
    assert config.gradient_checkpointing is False


def test_a_config_without_the_new_name_is_left_alone():
    @dataclass
    class Older:
        gradient_checkpointing: bool = True

        def __post_init__(self) -> None:
            pass

    @dataclass
    class Config(CheckpointingNames, Older):
        pass

    assert vars(Config()) == {"gradient_checkpointing": True}
