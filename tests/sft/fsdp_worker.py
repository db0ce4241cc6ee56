"""Run by test_fsdp.py under torchrun: all that is trained under FSDP2, by one pair of processes.

python -m torch.distributed.run --nproc-per-node=2 fsdp_worker.py DIRECTORY RUNS STATE_DICT_TYPES

Both lists have commas. The runs are those of ddp_worker.py; for each type of state dict it also
trains from the beginning, and again from the checkpoint at step 2.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import vlm_fixtures as vlm
from ddp_worker import ShardedTrainer, train_each
from fsdp_on_cpu import FSDP, OPTIONS
from two_processes import leave

from percbal.models.loading import load_vlm

directory = Path(sys.argv[1])
runs, kinds = (argument.split(",") for argument in sys.argv[2:])
train_each(directory, "fsdp2", runs)
for kind in kinds:
    options = {
        "balance": "ngdiff",
        "ngdiff_decay": 0.9,  # a lambda that depends on the steps before the checkpoint
        "optim": "adamw_torch",
        "learning_rate": 1e-2,
        "max_steps": 4,
        "save_steps": 2,
        "save_strategy": "steps",
        "train_sampling_strategy": "random",
        "per_device_train_batch_size": 4,
    }
    options |= OPTIONS | {"fsdp_config": FSDP | {"state_dict_type": kind}}
    for run in ("whole", "rest"):
        out = directory / kind / run
        model, processor = load_vlm(directory / "model")
        data = vlm.encoded(processor, [vlm.example_at(i) for i in range(16)])
        trainer = ShardedTrainer(
            model, vlm.config(out, **options), train_dataset=data, processing_class=processor
        )
        if run == "rest" and trainer.is_world_process_zero():
            shutil.copytree(directory / kind / "whole" / "checkpoint-2", out / "checkpoint-2")
        trainer.accelerator.wait_for_everyone()
        trainer.train(resume_from_checkpoint=run == "rest")
        trainer.save_model(str(out / "final"))
        if trainer.is_world_process_zero():
            trainer.state.save_to_json(str(out / "state.json"))

leave()
