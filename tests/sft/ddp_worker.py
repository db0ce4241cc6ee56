"""Run by test_ddp.py under torchrun: two ranks train on halves of a batch.

python -m torch.distributed.run --nproc-per-node=2 ddp_worker.py DIRECTORY ENGINE BALANCE...

Behind a balance, "+chunked": its losses come from hidden states; "+at_once": one micro-batch.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import vlm_fixtures as vlm
from fsdp_on_cpu import OPTIONS, ShardedOnCPU
from two_processes import leave

from percbal.models.loading import load_vlm
from percbal.sft.trainer import BalancedSFTTrainer


class ShardedTrainer(ShardedOnCPU, BalancedSFTTrainer):
    pass


# exact steps before and behind one that is not
MIXED = {"calibrated": {"max_steps": 4, "calibrated_tolerance": 9.0}}
ENGINES = {
    "ddp": (BalancedSFTTrainer, {"ddp_backend": "gloo"}),
    "fsdp2": (ShardedTrainer, OPTIONS),
}


def of_one_process(run: str, engine: str = "ddp") -> dict[str, Any]:
    """The options with which one process does the same, its logits whole where it can.

    With several micro-batches the weights of a cheap balance are those of the step before, and
    norms of the head are added up over all parts: there it has as many of the same. So it has where
    parts are compared, which under FSDP2 are those of all ranks together.
    """
    balance, *how = run.split("+")
    options = {"balance": balance, **MIXED.get(balance, {})}
    if balance in ("calibrated", "head") and "at_once" not in how:
        parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
        options |= parts | {"chunked_logits": "chunked" in how}
    if balance == "ngdiff_unbiased":
        n = 2 if engine == "fsdp2" or "at_once" in how else 4
        options |= {"per_device_train_batch_size": 8 // n, "gradient_accumulation_steps": n}
    return options


def train_each(directory: Path, engine: str, runs: list[str]) -> None:
    trainer_class, engine_options = ENGINES[engine]
    for name in runs:
        balance, *how = name.split("+")
        model, processor = load_vlm(directory / "model")
        examples = [vlm.example_at(i) for i in range(16)]
        options = {
            "per_device_train_batch_size": 4 if "at_once" in how else 2,
            "gradient_accumulation_steps": 1 if "at_once" in how else 2,
            "chunked_logits": "chunked" in how,
            **MIXED.get(balance, {}),
        }
        args = vlm.config(directory, balance=balance, **engine_options, **options)
        data = vlm.encoded(processor, examples)
        trainer = trainer_class(model, args, train_dataset=data, processing_class=processor)
        trainer.train()
        trainer.evaluate(vlm.encoded(processor, examples[:9]))
        trainer.save_model(str(directory / name))  # all ranks: gathers what is sharded
        if trainer.is_world_process_zero():
            (directory / f"{name}.json").write_text(json.dumps(trainer.state.log_history))


def resume_in_a_second_epoch(directory: Path) -> None:
    """16 examples, two for each of two ranks: step 6 is in the second epoch."""
    for run in ("whole", "rest"):
        out = directory / "resumed" / run
        model, processor = load_vlm(directory / "model")
        args = vlm.config(
            out,
            balance="fixed",
            ddp_backend="gloo",
            max_steps=8,
            save_strategy="steps",
            save_steps=6,
            per_device_train_batch_size=2,
            train_sampling_strategy="group_by_length",
        )
        data = vlm.encoded(processor, [vlm.example_at(i) for i in range(16)])
        data.lengths = lambda: [1] * 16  # else the longest of all are first in every epoch
        trainer = BalancedSFTTrainer(model, args, train_dataset=data, processing_class=processor)
        if run == "rest" and trainer.is_world_process_zero():
            shutil.copytree(out.parent / "whole" / "checkpoint-6", out / "checkpoint-6")
        trainer.accelerator.wait_for_everyone()
        trainer.train(resume_from_checkpoint=run == "rest")
        trainer.save_model(str(out / "final"))


if __name__ == "__main__":
    train_each(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    resume_in_a_second_epoch(Path(sys.argv[1]))
    leave()
