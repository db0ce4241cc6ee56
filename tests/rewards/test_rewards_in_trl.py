"""Stock TRL finds the rewards, as docs/rewards.md says, and calls them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import datasets
import pytest
import trl
from reward_fixtures import said, turns
from trl.scripts import grpo
from vlm_fixtures import WORDS, dataset, example_at, tiny_llava

from percbal import load_vlm, rewards

DOCS = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()


def code(language: str, first: str) -> str:
    """The block of the documentation that begins with a line."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    return next(block for block in blocks if block.startswith(first))


class Caught(Exception):
    pass


def resolved(config: str, folder: Path, monkeypatch) -> list:
    """The reward functions that `trl grpo --config` hands to its trainer."""

    def catch(*_, reward_funcs, **__):
        raise Caught(reward_funcs)

    monkeypatch.setattr(trl, "GRPOTrainer", catch)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train": None})
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))  # trl puts the current directory there
    path = folder / "grpo.yaml"
    path.write_text(
        f"{config}\ndataset_name: x\nmodel_name_or_path: x\noutput_dir: {folder}\n"
        "use_cpu: true\nbf16: false\n"
    )
    arguments = grpo.make_parser().parse_args_and_config(["--config", str(path)])
    with pytest.raises(Caught) as caught:
        grpo.main(*arguments[:4])
    return caught.value.args[0]


def test_stock_trl_finds_the_rewards_of_the_documentation(tmp_path, monkeypatch):
    found = resolved(code("yaml", "# grpo.yaml"), tmp_path, monkeypatch)
    assert found == [rewards.outcome, rewards.perception_f1, rewards.format]


def test_stock_trl_finds_rewards_joined_to_a_task(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(code("python", "# my_rewards.py"))
    (tmp_path / "my_judge.py").write_text(code("python", "# my_judge.py"))
    config = "reward_funcs: [my_rewards.outcome, my_rewards.perception, my_judge.blind]"
    found = resolved(config, tmp_path, monkeypatch)
    assert [f.__name__ for f in found] == ["outcome", "perception", "blind_reanswer"]


MAKE_ONE = {"TaskRewards", "EndpointReanswer", "flipped"}


@pytest.mark.parametrize("name", sorted(set(rewards.__all__) - MAKE_ONE))
def test_names_are_those_that_trl_logs(name):
    assert getattr(rewards, name).__name__ == name


def test_stock_trl_trains_on_them(tmp_path):
    """Two images with four rollouts each: the columns and the prompts arrive as promised."""
    model, processor = load_vlm(tiny_llava(tmp_path / "model"))
    examples = [
        {k: v for k, v in example_at(i).items() if k != "completion"}
        | {"perception": " ".join(WORDS[:3]), "answer": WORDS[0]}
        for i in range(2)
    ]
    seen = {}

    def spy(completions, **columns):
        corners = [image.getpixel((0, 0)) for image in columns["image"]]
        blind = [turns(said("the same", WORDS[0])) for _ in corners]
        seeing = [turns(said(f"corner {corner[0]}", WORDS[0])) for corner in corners]
        seen["answers"] = rewards.outcome(completions=blind, **columns)
        seen["blind"] = rewards.group_agreement(completions=blind, **columns)
        seen["seeing"] = rewards.group_agreement(completions=seeing, **columns)
        return [0.0] * len(completions)

    args = trl.GRPOConfig(
        str(tmp_path / "out"),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=4,
        max_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = trl.GRPOTrainer(
        model=model,
        args=args,
        reward_funcs=[rewards.outcome, rewards.format, rewards.group_agreement, spy],
        train_dataset=dataset(examples),
        processing_class=processor,
    )
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["rewards/outcome/mean"] == 0 and log["rewards/format/mean"] == 0
    assert "group_agreement/elsewhere" in log
    # one of the two words is the same for both images
    assert seen == {"answers": [1] * 8, "blind": [0] * 8, "seeing": [0.5] * 8}
