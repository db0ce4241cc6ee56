"""Run by test_grpo_ranks.py under torchrun: two ranks train on halves of a batch, then save.

python -m torch.distributed.run --nproc-per-node=2 grpo_worker.py DIRECTORY

First with DDP, then with FSDP2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import rl_fixtures as rl
import torch
from fsdp_on_cpu import OPTIONS as FSDP_OPTIONS
from fsdp_on_cpu import ShardedOnCPU
from two_processes import leave

from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.models.loading import load_vlm

directory = Path(sys.argv[1])


class ShardedTrainer(ShardedOnCPU, BalancedGRPOTrainer):
    pass


def counted(completions, completion_ids, **_):
    """A reward that does not depend on who asks."""
    return [float(sum(ids) % 7) for ids in completion_ids]


counted.__name__ = "outcome"


def fails_on_one_rank(completions, **_):
    if torch.distributed.get_rank() == 1:
        raise KeyError("grid")
    return [1.0] * len(completions)


fails_on_one_rank.__name__ = "perception"


def make(engine, out, perception, **options):
    policy = load_vlm(directory / "model")
    options = {"per_device_train_batch_size": 4, "ddp_backend": "gloo"} | options
    kind = BalancedGRPOTrainer
    if engine == "fsdp2":
        kind, options = ShardedTrainer, options | FSDP_OPTIONS
    return rl.trainer(policy, directory / out, [counted, perception], kind, **options)


def save_a_batch():
    trainer = make("ddp", "ddp", rl.perception, credit="same_perception", alpha=0.4)
    rank = trainer.accelerator.process_index
    torch.manual_seed(rank)  # ranks sample for themselves
    rows = [row for row in rl.prompts(2) for _ in range(4)]  # groups of 4, one to a rank
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows[4 * rank : 4 * rank + 4])
    torch.save(
        {
            "advantages": batch["advantages"],
            "segments": trainer._segmented.segments,
            "perception": trainer._segmented.perception,
            "rewards": trainer._rewards,
            "mask": batch["completion_mask"],
        },
        directory / f"rank{rank}.pt",
    )


def ask_mixed_rows():
    """One rank has pictures and the other texts alone; then one has a row that is refused."""
    trainer = make("ddp", "mixed", rl.perception)
    trainer._shows_images = True  # as with a logger that has tables
    rank = trainer.accelerator.process_index
    row = rl.prompts(1)[0]
    rows = [{**row, "image": None if rank else row["image"]}] * 4
    trainer._generate_and_score_completions(rows)
    shown = [len(images) for images in trainer._logs["images"]]
    (directory / f"mixed{rank}.json").write_text(json.dumps(shown))
    part = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look"}]}
    rows = [{**row, "id": "bad", "prompt": [part] * (rank + 1)}] * 4
    try:
        trainer._generate_and_score_completions(rows)
    except (RuntimeError, ValueError) as error:
        (directory / f"refused{rank}.txt").write_text(f"{type(error).__name__}: {error}")


def train(engine):
    trainer = make(engine, engine, rl.perception, credit="same_perception", alpha=0.4)
    rank = trainer.accelerator.process_index
    trainer.train()
    trainer.save_model(str(directory / engine))
    if trainer.is_world_process_zero():
        (directory / f"{engine}.json").write_text(json.dumps(trainer.state.log_history))
    if engine == "ddp":
        torch.save(trainer.model.state_dict(), directory / f"weights{rank}.pt")

    # a head that was gathered for sampling is sharded again after the first backward pass
    parts = f"{engine}-parts"
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 1}
    trainer = make(engine, parts, rl.perception, **options)
    trainer.train()
    trainer.save_model(str(directory / parts))

    trainer = make(engine, "failing", fails_on_one_rank)
    try:
        trainer.train()
    except RuntimeError as error:
        (directory / f"{engine}-error{rank}.txt").write_text(str(error))


save_a_batch()
ask_mixed_rows()
for engine in ("ddp", "fsdp2"):
    train(engine)

leave()
