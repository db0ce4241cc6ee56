"""Run by ranks.py under torchrun: ngdiff on two ranks, which leaves a digest of its weights."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import vlm_fixtures as vlm
from two_processes import leave

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import trainings  # noqa: E402  after the path

from percbal.models.resume import checkpoints  # noqa: E402
from percbal.sft.trainer import BalancedSFTTrainer  # noqa: E402

out, rank = Path(sys.argv[1]), os.environ["RANK"]
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
model, processor, data = trainings.fine_tuned()
options = {"optim": "adamw_torch", "learning_rate": 1e-2, "per_device_train_batch_size": 2}
args = vlm.config(
    out, **(trainings.SAVING | options | trainings.SFT["ngdiff"] | {"ddp_backend": "gloo"})
)
trainer = BalancedSFTTrainer(model, args, train_dataset=data, processing_class=processor)
(out / f"rank{rank}.pid").write_text(str(os.getpid()))
trainer.train(resume_from_checkpoint=bool(checkpoints(out)))
if trainer.is_world_process_zero():
    (out / "end.json").write_text(
        json.dumps(trainings.digest(trainer.accelerator.unwrap_model(model)))
    )
leave()
