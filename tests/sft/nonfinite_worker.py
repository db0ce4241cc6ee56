"""Run by test_sft_finite.py under torchrun: two ranks, a NaN pixel in a row of one of them.

python -m torch.distributed.run --nproc-per-node=2 nonfinite_worker.py DIRECTORY ENGINE
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import vlm_fixtures as vlm
from fsdp_on_cpu import OPTIONS, ShardedOnCPU
from two_processes import leave

from percbal.models.finite import NonFiniteError
from percbal.models.loading import load_vlm
from percbal.sft.trainer import BalancedSFTTrainer


class ShardedTrainer(ShardedOnCPU, BalancedSFTTrainer):
    pass


directory, engine = Path(sys.argv[1]), sys.argv[2]
model, processor = load_vlm(directory / "model")
data = vlm.encoded(processor, [vlm.example_at(i) for i in range(16)])
data.columns["pixel_values"][9, 0, 3, 3] = math.nan
options = OPTIONS if engine == "fsdp2" else {"ddp_backend": "gloo"}
args = vlm.config(directory / "out", per_device_train_batch_size=4, **options)
kind = ShardedTrainer if engine == "fsdp2" else BalancedSFTTrainer
trainer = kind(model, args, train_dataset=data, processing_class=processor)
try:
    trainer.train()
except NonFiniteError as error:
    (directory / f"rank{trainer.args.process_index}.txt").write_text(str(error))

leave()
