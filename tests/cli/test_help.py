"""Facts about ``percbal sft --help`` and ``percbal grpo --help``: ours first, nothing left out."""

from __future__ import annotations

import dataclasses
import re

import pytest
from trl import GRPOConfig, SFTConfig

from percbal.cli.grpo import GRPOArguments
from percbal.cli.help import GROUPS, OTHERS, grouped
from percbal.cli.main import main
from percbal.cli.sft import SFTArguments
from percbal.grpo.config import BalancedGRPOConfig
from percbal.models.lora import LoRAArguments
from percbal.sft.config import BalancedSFTConfig

CLASSES = {
    "sft": (SFTArguments, LoRAArguments, BalancedSFTConfig),
    "grpo": (GRPOArguments, LoRAArguments, BalancedGRPOConfig),
}
STOCK = {"sft": SFTConfig, "grpo": GRPOConfig}


@pytest.fixture(autouse=True)
def nothing_is_kept(tmp_path, monkeypatch):
    """Every help is read off the classes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def said(command, option, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--model", "x", option])
    assert exit_.value.code == 0
    return capsys.readouterr().out


def names(text):
    return re.findall(r"^  --(\w+)$", text, re.MULTILINE)


def options_of(*classes):
    return {option.name for kind in classes for option in dataclasses.fields(kind) if option.init}


@pytest.mark.parametrize("command", CLASSES)
def test_help_has_every_option_of_ours_once_and_help_all_every_option(command, capsys):
    shown, everything = (names(said(command, o, capsys)) for o in ("--help", "--help-all"))
    all_ = options_of(*CLASSES[command])
    stock = options_of(STOCK[command])
    changed = {n for n in stock if n in shown}
    assert len(set(shown)) == len(shown) and set(shown) - changed == all_ - stock
    assert sorted(everything) == sorted(all_) and everything[: len(shown)] == shown


@pytest.mark.parametrize("command", CLASSES)
def test_a_default_of_trl_that_is_changed_is_shown_with_the_run(command, capsys):
    shown = said(command, "--help", capsys).split("\nrun:\n")[1]
    name = {"sft": "max_length", "grpo": "log_completions"}[command]
    assert re.search(rf"--{name}\n[^-]*unlike\s+TRL\)", shown)


@pytest.mark.parametrize("command", CLASSES)
def test_every_group_is_shown_and_every_option_of_ours_explained(command):
    groups = grouped(CLASSES[command])
    assert groups.keys() <= {*GROUPS, OTHERS}
    for name, options in groups.items():
        for option, said_of_it in options:
            assert name == OTHERS or not said_of_it.startswith("("), option


@pytest.mark.parametrize("command", CLASSES)
def test_a_default_stands_as_it_would_be_typed(command, capsys):
    shown = said(command, "--help", capsys)
    assert "(default: <perception> </perception>)" in " ".join(shown.split())
    assert re.search(r"--dataset\n(      .*\n)+? .*\(required\)\n", shown)


@pytest.mark.parametrize("command", CLASSES)
def test_the_examples_of_options_of_trl_are_such(command, capsys):
    last = said(command, "--help", capsys).split("\nThe ")[1]
    examples = re.search(r"such as ([\w, \n]+):", last)[1].replace(" and ", ", ").split(",")
    assert {example.strip() for example in examples} <= options_of(STOCK[command])
