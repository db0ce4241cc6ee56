"""A GRPO trainer of any family, on rows of three prompt lengths and two sizes of pictures."""

from __future__ import annotations

import torch
from datasets import Dataset
from zoo import FAMILIES, QUERY, task_rows

from percbal import BalancedGRPOConfig, BalancedGRPOTrainer, load_vlm

ENDS = ("", " Look twice.", " Look twice, and only then say what there is to be seen.")


def rows():
    """Three lengths of prompts, two sizes of pictures."""
    made = [row for size in ((32, 32), (64, 32)) for row in task_rows(3, size)]
    for i, row in enumerate(made):
        row["prompt"] = [{"role": "user", "content": QUERY + ENDS[i % 3]}]
        del row["completion"]
    return made


def length(completions, **_):
    return [float(len(completion[0]["content"])) for completion in completions]


def trainer(name, tmp_path, rewards=None, shown=None, folder=None, peft_config=None, **options):
    """shown: its rows, by default those of `rows`; folder: of a model that is there already."""
    model, processor = load_vlm(folder or FAMILIES[name].build(tmp_path / "model"))
    torch.manual_seed(0)
    settings = {
        "outcome_reward": "length" if rewards is None else rewards[-1].__name__,
        "perception_reward": None,
        "alpha": 0.0,
        "num_generations": 2,
        "per_device_train_batch_size": 6,
        "steps_per_generation": 2,
        "max_completion_length": 6,
        "max_steps": 2,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "log_completions": False,
        "disable_tqdm": True,
    }
    args = BalancedGRPOConfig(str(tmp_path / "out"), **(settings | options))
    data = Dataset.from_list(rows() if shown is None else shown)
    return BalancedGRPOTrainer(
        model,
        [length] if rewards is None else rewards,
        args,
        train_dataset=data,
        processing_class=processor,
        peft_config=peft_config,
    )
