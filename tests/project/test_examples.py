"""The files of docs/examples are read by the parsers that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from trl import TrlParser

from percbal.cli.grpo import GRPOArguments, reward_function
from percbal.cli.sft import SFTArguments
from percbal.data.reading import read_dataset
from percbal.grpo.config import BalancedGRPOConfig
from percbal.objective.calibrated import Calibrated
from percbal.sft.config import BalancedSFTConfig
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
HERE = ["--use_cpu", "true", "--bf16", "false"]  # a machine without a GPU refuses bf16


def parsed(name: str, *classes: type) -> tuple:
    parser = TrlParser(list(classes))
    return parser.parse_args_and_config(["--config", str(EXAMPLES / name), *HERE])


def test_sft():
    script, config = parsed("sft.yaml", SFTArguments, BalancedSFTConfig)
    assert script.dataset == "data/sudoku/train.jsonl"
    assert config.make_balance().needs_gradient_norms and config.ngdiff_decay == 0.9


def test_sft_calibrated():
    """What it says are the defaults are the defaults."""
    script, config = parsed("sft_calibrated.yaml", SFTArguments, BalancedSFTConfig)
    made, default = config.make_balance(), Calibrated()
    assert isinstance(made, Calibrated) and script.dataset == "data/sudoku/train.jsonl"
    assert (made.every, made.tolerance) == (default.every, default.tolerance)


def test_grpo():
    script, config = parsed("grpo.yaml", GRPOArguments, BalancedGRPOConfig)
    assert [reward_function(path).__name__ for path in script.reward_funcs] == [
        config.outcome_reward,
        config.perception_reward,
    ]
    assert config.credit == "segment" and config.alpha == 0.5


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("accelerate_*.yaml")), ids=lambda p: p.stem)
def test_accelerate(path):
    config = load_config_from_file(str(path))
    assert config.num_processes == 8 and config.mixed_precision == "bf16"


def test_every_example_says_its_own_command():
    for path in EXAMPLES.iterdir():
        top = "".join(path.read_text().splitlines(keepends=True)[:3])
        assert path.stem in top, path.name


def test_an_export_is_read_as_prompt_and_completion(tmp_path):
    """Its own prompt column is in parts, for trainers that want it so."""
    path = export_jsonl(get_task("sudoku"), "train", 2, tmp_path)
    for row in read_dataset(str(path), "train"):
        (question,), (response,) = row["prompt"], row["completion"]
        image, text = question["content"]
        assert image == {"type": "image"} and text["text"].startswith("Read")
        assert "<perception>" in response["content"]
        assert row["images"][0].size == (64, 64)
