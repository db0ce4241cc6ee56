"""``--config`` of `percbal sft` and `grpo`: how it is spelt, and which values its options take."""

from __future__ import annotations

from pathlib import Path

import pytest
from refused_command import refused

from percbal.cli.grpo import GRPOArguments
from percbal.cli.sft import SFTArguments
from percbal.cli.training import parse
from percbal.grpo.config import BalancedGRPOConfig
from percbal.sft.config import BalancedSFTConfig

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PARSED = {"sft": (SFTArguments, BalancedSFTConfig), "grpo": (GRPOArguments, BalancedGRPOConfig)}
HERE = "model: m\ndataset: d\noutput_dir: o\nuse_cpu: true\nbf16: false\n"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(HERE)
    return path


@pytest.mark.parametrize("command", PARSED)
def test_both_spellings_load_the_file(command, config):
    config.write_text(f"{HERE}seed: 7\n")
    for words in (["--config", str(config)], [f"--config={config}"]):
        script, _, options = parse(command, *PARSED[command], [*words, "--split=dev"])
        assert (script.model, script.split, options.seed) == ("m", "dev", 7)


@pytest.mark.parametrize("command", PARSED)
@pytest.mark.parametrize("words", [["--config"], ["--config="], ["--split", "dev", "--config"]])
def test_a_config_without_a_file_asks_for_one(command, words, capsys):
    assert refused(capsys, command, *words) == f"percbal {command}: --config needs a file\n"


@pytest.mark.parametrize(
    "command, line, sentence",
    [
        ("grpo", "alpha: [0.5]", "alpha must be a number, got [0.5]"),
        ("grpo", "alpha: true", "alpha must be a number, got True"),
        ("sft", "lora_r: [8]", "lora_r must be a whole number, got [8]"),
        ("sft", "dataset: 5", "dataset must be text, got 5"),
        ("sft", "dry_run: {a: 1}", "dry_run must be true or false, got {'a': 1}"),
        ("grpo", "reward_funcs: {a: b}", "reward_funcs must be a list of text, got {'a': 'b'}"),
        ("grpo", "reward_funcs: [1]", "reward_funcs must be a list of text, got [1]"),
        ("sft", "output_dir: [o]", "output_dir must be text, got ['o']"),  # TRL's own
        ("sft", "max_steps: [2]", "max_steps must be a whole number, got [2]"),
        ("grpo", "num_generations: {a: 4}", "num_generations must be a whole number, got {'a': 4}"),
        ("sft", "1: x", "the name of an option must be text, got 1"),
        ("sft", "no: x", "the name of an option must be text, got False"),
        ("sft", "env: {1: x}", "the name of an option must be text, got 1"),
    ],
)
def test_a_value_of_a_wrong_type_is_one_sentence(command, line, sentence, config, capsys):
    config.write_text(f"{HERE}{line}\n")
    said = refused(capsys, command, "--config", config)
    assert said.startswith(f"percbal {command}: {config}: ") and sentence in said


@pytest.mark.parametrize(
    "command, lines",
    [
        ("sft", "lam: 1\nlora_r: 4\nlora_target: [q_proj]\nsegments: null\nmax_length: null"),
        ("sft", "learning_rate: 1e-5\nlam: '0.5'\nseed: '3'\nreport_to: [tensorboard]"),
        ("sft", "gradient_checkpointing_kwargs: {use_reentrant: false}\nlogging_steps: 0.5"),
        ("grpo", "alpha: 0\nscale_rewards: false\nreward_weights: [1, 0.5]"),  # TRL takes bool
        ("grpo", "perception_tags: [<a>, </a>]\nreward_timeout: null"),
    ],
)
def test_values_that_options_take_stay(command, lines, config):
    config.write_text(f"{HERE}{lines}\n")
    parse(command, *PARSED[command], ["--config", str(config)])


def test_a_text_for_a_list_is_a_list_of_one(config):
    """Its letters were looked up as reward functions, and as names of modules."""
    config.write_text(
        f"{HERE}reward_funcs: percbal.rewards.outcome\nlora_r: 4\nlora_target: q_proj\n"
    )
    script, lora, _ = parse("grpo", *PARSED["grpo"], ["--config", str(config)])
    assert script.reward_funcs == ["percbal.rewards.outcome"]
    assert lora.target_modules == {"q_proj"}


@pytest.mark.parametrize("name", ["sft", "sft_calibrated", "segments", "grpo"])
def test_the_examples_have_values_that_options_take(name):
    command = "grpo" if name == "grpo" else "sft"
    words = ["--config", str(EXAMPLES / f"{name}.yaml"), "--use_cpu", "true", "--bf16", "false"]
    parse(command, *PARSED[command], words)
